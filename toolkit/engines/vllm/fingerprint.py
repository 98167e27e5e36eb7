"""Driver: the thread that owns vLLM. The only file that imports vllm.

It takes requests from an inbox, feeds them to vLLM's own loop, and hands each output to the queue of the job
that it belongs to. Callers wait on their own queue, so that several of them share one batch, an interrupt
reaches the caller and never the engine, and a job that is given up is cancelled: what vLLM still holds would
otherwise turn up in the next call. vLLM runs in this process on a CPU and in processes of its own on a GPU.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import itertools
import json
import queue
import random
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from toolkit import models
from toolkit.engine import EngineError
from toolkit.engines.process import status, written
from toolkit.engines.spec import Spec, device, folder, plain, versions
from toolkit.fingerprint import Fingerprint
from toolkit.messages import Messages
from toolkit.request import Request, digest
from toolkit.schema import ResponseFormat
from toolkit.tools import Tool, ToolCall, call_id

T = TypeVar("T")

_TAIL = 16
"""Answers of one group still running when the next group may start."""
_KEPT_FREE = 8
"""Places that a job which runs this many itself leaves to others."""


@dataclass(eq=False)
class Prompted:
    """A request ready for vLLM."""

    request: Request
    token_ids: tuple[int, ...]
    """Of the prompt, then of what the answer begins with."""
    position: int
    group: int
    pictured: Any = None
    """vLLM's own input for a conversation with images, instead of the ids alone."""
    given: int = 0
    """Ids at the end that the answer begins with."""
    within: bool = False
    """The ids end within a character: then vLLM would write them all, and find stop strings there."""
    streaming: bool = False

    @property
    def sequences(self) -> int:
        return self.request.sampling.n or 1


@dataclass(eq=False)
class Job:
    """What one caller has asked for together."""

    waiting: deque[Prompted] = field(default_factory=deque)
    running: dict[str, Prompted] = field(default_factory=dict)
    answers: queue.SimpleQueue[tuple[Prompted, Any]] = field(default_factory=queue.SimpleQueue)
    """Prompts with vLLM's output, or with the exception that came instead."""
    group: int = 0
    """The group of the prompt that was started last."""


