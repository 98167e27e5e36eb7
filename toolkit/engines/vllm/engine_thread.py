"""The thread that owns vLLM.

It takes requests from an inbox, feeds them to vLLM's own loop, and hands each output to the queue of the job
that it belongs to. Callers wait on their own queue, so that several of them share one batch, an interrupt
reaches the caller and never the engine, and an abandoned job is cancelled: what vLLM still holds would
otherwise turn up in the next call. vLLM runs in this process on a CPU and in processes of its own on a GPU.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import itertools
import queue
import random
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from toolkit._internal.secrets import redact
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import ResolvedRequest
from toolkit.display.progress import status
from toolkit.engines.vllm.batching import Features
from toolkit.engines.vllm.config import Spec
from toolkit.engines.vllm.environment import track_env_changes
from toolkit.engines.vllm.fingerprint import engine_fingerprint
from toolkit.engines.vllm.hardware import device
from toolkit.engines.vllm.logs import keep_out_of_log
from toolkit.engines.vllm.sampling_params import vllm_sampling_params
from toolkit.errors import EngineError

T = TypeVar("T")
_GROUP_OVERLAP = 16
"""Requests of one group that may still run when the next group starts."""
_RESERVED_SLOTS = 8
"""Slots that a job which runs this many requests itself leaves to others."""


@dataclass(eq=False)
class PreparedRequest:
    """A request ready for vLLM."""

    request: ResolvedRequest
    token_ids: tuple[int, ...]
    """Of the prompt, then of the completion's prefix."""
    position: int
    group: Features
    """The sampler features of the group that it runs in."""
    multimodal_input: Any = None
    """vLLM's own input for a conversation with images, instead of the IDs alone."""
    prefix_length: int = 0
    """The number of IDs at the end that are the completion's prefix."""
    ends_mid_character: bool = False
    """The IDs end within a character: then vLLM would write them all, and find stop strings there."""
    streaming: bool = False

    @property
    def sequences(self) -> int:
        return self.request.sampling.n or 1


@dataclass(eq=False)
class Job:
    """The requests that one caller submitted together."""

    waiting: deque[PreparedRequest] = field(default_factory=deque)
    running: dict[str, PreparedRequest] = field(default_factory=dict)
    outputs: queue.SimpleQueue[tuple[PreparedRequest, Any]] = field(default_factory=queue.SimpleQueue)
    """Requests with vLLM's output, or with the exception raised instead."""
    group: Features = frozenset()
    """That of the request that was started last."""

    def finished(self) -> Iterator[tuple[PreparedRequest, Any]]:
        """The outputs that have come and that nobody has taken."""
        with contextlib.suppress(queue.Empty):
            while True:
                yield self.outputs.get_nowait()


