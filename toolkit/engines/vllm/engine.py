"""The vLLM engine on this machine, as callers see it; `driver` runs vLLM itself."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np

from toolkit.choice import PROMPT, Choice, Vocabulary, mode_of_prompt
from toolkit.completion import Completion, Delta, Usage
from toolkit.engine import Engine, EngineError, RequestError
from toolkit.engines.batches import batches
from toolkit.engines.driver import Driver, Job, Prompted, compile_form, fetch, parse_calls, pictured
from toolkit.engines.process import prepare
from toolkit.engines.spec import Spec
from toolkit.fingerprint import Fingerprint
from toolkit.image import image
from toolkit.messages import Message
from toolkit.prompt import Rendered
from toolkit.request import Request
from toolkit.sampling import DEFAULT_MAX_TOKENS
from toolkit.schema import ResponseFormat
from toolkit.tokenizer import Tokenizer
from toolkit.tools import required_calls

T = TypeVar("T")

_NO_TOKEN = (
    "vLLM gave up: at some step no token was allowed by both the response_format and the sampling options. "
    "Leave out bad_words, allowed_token_ids, logit_bias or min_tokens"
)
_PART = "\ufffd"
"""What stands for bytes that are only a part of a character."""
_BACKLOG = 512
"""Requests prepared ahead of the engine: enough to keep it busy, few enough to start at once."""


class VLLMEngine(Engine):
    """A vLLM engine on this machine. Made by `toolkit.load`; starts when it is first needed."""

    def __init__(self, model: str, arguments: Mapping[str, Any]) -> None:
        self.spec = Spec.of(model, arguments)
        self._log = prepare()
        self.model = self.spec.model
        self._lock = threading.Lock()
        self._driver: Driver | None = None
        self._closed = False
        self._forms: dict[ResponseFormat, str | None] = {}

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self.running else "not started"
        return f"VLLMEngine({self.model!r}, {state})"

    @property
    def running(self) -> bool:
        """vLLM is loaded and answers."""
        return self._driver is not None and self._driver.alive

    @property
    def usable(self) -> bool:
        """Neither closed nor dead."""
        return not self._closed and (self._driver is None or self._driver.alive)

    def start(self) -> Self:
        """Loads the model now (8 s for the default one) instead of at the first request."""
        self._start()
        return self

    @property
    def generated_tokens(self) -> int:
        return self._driver.tokens if self._driver else 0

    def _start(self) -> Driver:
        with self._lock:
            if self._closed:
                raise EngineError("this engine is closed: toolkit.load() gives a new one")
            if self._driver is None:
                self._driver = Driver(self.spec, self._log, lambda: self.tokenizer.hashes)
        self._driver.wait_until_ready()
        return self._driver

    @property
    def fingerprint(self) -> Fingerprint:
        """Known without starting vLLM once an engine of the same spec has run on this machine."""
        remembered = None if self.running else self.spec.remembered()
        return remembered or self._start().fingerprint

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

    def encode(self, request: Request | str | Rendered | Sequence[Message]) -> tuple[int, ...]:
        asked = request if isinstance(request, Request) else Request.chat(request)
        return (*self._encoded(asked)[0], *self.tokenizer.prefix(asked))

    def _encoded(self, request: Request) -> tuple[tuple[int, ...], Any]:
        """The ids of the prompt, and vLLM's own input where there are images. Raises ValueError."""
        if not request.has_images:
            return self.tokenizer.encode(request), None
        if request.tools and request.tool_choice != "none":
            raise ValueError("tools and images in one request are not supported: leave one of them out")
        if request.prefix:
            raise ValueError("an answer to images cannot begin with a prefix: leave one of them out")
        turns = tuple(_fetched(m) for m in request.messages or ())
        try:
            found = self.call(lambda llm: pictured(llm, turns))
        except (EngineError, ValueError):
            raise
        except Exception as error:
            raise ValueError(f"vLLM cannot take these images: {error}") from error
        return tuple(found["prompt_token_ids"]), found

    def call(self, function: Callable[[Any], T]) -> T:
        """Runs a function with the bare `vllm.LLM`, in the thread that owns it, and gives its result: the way
        to everything of vLLM that has no name here.

        >>> engine.call(lambda llm: llm.llm_engine.vllm_config.cache_config)  # doctest: +SKIP
        """
        return self._start().call(function)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        driver = self._start()
        resolved, failures = self._resolved(requests)
        yield from failures
        groups = enumerate(batches(resolved))
        ordered = [(group, request) for group, members in groups for request in members]
        yield from self._collect(driver, ordered, at_once=1)

    def together(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Requests that start in one and the same step, in this order, as far as the engine has places: for
        experiments on what a batch does. `generate` is faster, and chooses the order itself. Otherwise the same."""
        driver = self._start()
        resolved, failures = self._resolved(requests)
        yield from failures
        yield from self._collect(driver, [(0, request) for request in resolved], at_once=_BACKLOG)

    def _resolved(self, requests: Iterable[Request]) -> tuple[list[Request], list[Completion]]:
        """The requests with every parameter explicit, and the failures of those that cannot be asked: before the
        batch, so that a form that cannot be enforced is told at once."""
        resolved, failures = [], []
        for request in requests:
            try:
                self._check_form(request.constraint)
                resolved.append(request.resolve(self.defaults))
            except ValueError as error:
                failures.append(self._failure(request, error, None))
        return resolved, failures

    def forget(self) -> None:
        """Empties the prefix cache, when nothing runs: the next prompts are computed anew."""
        self.call(lambda llm: llm.reset_prefix_cache())

    def _check_form(self, form: ResponseFormat | None) -> None:
        """Raises ValueError, with the form's name, when the grammar backend cannot enforce it."""
        if form is None:
            return
        if form not in self._forms:
            try:
                self.call(lambda llm: compile_form(llm, form))
                self._forms[form] = None
            except EngineError:
                raise
            except Exception as error:  # noqa: BLE001  # of many kinds, which all mean that it does not compile
                self._forms[form] = str(error)
        if (problem := self._forms[form]) is not None:
            raise ValueError(
                f"the engine cannot hold an answer to response_format {str(form)!r}: {problem}. Leave out what it "
                "names; what came back can still be checked with toolkit.verdict"
            )

    def _collect(
        self, driver: Driver, ordered: list[tuple[int, Request]], at_once: int
    ) -> Iterator[Completion]:
        """Feeds the requests in, so many at once, and yields what comes back, until every one is answered."""
        job, sent, open_ = Job(), 0, 0
        try:
            while open_ or sent < len(ordered):
                if open_ < _BACKLOG and sent < len(ordered):
                    until = min(sent + _BACKLOG, len(ordered))
                    for first in range(sent, until, at_once):
                        items = ordered[first : min(first + at_once, until)]
                        open_ += len(items)
                        self._put(driver, job, items, first)
                    sent = until
                prompt, output = driver.answer(job)
                open_ -= 1
                yield self._completion(prompt, output)
        finally:
            if open_:
                driver.cancel(job)

    def _put(self, driver: Driver, job: Job, items: Sequence[tuple[int, Request]], first: int) -> None:
        ready = []
        for position, (group, request) in enumerate(items, first):
            try:
                ready.append(self._prepare(request, position, group))
            except ValueError as error:
                job.answers.put((Prompted(request, (), position, group), error))
        driver.submit(job, *ready)

    def stream_request(self, request: Request) -> Iterator[Delta]:
        driver = self._start()
        try:
            self._check_form(request.constraint)
            prompt = self._prepare(request.resolve(self.defaults), 0, 0)
        except ValueError as error:
            raise RequestError(str(error)) from error
        prompt.streaming = True
        job, seen, done = Job(), dict[int, int](), False
        latest: dict[int, Any] = {}
        stops = prompt.request.sampling.stop if prompt.given or prompt.within else ()  # else vLLM sees to it
        held = max(map(len, stops or ("-",))) - 1
        try:
            driver.submit(job, prompt)
            while not done:
                _, output = driver.answer(job)
                if isinstance(output, Exception):
                    done = True
                    raise RequestError(str(output)) from output
                done = output.finished
                news = list(output.outputs)
                # The last output holds only the choice that ended last.
                latest |= {part.index: part for part in news}
                output.outputs = [latest[i] for i in sorted(latest)]
                completion = self._completion(prompt, output) if done else None
                for i, part in enumerate(news):
                    whole, stop, _ = self._said(prompt, part)
                    if not (part.finish_reason or stop):
                        whole = whole.rstrip(_PART)  # its end may be part of a character,
                        whole = whole[: max(0, len(whole) - held)]  # or of a stop string
                    reason = part.finish_reason and ("stop" if stop else part.finish_reason)
                    text = whole[seen.get(part.index, 0) :]
                    seen[part.index] = len(whole)
                    last = done and i == len(news) - 1
                    if text or reason:
                        yield Delta(text, part.index, reason, completion if last else None)
        finally:
            if not done:
                driver.cancel(job)

    def close(self) -> None:
        with self._lock:
            self._closed = True
        if self._driver is not None:
            self._driver.close()

    def _prepare(self, request: Request, position: int, group: int) -> Prompted:
        """Raises ValueError for what vLLM would refuse, in words that say what is allowed here."""
        components = self.fingerprint.components
        window, most = components["max_model_len"], components["max_logprobs"]
        for name in ("top_logprobs", "prompt_logprobs"):
            top = getattr(request.sampling, name)
            if top is not None and most != -1 and not 0 <= top <= most:
                raise ValueError(
                    f"{name} must be 0 to {most} on this engine, got {top}: "
                    f"load the model with max_logprobs={top} for more"
                )
        token_ids, images = self._encoded(request)
        prefix = self.tokenizer.prefix(request)
        token_ids = (*token_ids, *prefix)
        if not token_ids:
            raise ValueError("the prompt has no tokens: give some text")
        answer = request.sampling.max_tokens or DEFAULT_MAX_TOKENS
        if len(token_ids) + answer > window:
            room = window - len(token_ids)
            fix = f"set max_tokens to {room} or less, or shorten" if room > 0 else "shorten"
            raise ValueError(
                f"the prompt has {len(token_ids)} tokens and max_tokens is {answer}: together they exceed the "
                f"context window of {self.model}, {window} tokens. To answer, {fix} the prompt (Prompt.fit does)"
            )
        within = self._ends_within(request)
        return Prompted(request, token_ids, position, group, images, len(prefix), within)

    def _completion(self, prompt: Prompted, output: Any) -> Completion:
        if isinstance(output, Exception):
            return self._failure(prompt.request, output, prompt.position)
        request = prompt.request
        if any(part.finish_reason == "error" for part in output.outputs):
            tokens = sum(len(part.token_ids) for part in output.outputs)
            used = Usage(len(prompt.token_ids), tokens, output.num_cached_tokens or 0)
            return self._failure(request, ValueError(_NO_TOKEN), prompt.position, used)
        own, prefix = self._given(prompt, output)
        before = own.text if own and request.echo else ""
        made = (self._choice(part, prefix, before, prompt) for part in output.outputs)
        choices = tuple(self._called(request, choice) for choice in made)
        mode = request.logprobs_mode(self._mode)
        tokens = sum(len(c.token_ids) - c.given for c in choices)
        stats = output.metrics
        return Completion(
            request=request,
            choices=tuple(replace(c, logprobs_mode=mode) for c in choices),
            usage=Usage(len(prompt.token_ids), tokens, output.num_cached_tokens or 0),
            model=self.model,
            system_fingerprint=self.fingerprint.id,
            id=uuid.uuid4().hex,
            created=time.time(),
            seconds=stats and stats.first_token_latency + stats.last_token_ts - stats.first_token_ts,
            first_token_seconds=stats and stats.first_token_latency,
            prompt_token_ids=np.array(prompt.token_ids[: len(prompt.token_ids) - prompt.given], np.int32),
            position=prompt.position,
            prompt=own,
            notes={**request.notes, **self.tokenizer.notes(request)},
        )

    @property
    def _mode(self) -> str | None:
        return self.fingerprint.components.get("logprobs_mode")

    def _choice(self, part: Any, prefix: Choice, before: str, prompt: Prompted) -> Choice:
        token_ids = np.array(part.token_ids, np.int32)
        arrays = {} if part.logprobs is None else _arrays(part.logprobs, len(token_ids))
        text, stop, end = self._said(prompt, part)
        arrays = {"token_ids": np.concatenate([prefix.token_ids, token_ids]), **_after(prefix, arrays)}
        return Choice(
            index=part.index,
            text=before + text,
            finish_reason="stop" if stop else part.finish_reason,
            stop_reason=stop or part.stop_reason,
            given=len(prefix.token_ids),
            vocabulary=lambda: self.vocabulary,
            **{name: array[:end] for name, array in arrays.items()},
        )

    def _called(self, request: Request, choice: Choice) -> Choice:
        """The choice with the calls that its text holds."""
        if not request.tools or request.tool_choice == "none":
            return choice
        if request.tool_choice == "auto":
            found, text = parse_calls(
                self.tokenizer.hf, self.tokenizer.tool_format, choice.text, request.tools
            )
        else:
            # Calls that must be made are the whole text; one that was cut is none.
            made = required_calls(choice.text, request.tool_choice) if choice.finish_reason == "stop" else ()
            found, text = made, "" if made else choice.text
        if not found:
            return choice
        # As in OpenAI's API, a function that was named ends with "stop": calling it was no decision of the model.
        reason = "tool_calls" if request.tool_choice in ("auto", "required") else choice.finish_reason
        return replace(choice, text=text, tool_calls=found, finish_reason=reason)

    def _given(self, prompt: Prompted, output: Any) -> tuple[Choice | None, Choice]:
        """The prompt as a choice, if it was asked for, and the prefix of the answer as one (often empty)."""
        request, token_ids = prompt.request, np.array(prompt.token_ids, np.int32)
        arrays: dict[str, Any] = {"token_ids": token_ids}
        if output.prompt_logprobs is not None:
            # vLLM has nothing for the first token: a row that says so keeps the arrays as long as the prompt.
            rest = _arrays(output.prompt_logprobs, len(token_ids) - 1)
            arrays |= {name: _headed(array) for name, array in rest.items()}
        end = len(token_ids) - prompt.given
        first, last = (
            {name: a[part] for name, a in arrays.items()} for part in (slice(end), slice(end, None))
        )
        prefix = Choice(PROMPT, "", "prefix", **last)
        if not request.echo and request.sampling.prompt_logprobs is None:
            return None, prefix
        asked = request.prompt
        text = asked if isinstance(asked, str) else self.tokenizer.decode(first["token_ids"])
        mode = mode_of_prompt(self._mode)
        own = Choice(PROMPT, text, "prompt", logprobs_mode=mode, vocabulary=lambda: self.vocabulary, **first)
        return own, prefix

    def _said(self, prompt: Prompted, part: Any) -> tuple[str, str | None, int | None]:
        """What the answer says, its prefix included; and the stop string, with the number of tokens up to its end,
        that ends it unknown to vLLM: it looks for them only in what it writes itself, from its first character on."""
        request, sampling, ids = prompt.request, prompt.request.sampling, tuple(part.token_ids)
        given, before, within = prompt.token_ids[len(prompt.token_ids) - prompt.given :], "", prompt.within
        if not within:
            given, before = (), self._before(request)

        def written(tokens: int | None) -> str:
            return before + self._decode((*given, *ids[:tokens]), request)

        # Within a character vLLM would write the whole prompt. Of what it leaves out only the last token matters.
        hidden = part.finish_reason == "stop" and not sampling.include_stop_str_in_output
        text = written(-1 if hidden else None) if within else before + str(part.text)
        if not sampling.stop or not (before or within):
            return text, None, None
        first = len(written(sampling.min_tokens or 0).rstrip(_PART))
        ends = []
        for stop in sampling.stop:
            last = None if within else len(before) + len(stop) - 1
            if (place := text.find(stop, max(0, first - len(stop) + 1), last)) >= 0:
                ends.append((place + len(stop), place, stop))
        if not ends:
            return text, None, None
        end, place, stop = min(ends)
        tokens = next((n for n in range(1, len(ids)) if written(n).startswith(text[:end])), len(ids))
        return text[: end if sampling.include_stop_str_in_output else place], stop, prompt.given + tokens

    def _before(self, request: Request) -> str:
        """What the answer begins with."""
        given = request.prefix or ""
        return given if isinstance(given, str) else self._decode(given, request)

    def _decode(self, token_ids: Sequence[int], request: Request) -> str:
        """As vLLM writes them (see `driver`: calls of some families are marked by special tokens)."""
        named = request.sampling.skip_special_tokens is False or request.tool_choice == "auto"
        return self.tokenizer.decode(token_ids, special=named)

    def _ends_within(self, request: Request) -> bool:
        """What is before the first generated token ends within a character, as far as can be seen."""
        last = request.prompt if request.prefix is None else request.prefix
        # A character has four bytes at most, and so as many tokens.
        text = self._decode(last[-4:], request) if isinstance(last, tuple) else last
        return text is not None and text.endswith(_PART)

    def _failure(
        self, request: Request, error: Exception, position: int | None, used: Usage | None = None
    ) -> Completion:
        return Completion(
            request=request,
            choices=(Choice(0, "", "error"),),
            usage=used or Usage(),
            model=self.model,
            system_fingerprint=self.fingerprint.id,
            id=uuid.uuid4().hex,
            created=time.time(),
            position=position,
            error=str(error),
        )


def _fetched(turn: dict[str, Any]) -> dict[str, Any]:
    """A message with its pictures at hand: those on the network are fetched here, where a caller waits, and not
    in the thread that all callers share."""
    if isinstance(turn["content"], str):
        return turn
    return {**turn, "content": [_at_hand(part) for part in turn["content"]]}


def _at_hand(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] != "image_url" or part["image_url"]["url"].startswith("data:"):
        return part
    url = part["image_url"]["url"]
    try:
        return image(fetch(url))
    except Exception as error:
        raise ValueError(f"the image {url} cannot be fetched: {error}") from error


def _arrays(flat: Any, steps: int) -> dict[str, Any]:
    """The arrays of a choice from vLLM's flat lists, which have one stride: the chosen token first, then the top k
    (which may hold it again)."""
    shape = (steps, -1) if steps else (0, 1)
    ids = np.array(flat.token_ids, np.int32).reshape(shape)
    values = np.array(flat.logprobs, np.float32).reshape(shape)
    return {
        "logprobs": values[:, 0].copy(),
        "ranks": np.array(flat.ranks, np.int32).reshape(shape)[:, 0].copy(),
        "top_ids": ids[:, 1:].copy(),
        "top_logprobs": values[:, 1:].copy(),
    }


def _after(prefix: Choice, arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays of a generated text after those of its prefix; what is not known of the prefix is NaN, or 0."""
    if not len(prefix.token_ids):
        return arrays
    joined = {}
    for name, array in arrays.items():
        empty = np.nan if array.dtype == np.float32 else 0
        head = np.full((len(prefix.token_ids), *array.shape[1:]), empty, array.dtype)
        known = getattr(prefix, name)
        if known is not None and known.ndim == 1:
            head[:] = known
        elif known is not None:
            width = min(known.shape[1], head.shape[1])
            head[:, :width] = known[:, :width]
        joined[name] = np.concatenate([head, array])
    return joined


def _headed(array: Any) -> Any:
    """The array with a row before it that says: nothing known (NaN, or 0 for whole numbers)."""
    empty = np.nan if array.dtype == np.float32 else 0
    return np.concatenate([np.full_like(array[:1], empty, shape=(1, *array.shape[1:])), array])