class Driver:
    """The thread that owns vLLM, and what callers may do with it from theirs."""

    def __init__(self, spec: Spec, log: Path, tokenizer: Callable[[], dict[str, str]]) -> None:
        self.spec = spec
        self.fingerprint: Fingerprint
        self.tokens = 0
        """About as many as were generated: each step adds one to each running sequence."""
        self._tokenizer = tokenizer
        self._log = log
        self._ready = threading.Event()
        self._failure: EngineError | None = None
        self._closing = False
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._jobs: dict[Job, None] = {}
        self._owner: dict[str, Job] = {}
        self._sequences = 0
        self._ids = itertools.count()
        self._thread = threading.Thread(target=self._run, name="toolkit-vllm", daemon=True)
        self._thread.start()
        # A daemon thread inside vLLM while Python shuts down would crash the process.
        atexit.register(self.close)

    # Called from any thread.

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and self._failure is None and not self._closing

    def wait_until_ready(self) -> None:
        """Raises EngineError when vLLM does not start."""
        if not self._ready.is_set():
            with status(f"loading {self.spec.model} on vLLM") as refresh:
                while not self._ready.wait(0.2):
                    refresh()
        if not self.alive:
            raise self._end()

    def submit(self, job: Job, *prompts: Prompted) -> None:
        """Queues prompts in this order; those of one call start in one step, as far as there are places."""

        def add() -> None:
            job.waiting.extend(prompts)
            self._jobs[job] = None

        self._inbox.put(add)

    def answer(self, job: Job) -> tuple[Prompted, Any]:
        """The next prompt that is answered, with vLLM's output or an exception. Raises EngineError."""
        while True:
            try:
                return job.answers.get(timeout=0.5)
            except queue.Empty:
                if not self.alive:
                    raise self._end() from None

    def cancel(self, job: Job) -> None:
        def drop() -> None:
            self._llm.llm_engine.abort_request(list(job.running))
            for name, prompt in job.running.items():
                self._owner.pop(name)
                self._sequences -= prompt.sequences
            job.running.clear()
            job.waiting.clear()
            self._jobs.pop(job, None)

        self._inbox.put(drop)

    def call(self, function: Callable[[Any], T]) -> T:
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function(self._llm))
            except BaseException as error:  # noqa: BLE001  # the caller's own error goes to the caller
                future.set_exception(error)

        self._inbox.put(run)
        while True:
            try:
                return future.result(timeout=0.5)
            except TimeoutError:
                if future.done():
                    raise
                if not self.alive:
                    raise self._end() from None

    def close(self) -> None:
        atexit.unregister(self.close)

        def stop() -> None:
            self._closing = True

        self._inbox.put(stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=30)

    def _end(self) -> EngineError:
        return self._failure or EngineError("the engine was closed: toolkit.load() gives a new one")

    # Called in the owning thread.

    def _run(self) -> None:
        try:
            self._llm = _llm(self.spec)
            self.fingerprint = _fingerprint(self.spec, self._llm, self._tokenizer())
            self.spec.remember(self.fingerprint)
            self._watch()
            self._ready.set()
            self._loop()
        except BaseException as error:  # noqa: BLE001  # whatever ends vLLM must reach those who wait
            doing = "died" if self._ready.is_set() else "did not start"
            self._fail(f"vLLM {doing}: {type(error).__name__}: {error}")
        finally:
            self._ready.set()
            self._unload()

    def _fail(self, reason: str) -> None:
        if self._failure is None:
            self._failure = EngineError(
                f"{reason}\nIts log is {self._log}; toolkit.load() starts a new engine."
            )

    def _loop(self) -> None:
        while not self._closing:
            self._drain()
            self._admit()
            if self._owner:
                self.tokens += self._sequences
                for output in self._llm.llm_engine.step():
                    self._deliver(output)

    def _drain(self) -> None:
        """Does what callers asked for; waits for it when there is nothing else to do."""
        with contextlib.suppress(queue.Empty):
            self._inbox.get(block=not self._jobs)()
            while True:
                self._inbox.get_nowait()()

    def _admit(self) -> None:
        """Starts what fits; the job with the fewest running goes first."""
        for job in sorted(self._jobs, key=lambda j: len(j.running)):
            while job.waiting and self._has_place(job) and self._may_start(job):
                self._start(job, job.waiting.popleft())
            if not job.waiting and not job.running:
                del self._jobs[job]

    @cached_property
    def _places(self) -> int:
        return int(self._llm.llm_engine.vllm_config.scheduler_config.max_num_seqs)

    def _has_place(self, job: Job) -> bool:
        """A long batch leaves a few places, so that a question asked meanwhile need not wait for its end."""
        kept = _KEPT_FREE if len(job.running) >= _KEPT_FREE else 0
        return self._sequences < max(1, self._places - kept)

    def _may_start(self, job: Job) -> bool:
        """A new group waits until few of the one before are left: mixed, both pay for the features of both;
        alone to the end, its last long answers would leave the cores idle."""
        return job.waiting[0].group == job.group or len(job.running) <= _TAIL

    def _start(self, job: Job, prompt: Prompted) -> None:
        job.group = prompt.group
        name = str(next(self._ids))
        try:
            params = _parameters(prompt.request, prompt.streaming, prompt.within)
            given = prompt.pictured or {"prompt_token_ids": list(prompt.token_ids)}
            self._llm.llm_engine.add_request(name, given, params)
        except Exception as error:
            if "EngineDead" in type(error).__name__:
                raise
            job.answers.put((prompt, error))
            return
        job.running[name] = prompt
        self._owner[name] = job
        self._sequences += prompt.sequences

    def _deliver(self, output: Any) -> None:
        job = self._owner.get(output.request_id)
        if job is None:
            return
        prompt = job.running[output.request_id]
        if output.finished:
            del job.running[output.request_id], self._owner[output.request_id]
            self._sequences -= prompt.sequences
        job.answers.put((prompt, output))

    def _watch(self) -> None:
        """vLLM's client waits for ever when its engine process has died; this thread ends the wait."""
        core = self._llm.llm_engine.engine_core
        resources = getattr(core, "resources", None)
        if resources is None:
            return

        def watch() -> None:
            while not resources.engine_dead:
                time.sleep(0.5)
            if not self._closing:
                self._fail("vLLM's engine process died")
                core.outputs_queue.put_nowait(RuntimeError("engine process died"))

        threading.Thread(target=watch, name="toolkit-vllm-watch", daemon=True).start()

    def _unload(self) -> None:
        llm = self.__dict__.pop("_llm", None)
        if llm is None:
            return
        # A dead engine may fail to shut down; there is nothing left of it to save.
        with contextlib.suppress(Exception):
            llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()
        if device()["kind"] == "cuda":
            import torch

            torch.cuda.empty_cache()