class EngineThread:
    """The thread that owns vLLM, and what callers may do with it from their own threads."""

    def __init__(self, spec: Spec, log: Path, tokenizer_hashes: Callable[[], dict[str, str]]) -> None:
        self.spec = spec
        self.fingerprint: Fingerprint
        self.generated_tokens = 0
        """Approximate number of generated tokens: each step adds one to each running sequence."""
        self._tokenizer_hashes = tokenizer_hashes
        self._log = log
        self._ready = threading.Event()
        self._failure: EngineError | None = None
        self._closing = False
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._jobs: dict[Job, None] = {}
        self._job_of: dict[str, Job] = {}
        self._running_sequences = 0
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
            raise self._ended_error()

    def submit(self, job: Job, *prepared: PreparedRequest) -> None:
        """Queues requests in this order; those of one call start in one step, as far as there are slots."""

        def add() -> None:
            job.waiting.extend(prepared)
            self._jobs[job] = None

        self._inbox.put(add)

    def next_output(self, job: Job) -> tuple[PreparedRequest, Any]:
        """The next request that has an output, with vLLM's output or an exception. Raises EngineError."""
        while True:
            try:
                return job.outputs.get(timeout=0.5)
            except queue.Empty:
                if not self.alive:
                    raise self._ended_error() from None

    def cancel(self, job: Job) -> None:
        def drop() -> None:
            self._llm.llm_engine.abort_request(list(job.running))
            for request_id, prepared in job.running.items():
                self._job_of.pop(request_id)
                self._running_sequences -= prepared.sequences
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
                    raise self._ended_error() from None

    def close(self) -> None:
        atexit.unregister(self.close)

        def stop() -> None:
            self._closing = True

        self._inbox.put(stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=30)

    def _ended_error(self) -> EngineError:
        return self._failure or EngineError("the engine was closed: toolkit.load() gives a new one")

    # Called in the owning thread.

    def _run(self) -> None:
        try:
            self._llm = _create_llm(self.spec)
            self.fingerprint = engine_fingerprint(self.spec, self._llm, self._tokenizer_hashes())
            self.spec.cache_fingerprint(self.fingerprint)
            self._watch_engine_process()
            self._ready.set()
            self._step_loop()
        except BaseException as error:  # noqa: BLE001  # whatever ends vLLM must reach those who wait
            doing = "died" if self._ready.is_set() else "did not start"
            self._fail(redact(f"vLLM {doing}: {type(error).__name__}: {error}", self.spec.secrets))
        finally:
            self._ready.set()
            self._unload()

    def _fail(self, reason: str) -> None:
        if self._failure is None:
            self._failure = EngineError(
                f"{reason}\nIts log is {self._log}; toolkit.load() starts a new engine."
            )

    def _step_loop(self) -> None:
        while not self._closing:
            self._run_inbox()
            self._admit()
            if self._job_of:
                self.generated_tokens += self._running_sequences
                for output in self._llm.llm_engine.step():
                    self._deliver(output)

    def _run_inbox(self) -> None:
        """Runs what callers have put into the inbox; waits for it when there is nothing else to do."""
        with contextlib.suppress(queue.Empty):
            self._inbox.get(block=not self._jobs)()
            while True:
                self._inbox.get_nowait()()

    def _admit(self) -> None:
        """Starts what fits; the job with the fewest running requests goes first."""
        for job in sorted(self._jobs, key=lambda j: len(j.running)):
            while job.waiting and self._has_slot(job) and self._may_start(job):
                self._add_request(job, job.waiting.popleft())
            if not job.waiting and not job.running:
                del self._jobs[job]

    @cached_property
    def _max_sequences(self) -> int:
        return int(self._llm.llm_engine.vllm_config.scheduler_config.max_num_seqs)

    def _has_slot(self, job: Job) -> bool:
        """A long batch leaves a few slots free, so that a request sent meanwhile need not wait for its end."""
        reserved = _RESERVED_SLOTS if len(job.running) >= _RESERVED_SLOTS else 0
        return self._running_sequences < max(1, self._max_sequences - reserved)

    def _may_start(self, job: Job) -> bool:
        """A new group waits until few requests of the one before are left: mixed, both pay for the features of both;
        alone to the end, the last long completions of a group would leave the cores idle."""
        return job.waiting[0].group == job.group or len(job.running) <= _GROUP_OVERLAP

    def _add_request(self, job: Job, prepared: PreparedRequest) -> None:
        job.group = prepared.group
        request_id = str(next(self._ids))
        try:
            params = vllm_sampling_params(prepared.request, prepared.streaming, prepared.ends_mid_character)
            model_input = prepared.multimodal_input or {"prompt_token_ids": list(prepared.token_ids)}
            self._llm.llm_engine.add_request(request_id, model_input, params)
        except Exception as error:
            if "EngineDead" in type(error).__name__:
                raise
            with contextlib.suppress(Exception):  # of several choices some may have been added
                self._llm.llm_engine.abort_request([request_id])
            job.outputs.put((prepared, error))
            return
        job.running[request_id] = prepared
        self._job_of[request_id] = job
        self._running_sequences += prepared.sequences

    def _deliver(self, output: Any) -> None:
        job = self._job_of.get(output.request_id)
        if job is None:
            return
        prepared = job.running[output.request_id]
        if output.finished:
            del job.running[output.request_id], self._job_of[output.request_id]
            self._running_sequences -= prepared.sequences
        job.outputs.put((prepared, output))

    def _watch_engine_process(self) -> None:
        """vLLM's client waits for ever when its engine process has died; a thread of its own ends the wait."""
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
        # A dead engine may fail to shut down; nothing of it is left to save.
        with contextlib.suppress(Exception):
            llm.llm_engine.engine_core.shutdown()
        del llm
        _clear_keyword_caches()
        gc.collect()
        if device()["kind"] == "cuda":
            import torch

            torch.cuda.empty_cache()


def _create_llm(spec: Spec) -> Any:
    """A `vllm.LLM`. It seeds the process's random generators, and torch.distributed marks every traceback
    with a rank: both are put back as they were."""
    states, hook = (random.getstate(), np.random.get_state()), sys.excepthook
    # Without a seed of its own a request is sampled anew, in every process: vLLM's fixed engine seed would
    # give a run that is extended later the same "random" texts again.
    arguments = {"seed": secrets.randbits(31), "disable_log_stats": False, "use_tqdm_on_load": False}
    keep_out_of_log(spec.secrets)
    try:
        with track_env_changes():
            from vllm import LLM

            _tolerate_objects_without_dict()
            return LLM(model=spec.path, **{**arguments, **spec.arguments})
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        sys.excepthook = hook


def _clear_keyword_caches() -> None:
    """vLLM caches for each function which keywords it takes, and the functions of an engine's tokenizer hold the
    copies that vLLM makes of it: each engine that was closed would leave 40 MB, up to 64 engines."""
    with contextlib.suppress(ImportError):  # another version may not have it
        from vllm.utils import func_utils

        for value in vars(func_utils).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def _tolerate_objects_without_dict() -> None:
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

        dispatcher.vars = attributes  # shadows the builtin of that name, in that module alone
