"""The engine behind an address: any server that has OpenAI's API, as callers see it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import queue
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self, cast

import numpy as np

from toolkit import encoding as encodings
from toolkit import models
from toolkit.choice import Choice, Vocabulary
from toolkit.completion import Completion, Delta, Usage
from toolkit.engine import Engine, EngineError, NotTold, RequestError
from toolkit.engines.link import KEY, Link, Refused, closed
from toolkit.engines.wire import (
    Answer,
    Ask,
    BadAnswer,
    Dialect,
    Given,
    NoLogprobs,
    Pieces,
    answer,
    ask,
    by_ids,
)
from toolkit.fingerprint import Fingerprint
from toolkit.messages import Message
from toolkit.prompt import Rendered
from toolkit.request import Request
from toolkit.sampling import Sampling
from toolkit.tokenizer import Tokenizer

_OPEN_VLLM, _OPEN = 256, 32
"""Requests that are open at once: as many as vLLM computes together by default; fewer where a rate is limited."""
_AHEAD = 16
"""Requests of one caller that wait for their turn, so that a place never stays empty while the caller is busy."""
_REMEMBERED = 4096
_PROBE: dict[str, Any] = {"max_tokens": 16, "logprobs": True, "seed": 1}
"""What is asked for to learn what a server takes; some have a least max_tokens of 16."""
_THINKING = "output limit was reached"
"""OpenAI's words where all of max_tokens went into reasoning: the request was understood, and has no answer."""
_SAMPLE = "Zebras aren't 1,234 naïve 🎉 words…\n\tdef f(x): return x"
"""Cut into the same tokens here and there, a tokenizer is taken for the server's own."""


@dataclass(frozen=True)
class Known:
    """What a server has told of itself."""

    model: str
    dialect: Dialect
    components: Mapping[str, Any]
    """Of its fingerprint, without its own string, which may change from answer to answer."""
    tokenizer: Tokenizer | None
    """The model's own, where it is on this machine and cuts as the server does."""