def _llm(spec: Spec) -> Any:
    """A `vllm.LLM`. It seeds the process's random generators, and torch.distributed marks every traceback
    with a rank: both are put back as they were."""
    generators, hook = (random.getstate(), np.random.get_state()), sys.excepthook
    # Without a seed of its own a request is a fresh draw, in every process: vLLM's fixed engine seed would
    # give a run that is topped up later the same "random" texts again.
    arguments = {"seed": secrets.randbits(31), "disable_log_stats": False, "use_tqdm_on_load": False}
    try:
        with written():
            from vllm import LLM

            _tolerate_odd_objects()
            return LLM(model=spec.path, **{**arguments, **spec.arguments})
    finally:
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        sys.excepthook = hook


def _tolerate_odd_objects() -> None:
    """vLLM's CPU build looks into everything that any loaded module holds, and fails at objects whose __dict__ is
    no dict: llvmlite's, so whoever had imported numba (bm25s does) could not load a model. It now reads past them.
    """
    with contextlib.suppress(ImportError):  # another version may not have it
        from vllm.triton_utils import dispatcher

        def attributes(value: object) -> Mapping[str, Any]:
            try:
                return cast("Mapping[str, Any]", object.__getattribute__(value, "__dict__"))
            except AttributeError:
                return {}

        dispatcher.vars = attributes  # stands before the builtin of that name in that module alone


def pictured(llm: Any, turns: Messages) -> Any:
    """A conversation with images as vLLM's input: token ids with places for the images, and their pixels.

    Raises ValueError for a model that sees none, and what vLLM raises for images that it cannot take.
    """
    from vllm.renderers.params import ChatParams

    renderer, images = llm.llm_engine.renderer, sum(map(_images, turns))
    sees = llm.llm_engine.vllm_config.model_config.is_multimodal_model
    limit = renderer.get_mm_processor().info.allowed_mm_limits.get("image", 0) if sees else 0
    if images > (limit or 0):
        has = f"at most {limit} in a request" if limit else "none: it is a text-only model"
        raise ValueError(
            f"{images} image(s) were given, and this model takes {has}. Load a vision-language model, such as "
            'toolkit.load("HuggingFaceTB/SmolVLM-256M-Instruct"), or leave the images out'
        )
    params = ChatParams(chat_template_kwargs={"add_generation_prompt": True})
    # Without vLLM's cache of images: one that is rendered to be counted only would pass for sent.
    _, (found,) = renderer.render_chat([list(turns)], params, skip_mm_cache=True)
    placed = len(found.get("mm_placeholders", {}).get("image", ()))
    if placed != images:
        raise ValueError(f"the chat template has places for {placed} of {images} images: it loses the others")
    return found


def _images(turn: dict[str, Any]) -> int:
    content = turn["content"]
    return 0 if isinstance(content, str) else sum(part["type"] == "image_url" for part in content)


def fetch(url: str) -> bytes:
    """A picture from the network, by vLLM's own fetcher, which knows time-outs, retries and size limits."""
    with written():  # it may be the first that is wanted of vLLM
        from vllm.multimodal.media import MediaConnector

    return bytes(MediaConnector().fetch_image(url).original_bytes)


