"""The vLLM engine on this machine, as callers see it; `engine_thread` runs vLLM itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, Self, TypeVar

from toolkit._internal.text import short_repr
from toolkit.core.choice import Vocabulary
from toolkit.core.completion import Completion, Delta
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import Request, ResolvedRequest
from toolkit.core.sampling import DEFAULT_MAX_TOKENS
from toolkit.engines.base import Engine, request_errors
from toolkit.engines.vllm.batching import Features, batches, features
from toolkit.engines.vllm.config import Spec
from toolkit.engines.vllm.engine_thread import EngineThread, Job, PreparedRequest
from toolkit.engines.vllm.images import ImageDownloads, check_image_count, image_limit, with_images
from toolkit.engines.vllm.logs import prepare_process
from toolkit.engines.vllm.outputs import REPLACEMENT, OutputReader
from toolkit.engines.vllm.sampling_params import check_grammar
from toolkit.errors import EngineError, RequestError
from toolkit.prompts.messages import Message
from toolkit.prompts.rendered import Rendered
from toolkit.structured.response_format import ResponseFormat, check_enforceable
from toolkit.tokenizers.huggingface import Tokenizer

T = TypeVar("T")
Grouped = tuple[Features, ResolvedRequest]
"""A request, and the sampler features of the group that it runs in."""
_BACKLOG = 512
"""Requests prepared ahead of the engine: enough to keep it busy, few enough to start at once."""


class VLLMEngine(Engine):
    """A vLLM engine on this machine. Made by `toolkit.load`; starts when it is first needed."""

    def __init__(self, model: str, arguments: Mapping[str, Any]) -> None:
        self.spec = Spec.of(model, arguments)
        self._log = prepare_process()
        self._lock = threading.Lock()
        self._thread: EngineThread | None = None
        self._closed = False
        self._grammar_errors: dict[ResponseFormat, str | None] = {}

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self.running else "not started"
        return f"VLLMEngine({self.model!r}, {state})"

    @property
    def model(self) -> str:
        return self.spec.model

    @property
    def running(self) -> bool:
        """vLLM is loaded and takes requests."""
        return self._thread is not None and self._thread.alive

    @property
    def usable(self) -> bool:
        """Neither closed nor dead."""
        return not self._closed and (self._thread is None or self._thread.alive)

    def start(self) -> Self:
        """Loads the model now (8 s for the default one) instead of at the first request."""
        self._started_thread()
        return self

    @property
    def generated_tokens(self) -> int:
        return self._thread.generated_tokens if self._thread else 0

    def _started_thread(self) -> EngineThread:
        with self._lock:
            if self._closed:
                raise EngineError("this engine is closed: toolkit.load() gives a new one")
            if self._thread is None:
                self._thread = EngineThread(self.spec, self._log, lambda: self.tokenizer.hashes)
        self._thread.wait_until_ready()
        return self._thread

    @property
    def fingerprint(self) -> Fingerprint:
        """Known without starting vLLM once an engine of the same spec has run on this machine."""
        cached = None if self.running else self.spec.cached_fingerprint()
        return cached or self._started_thread().fingerprint

    @property
    def fingerprint_available(self) -> bool:
        return self.running or self.spec.cached_fingerprint() is not None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer and chat template; does not start vLLM."""
        return self.spec.tokenizer()

    @property
    def vocabulary(self) -> Vocabulary:
        return self.tokenizer.vocabulary

    @property
    def ends(self) -> frozenset[int]:
        return self.tokenizer.ends

    @cached_property
    def _reader(self) -> OutputReader:
        """Used once vLLM runs, when the fingerprint is certain."""
        return OutputReader(self.model, self.fingerprint, self.tokenizer)

    @cached_property
    def _image_limit(self) -> int:
        return self.call(image_limit)

    @cached_property
    def _downloads(self) -> ImageDownloads:
        return ImageDownloads(self.spec.arguments.get("allowed_media_domains") or ())

    def encode(self, request: Request | str | Rendered | Sequence[Message]) -> tuple[int, ...]:
        chat_request = request if isinstance(request, Request) else Request.chat(request)
        with request_errors():
            return (*self._encode_prompt(chat_request)[0], *self.tokenizer.prefix(chat_request))

    def _encode_prompt(self, request: Request) -> tuple[tuple[int, ...], Any]:
        """The token IDs of the prompt, and vLLM's own input where there are images. Raises ValueError."""
        if not request.has_images:
            return self.tokenizer.encode(request), None
        if request.tools and request.tool_choice != "none":
            raise ValueError("tools and images in one request are not supported: leave one of them out")
        if request.prefix:
            raise ValueError("images and a prefix in one request are not supported: leave one of them out")
        check_image_count(request.messages or (), self._image_limit)
        messages = tuple(self._downloads.into(m) for m in request.messages or ())
        try:
            rendered = self.call(lambda llm: with_images(llm, messages))
        except (EngineError, ValueError):
            raise
        except Exception as error:
            raise ValueError(f"vLLM cannot take these images: {error}") from error
        return tuple(rendered["prompt_token_ids"]), rendered

    def call(self, function: Callable[[Any], T]) -> T:
        """Runs a function with the bare `vllm.LLM`, in the thread that owns it, and returns its result: the way
        to everything in vLLM that has no name here.

        >>> engine.call(lambda llm: llm.llm_engine.vllm_config.cache_config)  # doctest: +SKIP
        """
        return self._started_thread().call(function)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """As the interface says. A collection is computed in the order that is fastest for the whole; of any other
        iterable the requests are taken as they are needed, some hundred at a time."""
        yield from self._collect(self._grouped(requests), at_once=1)

    def ordered(self, requests: Sequence[ResolvedRequest]) -> list[ResolvedRequest]:
        return [request for group in batches(requests) for request in group]

    def _grouped(self, requests: Iterable[Request]) -> Iterator[Grouped | Completion]:
        """Requests, each with the sampler features of its group, and the failures of those that cannot be sent."""
        source, size = iter(requests), None if isinstance(requests, Collection) else _BACKLOG
        error: Exception | None = None
        while error is None:
            chunk, error = _take(source, size)
            if not chunk:
                break
            resolved, failures = self._resolve_requests(chunk)
            yield from failures
            for group in batches(resolved):
                kind = frozenset[str]().union(*(features(request.sampling) for request in group))
                yield from ((kind, request) for request in group)
        if error is not None:
            raise error

    def generate_in_one_step(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Requests that start in one and the same step, in this order, as far as the engine has slots: for
        experiments on what a batch does. `generate` is faster, and chooses the order itself. Otherwise the same."""
        self.start()
        resolved, failures = self._resolve_requests(requests)
        yield from failures
        one_group = ((frozenset[str](), request) for request in resolved)
        yield from self._collect(one_group, at_once=_BACKLOG)

    def _resolve_requests(
        self, requests: Iterable[Request]
    ) -> tuple[list[ResolvedRequest], list[Completion]]:
        """The requests with every parameter explicit, and the failures of those that cannot be sent: before the
        batch, so that a response format that cannot be enforced is reported at once."""
        resolved, failures = [], []
        for request in requests:
            try:
                resolved.append(self._resolve(request))
            except ValueError as error:
                # Without the model's defaults: with them the request may be impossible.
                failures.append(self._reader.failure(request.resolve({}), error, None))
        return resolved, failures

    def _resolve(self, request: Request) -> ResolvedRequest:
        """The request with every parameter explicit. Raises ValueError for one that cannot be sent."""
        with request_errors():
            resolved = request.resolve(self.defaults)
            self._check_response_format(resolved.constraint)
            return resolved

    def reset_prefix_cache(self) -> None:
        """Empties the prefix cache, when nothing runs: the next prompts are computed anew."""
        self.call(lambda llm: llm.reset_prefix_cache())

    def _check_response_format(self, response_format: ResponseFormat | None) -> None:
        """Raises ValueError, with the response format's name, when the grammar backend cannot enforce it."""
        if response_format is None:
            return
        check_enforceable(response_format)
        self.tokenizer.check_format(response_format)
        if response_format not in self._grammar_errors:
            try:
                self.call(lambda llm: check_grammar(llm, response_format))
                self._grammar_errors[response_format] = None
            except EngineError:
                raise
            except Exception as error:  # noqa: BLE001  # of many kinds, which all mean that it does not compile
                self._grammar_errors[response_format] = str(error)
        if (reason := self._grammar_errors[response_format]) is not None:
            raise ValueError(
                f"the engine cannot hold an answer to response_format {short_repr(str(response_format))}: {reason}. "
                "Leave out what it names; what came back can still be checked with toolkit.verdict"
            )

    def _collect(self, source: Iterator[Grouped | Completion], at_once: int) -> Iterator[Completion]:
        """Submits the requests, so many at once, and yields their completions until every one is finished, and the
        failures among them."""
        thread, job, sent, open_ = self._started_thread(), Job(), 0, 0
        current: tuple[PreparedRequest, Any] | None = None
        error: Exception | None = None
        has_more = True
        try:
            while has_more or open_:
                if has_more and open_ < _BACKLOG:
                    taken, error = _take(source, _BACKLOG)
                    has_more = bool(taken) and error is None
                    requests = [item for item in taken if not isinstance(item, Completion)]
                    for first in range(0, len(requests), at_once):
                        items = requests[first : first + at_once]
                        open_ += len(items)
                        self._submit(thread, job, items, sent + first)
                    sent += len(requests)
                    yield from (item for item in taken if isinstance(item, Completion))
                    continue
                current = thread.next_output(job)
                completion = self._completion(*current)
                # No call before the yield: an interrupt would lose the completion.
                current, open_ = None, open_ - 1
                yield completion
            if error is not None:
                raise error
        except KeyboardInterrupt:
            thread.cancel(job)
            for prepared, output in [*filter(None, [current]), *job.finished()]:
                open_ -= 1
                yield self._completion(prepared, output)
            raise
        finally:
            if open_:
                thread.cancel(job)

    def _completion(self, prepared: PreparedRequest, output: Any) -> Completion:
        """The completion of an output. One that cannot be read is an error of its request alone."""
        try:
            with request_errors():
                return self._reader.completion(prepared, output)
        except ValueError as error:
            return self._reader.failure(prepared.request, error, prepared.position)

    def _submit(self, thread: EngineThread, job: Job, items: Sequence[Grouped], first: int) -> None:
        prepared = []
        for position, (group, request) in enumerate(items, first):
            try:
                prepared.append(self._prepare(request, position, group))
            except ValueError as error:
                job.outputs.put((PreparedRequest(request, (), position, group), error))
        thread.submit(job, *prepared)

    def stream_request(self, request: Request) -> Iterator[Delta]:
        thread = self._started_thread()
        try:
            prepared = self._prepare(self._resolve(request), 0, frozenset())
        except ValueError as error:
            raise RequestError(str(error)) from error
        prepared.streaming = True
        job, lengths_sent, done = Job(), dict[int, int](), False
        latest: dict[int, Any] = {}
        # Otherwise vLLM handles stop strings.
        stops = (
            prepared.request.sampling.stop if prepared.prefix_length or prepared.ends_mid_character else ()
        )
        held_back = max(map(len, stops or ("-",))) - 1
        try:
            thread.submit(job, prepared)
            while not done:
                _, output = thread.next_output(job)
                if isinstance(output, Exception):
                    done = True
                    raise RequestError(str(output)) from output
                done = output.finished
                parts = list(output.outputs)
                # The last output holds only the choice that ended last.
                latest |= {part.index: part for part in parts}
                output.outputs = [latest[i] for i in sorted(latest)]
                completion = self._reader.completion(prepared, output) if done else None
                for i, part in enumerate(parts):
                    text, stop, _ = self._reader.text_and_stop(prepared, part)
                    if not (part.finish_reason or stop):
                        text = text.rstrip(REPLACEMENT)  # its end may be part of a character,
                        text = text[: max(0, len(text) - held_back)]  # or of a stop string
                    reason = part.finish_reason and ("stop" if stop else part.finish_reason)
                    new_text = text[lengths_sent.get(part.index, 0) :]
                    lengths_sent[part.index] = len(text)
                    last = done and i == len(parts) - 1
                    if new_text or reason:
                        yield Delta(new_text, part.index, reason, completion if last else None)
        finally:
            if not done:
                thread.cancel(job)

    def close(self) -> None:
        with self._lock:
            self._closed = True
        if self._thread is not None:
            self._thread.close()

    def _prepare(self, request: ResolvedRequest, position: int, group: Features) -> PreparedRequest:
        """Raises ValueError for what vLLM would refuse, with a message that says what is allowed here, and for
        whatever else fails."""
        with request_errors():
            return self._prepared(request, position, group)

    def _prepared(self, request: ResolvedRequest, position: int, group: Features) -> PreparedRequest:
        components = self.fingerprint.components
        window, max_logprobs = components["max_model_len"], components["max_logprobs"]
        for name in ("top_logprobs", "prompt_logprobs"):
            top = getattr(request.sampling, name)
            if top is not None and max_logprobs != -1 and not 0 <= top <= max_logprobs:
                raise ValueError(
                    f"{name} must be 0 to {max_logprobs} on this engine, got {top}: "
                    f"load the model with max_logprobs={top} for more"
                )
        token_ids, images = self._encode_prompt(request)
        prefix = self.tokenizer.prefix(request)
        token_ids = (*token_ids, *prefix)
        if not token_ids:
            raise ValueError("the prompt has no tokens: give some text")
        max_tokens = request.sampling.max_tokens or DEFAULT_MAX_TOKENS
        if len(token_ids) + max_tokens > window:
            room = window - len(token_ids)
            fix = f"set max_tokens to {room} or less, or shorten" if room > 0 else "shorten"
            raise ValueError(
                f"the prompt has {len(token_ids)} tokens and max_tokens is {max_tokens}: together they exceed the "
                f"context window of {self.model}, {window} tokens. To answer, {fix} the prompt (Prompt.fit does)"
            )
        ends_mid_character = self._reader.ends_mid_character(request)
        return PreparedRequest(request, token_ids, position, group, images, len(prefix), ends_mid_character)


def _take(source: Iterator[T], number: int | None) -> tuple[list[T], Exception | None]:
    """The next items of an iterator, and the error that ended it: what was taken before is not lost."""
    taken: list[T] = []
    try:
        taken.extend(islice(source, number))
    except Exception as error:  # noqa: BLE001  # the caller's own, which is raised when what runs has ended
        return taken, error
    return taken, None