class ServerEngine(Engine):
    """A server with OpenAI's API. Made by `toolkit.connect`; asks nothing before it is first needed.

    Its fingerprint has what the server tells: its address, the model, its own `system_fingerprint` and, of vLLM,
    version, window and the model's path. What it does not tell is None, which is unknown: two servers of one
    fingerprint are then not known to be equal. The defaults of the model's generation config are not told either
    (`defaults` is empty); so every parameter that they could set is sent with each request.
    """

    def __init__(
        self, url: str, model: str | None, api_key: str | None, concurrency: int | None, timeout: float
    ) -> None:
        self._link = Link(url, api_key, timeout)
        self.url = self._link.url
        self._asked_for, self._concurrency = model, concurrency
        self._lock = threading.Lock()
        self._known: Known | None = None
        self._records: dict[str | None, Fingerprint] = {}
        self._current: str | None = None
        self._latest: str | None = None
        self._places: asyncio.Semaphore
        self._tokens = 0
        self._encoded: dict[str, tuple[int, ...]] = {}

    def __repr__(self) -> str:
        state = "closed" if self._link.closed else "connected" if self._known else "not asked yet"
        return f"ServerEngine({self.url!r}, model={self._asked_for!r}, {state})"

    # What the server is

    def start(self) -> Self:
        """Asks the server what it is (a few tokens are generated), or, where answers told of another system since
        then, takes its last answer's. Raises EngineError where it cannot be reached, or refuses the key or the model.
        """
        self._started()
        self._current = self._latest
        return self

    def _started(self) -> Known:
        with self._lock:
            if self._known is None:
                known, said = self._link.wait(self._introduce())
                found = self._local_tokenizer(known)
                self._places = asyncio.Semaphore(
                    self._concurrency or (_OPEN_VLLM if found.dialect.vllm else _OPEN)
                )
                self._known, self._current, self._latest = found, said, said
                self._record(said)
            return self._known

    async def _introduce(self) -> tuple[Known, str | None]:
        listed = await self._listed()
        model = self._asked_for or _only(listed, self.url)
        about = listed.get(model, {})
        # A gateway may have models of several makers. One that is not listed is as all that are.
        owners = {one.get("owned_by") for one in ([about] if about else listed.values())}
        vllm = owners == {"vllm"}
        dialect, fingerprint = await self._probed(model, Dialect(vllm=vllm), sorted(listed))
        components = {
            "engine": "server",
            "url": self.url,
            "model": model,
            "owned_by": about.get("owned_by"),
            "root": about.get("root"),
            "max_model_len": about.get("max_model_len"),
            "version": await self._version() if vllm else None,
        }
        return Known(model, dialect, components, None), fingerprint

    async def _listed(self) -> dict[str, dict[str, Any]]:
        """What the server says of each of its models, by name; empty where it has no list. Raises EngineError."""
        try:
            said = await self._link.get("/models")
            return {str(one["id"]): dict(one) for one in said["data"]}
        except Refused as error:
            if error.status in (403, 429) or (error.status or 0) >= 500:
                raise EngineError(f"{error}. {KEY}" if error.status == 403 else str(error)) from None
            return {}
        except (KeyError, TypeError, ValueError):
            return {}

    async def _version(self) -> str | None:
        try:
            said = await self._link.get(f"{self._link.root}/version")
            return str(said["version"])
        except (Refused, KeyError, TypeError):
            return None

    async def _probed(self, model: str, dialect: Dialect, known: Sequence[str]) -> tuple[Dialect, str | None]:
        """How the server wants to be asked, and its system_fingerprint: from a few tokens."""
        refusals = []
        for request in (Request.chat("Hi", **_PROBE), Request(prompt="Hi", sampling=Sampling(**_PROBE))):
            try:
                return await self._understood(request.resolve({}), model, dialect)
            except (Refused, BadAnswer) as error:
                refusals.append(error)
        first, status = refusals[0], getattr(refusals[0], "status", None)
        if status == 403:
            raise EngineError(f"{first}. {KEY}")
        if status == 404:
            names = f"It has {', '.join(known)}" if known else "It lists no models"
            raise EngineError(f"{first}. {names}; url must end as the API does, mostly in /v1")
        raise EngineError(f"the server answers no request: {self._link.clean(str(first))}")

    async def _understood(self, request: Request, model: str, dialect: Dialect) -> tuple[Dialect, str | None]:
        """Asks, without what the server refuses although it changes nothing, until it answers."""
        while True:
            asked = ask(dialect.fewer(request), model, dialect)
            try:
                said, *_ = await self._link.ask(asked.body, asked.chat)
                return dialect, answer(asked, said, lambda *_: None, None).fingerprint
            except NoLogprobs:
                dialect = dialect.lacking("logprobs")
            except Refused as error:
                if error.status == 400 and _THINKING in str(error):
                    return dialect, None
                fewer = dialect.without(str(error), asked.body) if error.status in (400, 422) else None
                if fewer is None:
                    raise
                dialect = fewer

    def _local_tokenizer(self, known: Known) -> Known:
        """With the model's tokenizer, where it is on this machine and agrees with the server on a sample."""
        if not known.dialect.vllm:
            return known
        try:
            found = Tokenizer(models.local(str(known.components["root"] or known.model)))
            theirs = self._link.wait(self._tokenized({"model": known.model, "prompt": _SAMPLE}))
        except (models.ModelError, NotTold):
            return known
        return replace(known, tokenizer=found) if found.encode(Request(prompt=_SAMPLE)) == theirs else known

    @property
    def model(self) -> str:  # type: ignore[override]  # the only one that a server has, when none was named
        return self._asked_for or self._started().model

    @property
    def fingerprint(self) -> Fingerprint:
        """The record of the server as it was when it was last started; each answer has that of its own."""
        self._started()
        return self._records[self._current]

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        self._started()
        return tuple(self._records.copy().values())

    def _record(self, said: str | None) -> Fingerprint:
        """The record of the server when it says this of itself."""
        assert self._known is not None
        if said not in self._records:
            components = {**self._known.components, "system_fingerprint": said}
            spelling = self._spelling
            self._records[said] = Fingerprint(components, {"tokenizer": spelling} if spelling else {})
        self._latest = said
        return self._records[said]

    @property
    def _spelling(self) -> str | None:
        """Names the vocabulary, as far as it is known: vocabularies are stored by it."""
        known = self._started_already
        if known.dialect.vllm:
            return known.tokenizer.hashes["tokenizer"] if known.tokenizer else None
        return encodings.encoding_name(known.model)

    @property
    def _started_already(self) -> Known:
        assert self._known is not None
        return self._known

    # Tokens

    @property
    def window(self) -> int:
        found = self._started().components["max_model_len"]
        if found is None:
            raise NotTold(f"{self.url} does not tell the context window of {self.model}")
        return int(found)

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The model's tokenizer, where it is on this machine; None elsewhere."""
        return self._started().tokenizer

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Of the model's tokenizer where it is on this machine, or of OpenAI's encoding of that name; else empty."""
        known = self._started()
        if known.tokenizer is not None:
            return known.tokenizer.vocabulary
        name = None if known.dialect.vllm else encodings.encoding_name(known.model)
        return encodings.vocabulary(name) if name else []

    @property
    def ends(self) -> frozenset[int]:
        if self.tokenizer is None:
            raise NotTold(
                f"{self.url} does not tell which tokens end a text: its tokenizer is not on this machine"
            )
        return self.tokenizer.ends

    @cached_property
    def _numbers(self) -> dict[bytes, int]:
        """Bytes → id, of a server that gives bytes."""
        return (
            {} if self._started().dialect.vllm else {raw: i for i, raw in enumerate(self.vocabulary) if raw}
        )

    def _number(self, name: str, raw: bytes | None) -> int | None:
        return self._numbers.get(name.encode() if raw is None else raw)

    def encode(self, request: Request | str | Rendered | Sequence[Message]) -> tuple[int, ...]:
        asked = request if isinstance(request, Request) else Request.chat(request)
        self._started()
        given = self._link.wait(self._given(asked))
        return (*given.prompt, *given.prefix)

    def count(self, request: Request | str | Rendered | Sequence[Message]) -> int:
        """Prompt tokens: by vLLM exactly, by OpenAI's encoding an estimate (see `toolkit.count_tokens`). Raises
        NotTold for other servers."""
        asked = request if isinstance(request, Request) else Request.chat(request)
        known = self._started()
        if known.dialect.vllm:
            return len(self.encode(asked))
        from toolkit.coder import coder

        if encodings.encoding_name(known.model) is None:
            raise NotTold(
                f"{self.url} does not count tokens, and the tokenizer of {known.model} is not known"
            )
        try:
            return coder(known.model).prompt(asked)[0]
        except ValueError as error:
            raise NotTold(str(error)) from None

    async def _tokenized(self, body: Mapping[str, Any]) -> tuple[int, ...]:
        try:
            said = await self._link.post(f"{self._link.root}/tokenize", body)
            return tuple(map(int, said["tokens"]))
        except Refused as error:
            if error.status == 400:
                raise ValueError(str(error)) from None
            raise NotTold(f"{self.url} does not tell the tokens of a text: {error}") from None
        except (KeyError, TypeError):
            raise NotTold(f"{self.url} does not tell the tokens of a text") from None

    async def _encode(self, request: Request) -> tuple[int, ...]:
        """The ids of a request's prompt, without its prefix."""
        if isinstance(request.prompt, tuple):
            return request.prompt
        if not self._started_already.dialect.vllm:
            raise NotTold(f"{self.url} does not tell the tokens of a text: it is no vLLM server")
        if request.has_images:
            raise NotTold("a server does not tell how many tokens images take")
        if (found := self._encoded.get(request.input)) is None:
            if len(self._encoded) >= _REMEMBERED:
                self._encoded.clear()
            found = self._encoded[request.input] = await self._tokenized(self._to_tokenize(request))
        return found

    def _to_tokenize(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._started_already.model}
        if request.messages is None:
            return {**body, "prompt": request.prompt}
        tools = [tool.to_openai() for tool in request.tools] if request.tool_choice != "none" else []
        return {**body, "messages": list(request.messages), **({"tools": tools} if tools else {})}

    async def _given(self, request: Request) -> Given:
        """The ids of prompt and prefix, and their texts. The prefix is cut as `Tokenizer.prefix` does it."""
        prompt, prefix, asked = await self._encode(request), request.prefix or (), request.prompt
        model = self._started_already.model
        before = prefix if isinstance(prefix, str) else await self._text(prefix)
        if isinstance(prefix, str):
            whole = prompt
            if isinstance(asked, str):
                whole = await self._tokenized({"model": model, "prompt": asked + prefix})
            if whole != prompt and whole[: len(prompt)] == prompt:
                prefix = whole[len(prompt) :]
            else:
                prefix = await self._tokenized(
                    {"model": model, "prompt": prefix, "add_special_tokens": False}
                )
        wanted = request.echo or request.sampling.prompt_logprobs is not None
        text = (asked if isinstance(asked, str) else await self._text(prompt)) if wanted else ""
        return Given(prompt, tuple(prefix), (text if request.echo else "") + before, text)

    async def _text(self, token_ids: Sequence[int]) -> str:
        if not token_ids:
            return ""
        body = {"model": self._started_already.model, "tokens": list(token_ids)}
        return str((await self._link.post(f"{self._link.root}/detokenize", body))["prompt"])

    # Answers

    @property
    def generated_tokens(self) -> int:
        return self._tokens

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        self._started()
        done: queue.SimpleQueue[Future[Completion]] = queue.SimpleQueue()
        open_: set[Future[Completion]] = set()
        source, more = enumerate(requests), True
        failure: Exception | None = None
        try:
            while True:
                # What is answered goes out before the next request is made, which may take its time.
                while more and failure is None and len(open_) < self._most and done.empty():
                    try:
                        more = self._open_next(source, open_, done)
                    except Exception as error:  # noqa: BLE001  # the caller's own, too: what is open is answered first
                        failure = error
                if not open_:
                    break
                future = done.get()
                open_.remove(future)
                try:
                    completion = future.result()
                except (EngineError, CancelledError) as error:
                    # Nothing more is asked, but what is finished already is given.
                    failure = failure or (error if isinstance(error, EngineError) else closed())
                    _cancel(open_)
                    continue
                yield completion
        finally:
            _cancel(open_)
        if failure is not None:
            raise failure

    def _open_next(
        self,
        source: Iterator[tuple[int, Request]],
        open_: set[Future[Completion]],
        done: queue.SimpleQueue[Future[Completion]],
    ) -> bool:
        """Asks the next request; False when there is none."""
        item = next(source, None)
        if item is None:
            return False
        future = self._link.start(self._answered(*item))
        open_.add(future)
        future.add_done_callback(done.put)
        return True

    @property
    def _most(self) -> int:
        """Requests of one caller that are open or wait for it."""
        vllm = self._started_already.dialect.vllm
        return (self._concurrency or (_OPEN_VLLM if vllm else _OPEN)) + _AHEAD

    async def _answered(self, position: int, request: Request) -> Completion:
        """A request's completion, or its error. Raises EngineError for what concerns every request."""
        asked = request.resolve(self.defaults)
        try:
            async with self._places:
                ready = await self._ready(asked)
                said, seconds, again = await self._link.ask(ready.body, ready.chat)
            notes = {"retries": again} if again else {}
            return self._completion(self._read(ready, said), asked, position, notes | _unsent(ready), seconds)
        except ValueError as error:
            return self._failure(asked, error, position)

    async def _ready(self, request: Request) -> Ask:
        known = self._started_already
        given = await self._given(request) if by_ids(request, known.dialect) else None
        return ask(request, known.model, known.dialect, given)

    def _read(self, ready: Ask, said: Any) -> Answer:
        try:
            return answer(ready, said, self._number, (lambda: self.vocabulary) if self._spelling else None)
        except ValueError as error:
            raise ValueError(self._link.clean(str(error))) from None

    def _completion(
        self, found: Answer, asked: Request, position: int, notes: Mapping[str, Any], seconds: float,
        first: float | None = None,
    ) -> Completion:  # fmt: skip
        self._tokens += found.usage.completion_tokens
        notes = {**asked.notes, **found.notes, **notes, **self._cut(asked, found)}
        return Completion(
            request=asked,
            choices=found.choices,
            usage=found.usage,
            model=self.model,
            system_fingerprint=self._record(found.fingerprint).id,
            id=found.name or uuid.uuid4().hex,
            created=time.time(),
            seconds=seconds,
            first_token_seconds=first,
            prompt_token_ids=np.array(found.prompt_token_ids, np.int32),
            position=position,
            prompt=found.prompt,
            notes=notes,
        )

    def _cut(self, asked: Request, found: Answer) -> dict[str, Any]:
        """A note where a server has lowered max_tokens to what the window leaves, which vLLM's does in silence."""
        window, given = self._started_already.components["max_model_len"], found.usage.prompt_tokens
        room = (window or math.inf) - given
        return (
            {"max_tokens": f"{room}, where the window ends"}
            if room < (asked.sampling.max_tokens or 0)
            else {}
        )

    def _failure(self, asked: Request, error: Exception, position: int) -> Completion:
        return Completion(
            request=asked,
            choices=(Choice(0, "", "error"),),
            usage=Usage(),
            model=self.model,
            system_fingerprint=self.fingerprint.id,
            id=uuid.uuid4().hex,
            created=time.time(),
            position=position,
            error=str(error),
        )

    def stream_request(self, request: Request) -> Iterator[Delta]:
        self._started()
        pieces: queue.SimpleQueue[Delta | None] = queue.SimpleQueue()

        async def work() -> None:
            async with contextlib.aclosing(self._streamed(request.resolve(self.defaults))) as deltas:
                async for delta in deltas:
                    pieces.put(delta)

        future = self._link.start(work())
        future.add_done_callback(lambda _: pieces.put(None))
        try:
            while (delta := pieces.get()) is not None:
                yield delta
            future.result()
        except CancelledError:
            raise closed() from None
        except ValueError as error:
            raise RequestError(str(error)) from None
        finally:
            future.cancel()

    async def _streamed(self, asked: Request) -> AsyncGenerator[Delta, None]:
        async with self._places:
            ready = await self._ready(asked)
            whole, began, first = Pieces(ready.chat), time.monotonic(), None
            before = ready.given.before if ready.given else ""
            begun, last = set[int](), cast("Delta | None", None)
            async for chunk in self._link.stream(ready.body, ready.chat):
                for index, text, reason in whole.add(chunk):
                    if not (text or reason):
                        continue
                    first = first or time.monotonic() - began
                    delta = Delta(text if index in begun else before + text, index, reason)
                    begun.add(index)
                    if last is not None:
                        yield last
                    last = (
                        delta if reason else None
                    )  # the last piece waits for the usage, which comes after it
                    if last is None:
                        yield delta
            seconds = time.monotonic() - began
        read = self._read(ready, whole.said)
        found = self._completion(read, asked, 0, _unsent(ready), seconds, first)
        yield replace(last or Delta(""), completion=found)

    def close(self) -> None:
        self._link.close()


def _unsent(ready: Ask) -> dict[str, Any]:
    """A note of the neutral values that are the server's own to choose, since it takes none."""
    return {"not_sent": list(ready.unsent)} if ready.unsent else {}


def _cancel(futures: Iterable[Future[Any]]) -> None:
    for future in list(futures):
        future.cancel()


def _only(listed: Mapping[str, Mapping[str, Any]], url: str) -> str:
    """The server's model, under the first of its names. Raises EngineError where there are several."""
    if not listed:
        raise EngineError(
            f"{url} lists no models: give toolkit.connect the name of one, as model=…; url must end as the API does, "
            "mostly in /v1"
        )
    roots = {one.get("root") or name for name, one in listed.items()}
    if len(roots) > 1:
        raise EngineError(f"{url} has several models: give one as model=…, of {', '.join(sorted(listed))}")
    return next(iter(listed))