def _parameters(request: Request, streaming: bool, within: bool = False) -> Any:
    """vLLM's own SamplingParams, made fresh for each request since vLLM changes them."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    options = request.sampling.given()
    top = options.pop("top_logprobs", 0)
    # Flat lists of numbers in place of an object for each token: top-20 logprobs at nearly no cost.
    logprobs = top if options.pop("logprobs", False) else None
    of_prompt = options.pop("prompt_logprobs", logprobs if request.echo else None)
    if within:
        options.pop("stop", None)
    for name in ("stop", "bad_words", "stop_token_ids", "allowed_token_ids"):
        if name in options:
            options[name] = list(options[name])
    if "logit_bias" in options:
        options["logit_bias"] = dict(options["logit_bias"])
    if request.tool_choice == "auto":
        options["skip_special_tokens"] = False  # some families mark their calls by special tokens
    kind = RequestOutputKind.CUMULATIVE if streaming else RequestOutputKind.FINAL_ONLY
    return SamplingParams(
        structured_outputs=_structured(request.constraint),
        logprobs=logprobs,
        prompt_logprobs=of_prompt,
        flat_logprobs=True,
        output_kind=kind,
        **options,
    )


def _structured(form: ResponseFormat | None) -> Any:
    from vllm.sampling_params import StructuredOutputsParams

    if form is None:
        return None
    if form.kind == "json_object":
        return StructuredOutputsParams(json_object=True)
    value = {"json_schema": form.schema, "choice": list(form.choices)}.get(form.kind, form.value)
    return StructuredOutputsParams(**{"json" if form.kind == "json_schema" else form.kind: value})


def parse_calls(
    tokenizer: Any, form: str, text: str, known: Sequence[Tool]
) -> tuple[tuple[ToolCall, ...], str]:
    """The calls in a text, by vLLM's parser of that form, and the text beside them."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.tool_parsers import ToolParserManager

    shown = [one.to_openai() for one in known]
    asked = ChatCompletionRequest(model="-", messages=[{"role": "user", "content": "-"}], tools=shown)
    try:
        found = ToolParserManager.get_tool_parser(form)(tokenizer).extract_tool_calls(text, asked)
    except RuntimeError:  # some parsers need a token that this tokenizer lacks: then there are no such calls
        return (), text
    calls = tuple(ToolCall(call_id(), c.function.name, c.function.arguments) for c in found.tool_calls)
    return calls, (found.content or "") if calls else text


def compile_form(llm: Any, form: ResponseFormat) -> None:
    """Raises what vLLM raises for a form that its grammar backend cannot enforce, without asking anything."""
    from vllm import SamplingParams

    config = llm.llm_engine.vllm_config
    params = SamplingParams(structured_outputs=_structured(form))
    params.verify(config.model_config, None, config.structured_outputs_config, llm.get_tokenizer())


def _fingerprint(spec: Spec, llm: Any, tokenizer: dict[str, str]) -> Fingerprint:
    engine = llm.llm_engine
    return fingerprint(spec, engine.vllm_config, tokenizer, inside=hasattr(engine.engine_core, "engine_core"))


def fingerprint(spec: Spec, config: Any, tokenizer: dict[str, str], *, inside: bool) -> Fingerprint:
    """What an engine is made of, as vLLM resolved it (its `VllmConfig`); `COMPONENTS` says what each part is.

    inside: it computes in this process, not in processes of its own.
    """
    environment = dict(spec.environment)
    invariant = environment.pop("VLLM_BATCH_INVARIANT", None) or "0"
    components = {
        "engine": "vllm",
        "versions": versions(),
        **_of_model(spec, config.model_config),
        **tokenizer,
        **_of_computing(config),
        **_of_batches(config),
        "batch_invariant": bool(int(invariant)),
        **_of_answers(config),
        "options": spec.options,
        "own_processes": not inside,
        "device": {**device(), **(_threads() if inside and device()["kind"] == "cpu" else {})},
        "environment": environment,
    }
    notes = {
        "path": spec.path,
        "arguments": spec.stated,
        "kv_cache_memory_bytes": config.cache_config.kv_cache_memory_bytes,
        "vllm_fingerprint": _vllm_fingerprint(config),
    }
    # Through JSON once, so that the record equals the stored one.
    data = json.loads(json.dumps({"components": components, "notes": notes}, default=str))
    return Fingerprint.from_json(data)


def _of_model(spec: Spec, model: Any) -> dict[str, Any]:
    files = folder(spec.path, spec.arguments.get("revision"))
    own = model.get_diff_sampling_param()
    return {
        "model": spec.model,
        "revision": model.revision,
        "weights": models.weights_hash(files) if files else None,
        "config": _config_hash(model),
        "generation_config": {k: 0 if (k, v) == ("top_k", -1) else v for k, v in own.items()},
    }


