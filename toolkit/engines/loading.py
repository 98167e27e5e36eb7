"""Engines by name: vLLM on this machine, or a server's address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit._internal.validation import Real, Whole, instance_of
from toolkit.models import DEFAULT
from toolkit.prompts import messages_html

if TYPE_CHECKING:
    from toolkit.engines.openai_api.engine import ServerEngine
    from toolkit.engines.vllm.engine import VLLMEngine


_loaded: VLLMEngine | None = None


def load(model: str = DEFAULT, **arguments: Any) -> VLLMEngine:
    """A vLLM engine on this machine: the GPU build of vLLM where it is installed, else the CPU build.

    model: the default model, a local folder, or a Hugging Face id. arguments: any engine argument of vLLM
    (dtype="bfloat16", max_model_len=4096, enforce_eager=True, …). On a CPU the defaults are those that were
    measured to be exact and safe there: float32, eager, in this process, a KV cache of at most 4 GiB.

    Returns at once: vLLM starts when it is first needed, so a run whose results are all stored never pays for
    it (`engine.start()` starts it now). The same call again returns the same engine; another model or other
    arguments close the first one and free its memory.

    Raises ModelError for an unknown model, TypeError for an unknown argument, and ValueError for a value that vLLM
    does not have, such as dtype="fp16".
    """
    global _loaded
    from toolkit.engines.vllm.engine import VLLMEngine

    engine = VLLMEngine(model, arguments)
    if _loaded is not None:
        if _loaded.usable and _loaded.spec == engine.spec:
            return _loaded
        _loaded.close()  # also one that has died: it may still be freeing its memory
    _loaded = engine
    messages_html.counter = engine.count  # conversations are shown with their number of tokens
    return engine


def loaded_engine(fingerprint: str) -> VLLMEngine | None:
    """The engine of `load`, if it is usable and has this fingerprint."""
    usable = _loaded is not None and _loaded.usable and _loaded.fingerprint.id == fingerprint
    return _loaded if usable else None


def connect(
    url: str,
    model: str | None = None,
    api_key: str | None = None,
    *,
    concurrency: int | None = None,
    timeout: float = 600.0,
) -> ServerEngine:
    """An engine on a server that has OpenAI's API: `toolkit.serve`, any vLLM, a provider. Sweeps, stores, resuming
    and reports work as with every engine. Sends nothing before it is first needed.

    url: the address of the API, mostly ending in /v1. model: needed where the server has several. api_key: else
    OPENAI_API_KEY of the environment; it is written nowhere. concurrency: the most requests open at once (256 on
    vLLM, which batches so many; 32 elsewhere). timeout: seconds that one request (of a stream: its next chunk) may
    take, retries included: after 408, 409, 429, 5xx and lost connections, up to 6 times, when Retry-After says or
    with exponential, jittered back-off. Then it is a completion with an `error`.

    A vLLM server reports token IDs and supports the settings that `toolkit.load`'s engines do. Others support
    OpenAI's; a request with settings that only vLLM has fails. For OpenAI's models the IDs follow from the bytes of
    tokens; where there are none, texts are compared, and log probabilities come without IDs. Whether a server
    supports log probabilities and seeds is probed.

    What is stored belongs to a system: of `toolkit.serve`, to its own fingerprint and the model, at whatever address;
    of other servers, to the address and what the server reports.

    Raises ValueError for a bad url, key or number, TypeError for a model that is no text. Later EngineError, at once,
    for a server that cannot be reached, or that refuses the key or the model.

    >>> engine = connect("http://localhost:8000/v1")  # doctest: +SKIP
    """
    from toolkit.engines.openai_api.engine import ServerEngine

    if concurrency is not None:
        Whole(1, None, "give the most requests open at once, or leave it out")("concurrency", concurrency)
    if model is not None:
        instance_of(str, "model", model, "its name at the server, or leave it out where there is one")
    Real(0, float("inf"), "give the seconds that one request may take", open_low=True)("timeout", timeout)
    return ServerEngine(url, model, api_key, concurrency, timeout)
