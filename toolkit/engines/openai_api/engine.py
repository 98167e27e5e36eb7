"""The engine on a server that has OpenAI's API, as callers see it."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from functools import cached_property
from typing import Any, Self, cast

import numpy as np

from toolkit.core.choice import Vocabulary
from toolkit.core.completion import Completion, Delta, Usage
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import Request, ResolvedRequest
from toolkit.core.server_fingerprint import server_fingerprint
from toolkit.engines.base import Engine, request_errors
from toolkit.engines.openai_api.batch import Batch
from toolkit.engines.openai_api.client import ApiClient, RequestFailed, closed_error
from toolkit.engines.openai_api.dialect import MalformedResponse
from toolkit.engines.openai_api.probe import ServerInfo, probe, with_local_tokenizer
from toolkit.engines.openai_api.prompt_tokens import PromptTokens, estimated_tokens
from toolkit.engines.openai_api.request_body import RequestBody, build_body, sends_token_ids
from toolkit.engines.openai_api.response_parser import ParsedResponse, parse_response
from toolkit.engines.openai_api.stream import StreamAccumulator
from toolkit.errors import NotTold, RequestError
from toolkit.prompts.messages import Message
from toolkit.prompts.rendered import Rendered
from toolkit.tokenizers import tiktoken as encodings
from toolkit.tokenizers.huggingface import Tokenizer

_CONCURRENCY_VLLM, _CONCURRENCY = 256, 32
"""Requests open at once: as many as vLLM batches by default; fewer where rates are limited."""
_QUEUED_AHEAD = 16
"""Requests of one caller that wait for a slot, so that none stays empty while the caller is busy."""


class ServerEngine(Engine):
    """A server with OpenAI's API. Made by `toolkit.connect`; sends nothing before it is first needed.

    Its fingerprint has what the server reports: its address, the model, its own `system_fingerprint` and, of vLLM,
    version, context window and the model's path. What it does not report is None, which is unknown: two servers of
    one fingerprint are then not known to be equal. The string of a server of `toolkit.serve` stands for its whole
    system: then that and the model alone are the identity, at whatever address. The defaults of the model's
    generation config are not reported (`defaults` is empty); so every parameter that they could set is sent with
    each request.
    """

    def __init__(
        self, url: str, model: str | None, api_key: str | None, concurrency: int | None, timeout: float
    ) -> None:
        self._client = ApiClient(url, api_key, timeout)
        self.url = self._client.url
        self._requested_model, self._concurrency = model, concurrency
        self._lock = threading.Lock()
        self._server: ServerInfo | None = None
        self._fingerprints: dict[str | None, Fingerprint] = {}
        self._system_fingerprint: str | None = None
        self._latest_system_fingerprint: str | None = None
        self._slots: asyncio.Semaphore
        self._prompt_tokens: PromptTokens
        self._generated_tokens = 0

    def __repr__(self) -> str:
        state = "closed" if self._client.closed else "connected" if self._server else "not connected"
        return f"ServerEngine({self.url!r}, model={self._requested_model!r}, {state})"

    # The server

    def start(self) -> Self:
        """Probes the server (a few tokens are generated); later, takes the `system_fingerprint` of its last response.
        Raises EngineError where the server cannot be reached, or refuses the key or the model.
        """
        self._probe_once()
        self._system_fingerprint = self._latest_system_fingerprint
        return self

    def _probe_once(self) -> ServerInfo:
        with self._lock:
            if self._server is None:
                probed, system_fingerprint = self._client.wait(probe(self._client, self._requested_model))
                server = with_local_tokenizer(self._client, probed)
                self._prompt_tokens = PromptTokens(self._client, server)
                self._slots = asyncio.Semaphore(
                    self._concurrency or (_CONCURRENCY_VLLM if server.dialect.vllm else _CONCURRENCY)
                )
                self._server = server
                self._system_fingerprint = self._latest_system_fingerprint = system_fingerprint
                self._record_fingerprint(system_fingerprint)
            return self._server

    @property
    def model(self) -> str:
        return self._requested_model or self._probe_once().model

    @property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of the server as of the last `start`; each completion carries its own."""
        self._probe_once()
        return self._fingerprints[self._system_fingerprint]

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        self._probe_once()
        return tuple(self._fingerprints.copy().values())

    def _record_fingerprint(self, system_fingerprint: str | None) -> Fingerprint:
        """The fingerprint of the server when it reports this `system_fingerprint`."""
        assert self._server is not None
        if system_fingerprint not in self._fingerprints:
            vocabulary_id = self._vocabulary_id
            self._fingerprints[system_fingerprint] = server_fingerprint(
                self._server.components,
                system_fingerprint,
                adapter=self._server.adapter,
                notes={"tokenizer": vocabulary_id} if vocabulary_id else {},
            )
        self._latest_system_fingerprint = system_fingerprint
        return self._fingerprints[system_fingerprint]

    @property
    def _vocabulary_id(self) -> str | None:
        """Identifies the vocabulary, if that is known: vocabularies are stored under it."""
        server = self._probed_server
        if server.dialect.vllm:
            return server.tokenizer.hashes["tokenizer"] if server.tokenizer else None
        return encodings.encoding_name(server.model)

    @property
    def _probed_server(self) -> ServerInfo:
        assert self._server is not None
        return self._server

    # Tokens

    @property
    def window(self) -> int:
        window = self._probe_once().components["max_model_len"]
        if window is None:
            raise NotTold(f"{self.url} does not report the context window of {self.model}")
        return int(window)

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The model's tokenizer, where it is on this machine; None elsewhere."""
        return self._probe_once().tokenizer

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Of the model's tokenizer where it is on this machine, or of OpenAI's encoding of that name; else empty."""
        server = self._probe_once()
        if server.tokenizer is not None:
            return server.tokenizer.vocabulary
        name = None if server.dialect.vllm else encodings.encoding_name(server.model)
        return encodings.vocabulary(name) if name else []

    @property
    def ends(self) -> frozenset[int]:
        if self.tokenizer is None:
            raise NotTold(
                f"{self.url} does not report which tokens end a text: its tokenizer is not on this machine"
            )
        return self.tokenizer.ends

    @cached_property
    def _ids_by_bytes(self) -> dict[bytes, int]:
        """Token IDs by bytes, for a server that gives bytes."""
        return (
            {}
            if self._probe_once().dialect.vllm
            else {raw: i for i, raw in enumerate(self.vocabulary) if raw}
        )

    def _token_id(self, name: str, raw: bytes | None) -> int | None:
        return self._ids_by_bytes.get(name.encode() if raw is None else raw)

    def encode(self, request: Request | str | Rendered | Sequence[Message]) -> tuple[int, ...]:
        chat_request = request if isinstance(request, Request) else Request.chat(request)
        server = self._probe_once()
        with request_errors():
            server.check_tokens(chat_request)
            tokenized = self._client.wait(self._prompt_tokens.tokenized(chat_request))
            return (*tokenized.prompt_ids, *tokenized.prefix_ids)

    def count(self, request: Request | str | Rendered | Sequence[Message]) -> int:
        """Prompt tokens: by vLLM exactly, by OpenAI's encoding an estimate (see `toolkit.count_tokens`). Raises
        NotTold for other servers."""
        chat_request = request if isinstance(request, Request) else Request.chat(request)
        server = self._probe_once()
        if server.dialect.vllm:
            return len(self.encode(chat_request))
        return estimated_tokens(chat_request, server.model, self.url)

    # Completions

    @property
    def generated_tokens(self) -> int:
        return self._generated_tokens

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        self._probe_once()
        yield from Batch(self._client, self._complete, requests, self._max_open).completions()

    @property
    def _max_open(self) -> int:
        """The most requests of one caller that are open or wait for a slot."""
        vllm = self._probed_server.dialect.vllm
        return (self._concurrency or (_CONCURRENCY_VLLM if vllm else _CONCURRENCY)) + _QUEUED_AHEAD

    async def _complete(self, position: int, request: Request) -> Completion:
        """A request's completion, or its error. Raises EngineError for what concerns every request."""
        resolved = request.resolve(self.defaults)
        try:
            with request_errors():
                async with self._slots:
                    body = await self._request_body(resolved)
                    response, seconds, retries = await self._client.create(body.fields, body.chat)
                notes = {"retries": retries} if retries else {}
                return self._completion(
                    self._parse(body, response), resolved, position, notes | body.notes, seconds
                )
        except ValueError as error:
            return self._failed(resolved, error, position)

    async def _request_body(self, request: ResolvedRequest) -> RequestBody:
        server = self._probed_server
        server.check_tokens(request)
        tokenized = (
            await self._prompt_tokens.tokenized(request) if sends_token_ids(request, server.dialect) else None
        )
        return build_body(request, server.model, server.dialect, tokenized)

    def _parse(self, body: RequestBody, response: Any) -> ParsedResponse:
        try:
            return parse_response(
                body, response, self._token_id, (lambda: self.vocabulary) if self._vocabulary_id else None
            )
        except MalformedResponse as error:
            raise MalformedResponse(self._client.redact(str(error)), error.usage) from None

    def _completion(
        self, response: ParsedResponse, request: ResolvedRequest, position: int, notes: Mapping[str, Any],
        seconds: float, first: float | None = None,
    ) -> Completion:  # fmt: skip
        self._generated_tokens += response.usage.completion_tokens or 0
        notes = {**request.notes, **response.notes, **notes, **self._window_note(request, response)}
        fingerprint = self._record_fingerprint(response.system_fingerprint)
        return Completion(
            request=request,
            choices=response.choices,
            usage=response.usage,
            model=self.model,
            system_fingerprint=fingerprint.id,
            fingerprint=fingerprint,
            id=response.id or uuid.uuid4().hex,
            created=time.time(),
            seconds=seconds,
            first_token_seconds=first,
            prompt_token_ids=np.array(response.prompt_token_ids, np.int32),
            position=position,
            prompt=response.prompt,
            notes=notes,
        )

    def _window_note(self, request: ResolvedRequest, response: ParsedResponse) -> dict[str, Any]:
        """A note where a server has lowered max_tokens to what the window leaves, as vLLM's does silently."""
        window, prompt_tokens = self._probed_server.components["max_model_len"], response.usage.prompt_tokens
        left = None if window is None or prompt_tokens is None else window - prompt_tokens
        if left is None or left >= (request.sampling.max_tokens or 0):
            return {}
        return {"max_tokens": f"{left}, where the window ends"}

    def _failed(self, request: ResolvedRequest, error: Exception, position: int) -> Completion:
        return Completion.failed(
            request,
            str(error),
            model=self.model,
            system_fingerprint=self.fingerprint.id,
            usage=getattr(error, "usage", Usage()),
            position=position,
        )

    def stream_request(self, request: Request) -> Iterator[Delta]:
        self._probe_once()
        deltas: queue.SimpleQueue[Delta | None] = queue.SimpleQueue()

        async def work() -> None:
            with request_errors():
                async with contextlib.aclosing(self._deltas(request.resolve(self.defaults))) as stream:
                    async for delta in stream:
                        deltas.put(delta)

        future = self._client.start(work())
        future.add_done_callback(lambda _: deltas.put(None))
        try:
            while (delta := deltas.get()) is not None:
                yield delta
            future.result()
        except CancelledError:
            raise closed_error() from None
        except MalformedResponse as error:
            raise RequestError(self._client.redact(str(error))) from None
        except ValueError as error:
            raise RequestError(str(error)) from None
        finally:
            future.cancel()

    async def _deltas(self, request: ResolvedRequest) -> AsyncGenerator[Delta, None]:
        async with self._slots:
            body = await self._request_body(request)
            accumulator, began, first = StreamAccumulator(body.chat), time.monotonic(), None
            leading_text = body.tokenized.leading_text if body.tokenized else ""
            started, last = set[int](), cast("Delta | None", None)
            async with contextlib.aclosing(self._pieces(body, accumulator)) as pieces:
                async for index, text, reason in pieces:
                    if not (text or reason):
                        continue
                    first = first or time.monotonic() - began
                    delta = Delta(text if index in started else leading_text + text, index, reason)
                    started.add(index)
                    if last is not None:
                        yield last
                    # The last piece waits for the usage, which comes after it.
                    last = delta if reason else None
                    if last is None:
                        yield delta
            seconds = time.monotonic() - began
        response = self._parse(body, accumulator.response)
        completion = self._completion(response, request, 0, body.notes, seconds, first)
        yield replace(last or Delta(""), completion=completion)

    async def _pieces(
        self, body: RequestBody, accumulator: StreamAccumulator
    ) -> AsyncGenerator[tuple[int, str, str | None], None]:
        """The pieces of a streamed response (see `StreamAccumulator.add`). A connection that breaks off once every
        choice has ended takes nothing but the usage."""
        try:
            async with contextlib.aclosing(self._client.stream(body.fields, body.chat)) as chunks:
                async for chunk in chunks:
                    for piece in accumulator.add(chunk):
                        yield piece
        except RequestFailed:
            if not accumulator.is_complete(body.request.sampling.n or 1):
                raise

    def close(self) -> None:
        self._client.close()