def _config_hash(model: Any) -> str:
    """Of the model's configuration and of its image processor's, without the names of places and versions in them.
    16 hex digits."""

    def content(found: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in found.items() if not k.startswith("_") and k != "transformers_version"}

    parts = [model.hf_config.to_dict(), getattr(model, "hf_image_processor_config", None)]
    return digest(json.loads(json.dumps(parts, default=str), object_hook=content), 8)


def _of_computing(config: Any) -> dict[str, Any]:
    model, cache, compilation = config.model_config, config.cache_config, config.compilation_config
    return {
        "dtype": str(model.dtype).removeprefix("torch."),
        "quantization": model.quantization,
        "kv_cache_dtype": str(cache.cache_dtype),
        "block_size": cache.block_size,
        "max_model_len": model.max_model_len,
        "enforce_eager": model.enforce_eager,
        "compilation": int(getattr(compilation, "mode", 0) or 0),
        "cudagraph_mode": getattr(compilation.cudagraph_mode, "name", None),
        "custom_ops": sorted(compilation.custom_ops),
        "attention_backend": _attention(config),
        "speculative": _speculative(config.speculative_config),
        "lora": _lora(config.lora_config),
    }


def _attention(config: Any) -> str:
    """The kernels that the layers took; where they are in another process, what was asked for."""
    layers = config.compilation_config.static_forward_context.values()
    found = {layer.attn_backend.get_name() for layer in layers if hasattr(layer, "attn_backend")}
    asked = config.attention_config.backend
    return " ".join(sorted(found)) or getattr(asked, "name", asked) or "auto"


def _speculative(config: Any) -> dict[str, Any] | None:
    """How drafts are made and judged; None where there are none."""
    if config is None:
        return None
    files = folder(config.model, config.revision) if config.model else None
    numbers = ("num_speculative_tokens", "prompt_lookup_min", "prompt_lookup_max")
    ways = ("method", "quantization", "rejection_sample_method", "draft_sample_method")
    said = {
        "model": files.resolve().name if files and Path(config.model).is_dir() else config.model,
        "weights": models.weights_hash(files) if files else None,
        **{name: plain(getattr(config, name, None)) for name in (*ways, *numbers)},
    }
    return {name: value for name, value in said.items() if value is not None}


def _lora(config: Any) -> dict[str, Any] | None:
    names = ("max_lora_rank", "max_loras", "lora_dtype", "target_modules", "fully_sharded_loras")
    return None if config is None else {name: plain(getattr(config, name, None)) for name in names}


def _of_batches(config: Any) -> dict[str, Any]:
    scheduler, parallel = config.scheduler_config, config.parallel_config
    return {
        "prefix_caching": bool(config.cache_config.enable_prefix_caching),
        "chunked_prefill": bool(scheduler.enable_chunked_prefill),
        "async_scheduling": bool(scheduler.async_scheduling),
        "max_num_seqs": scheduler.max_num_seqs,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "tensor_parallel_size": parallel.tensor_parallel_size,
        "pipeline_parallel_size": parallel.pipeline_parallel_size,
        "data_parallel_size": parallel.data_parallel_size,
        "expert_parallel": bool(parallel.enable_expert_parallel),
    }


def _of_answers(config: Any) -> dict[str, Any]:
    model, forms = config.model_config, config.structured_outputs_config
    return {
        "logprobs_mode": str(model.logprobs_mode),
        "max_logprobs": model.max_logprobs,
        "structured_outputs_backend": str(forms.backend),
        "compact_json": bool(forms.disable_any_whitespace),
    }


def _threads() -> dict[str, int]:
    """What vLLM made of the cores, seen from the thread that runs it: fewer than their number with hyperthreading."""
    import torch

    return {"threads": torch.get_num_threads()}


def _vllm_fingerprint(config: Any) -> str | None:
    """vLLM's own string: its version and a hash with the model's path, but without weights and device."""
    try:
        from vllm.entrypoints.serve.utils.fingerprint import build_system_fingerprint
    except ImportError:  # before vLLM 0.30 it lived elsewhere, or nowhere
        return None
    return str(build_system_fingerprint(config))
