"""The thread that talks to a server, through the official OpenAI client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from toolkit._internal.secrets import redact
from toolkit._internal.text import replace_lone_surrogates, short_repr
from toolkit._internal.validation import validate_api_key
from toolkit.core.completion import UNKNOWN_USAGE, Usage
from toolkit.engines.openai_api.dialect import MalformedResponse
from toolkit.engines.openai_api.request_body import max_response_bytes
from toolkit.engines.openai_api.response_model import Detokenized, Tokens, read
from toolkit.engines.openai_api.server_sent_events import event_data
from toolkit.errors import EngineError, NotTold

if TYPE_CHECKING:
    import openai


T = TypeVar("T")
_RETRIES = 6
"""After 0.5, 1, 2, 4, 8 and 8 s, less jitter of up to a quarter: a server that restarts is back by then. The client
retries after 408, 409, 429, 5xx, lost connections, and when the server says so; it waits as long as Retry-After says,
and gives up where that is over two minutes."""
_PROBE_RETRIES = 2
"""For the probe: a server that does not run is reported soon."""
_CONNECT_TIMEOUT = 5.0
"""Seconds within which a connection must be established."""
_MAX_MESSAGE_LENGTH = 500
"""The most characters of a server's message that go into an error."""
_NO_KEY = "none"
"""Sent when there is no key: the client requires one, and servers on one's own machine ignore it."""
KEY_HINT = "Is the key right? It is the argument api_key, else OPENAI_API_KEY in the environment"
_last_status: ContextVar[int | None] = ContextVar("last_status", default=None)
"""The status of the last response to the current request: the client retries by itself."""
_DEFAULT_MAX_BYTES = max_response_bytes({})
_max_bytes: ContextVar[int] = ContextVar("max_bytes", default=_DEFAULT_MAX_BYTES)
"""The most bytes that are read of a response to the current request."""


class RequestFailed(ValueError):
    """A request that got no response; the message says why."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.usage = UNKNOWN_USAGE if status is None else Usage()
        """The tokens that it used: none where it was refused, unknown where its response was lost."""


class ApiClient:
    """An asyncio loop in a thread, with an `openai.AsyncOpenAI` in it. Safe to use from several threads."""

    def __init__(self, url: str, api_key: str | None, timeout: float) -> None:
        environment_key = os.environ.get("OPENAI_API_KEY", "").strip()
        self._key = validate_api_key((environment_key or _NO_KEY) if api_key is None else api_key)
        self.url, self._timeout = validate_url(url), timeout
        self._loop = asyncio.new_event_loop()
        self._clients: list[openai.AsyncOpenAI] = []
        """The client, once it is needed: in a list, which `_stop` can hold without this object."""
        self._thread = threading.Thread(target=self._loop.run_forever, name="toolkit-server", daemon=True)
        self._thread.start()
        self.closed = False
        # Also at the interpreter's exit: a loop that is torn down while it runs complains.
        self._finalize = weakref.finalize(self, _stop, self._loop, self._thread, self._clients)

    def __repr__(self) -> str:
        return f"ApiClient({self.url!r})"

    @property
    def root(self) -> str:
        """The server's address without /v1, where vLLM has its own endpoints."""
        return self.url.removesuffix("/v1")

    @property
    def _is_local(self) -> bool:
        host = str(urlsplit(self.url).hostname)
        return host == "localhost" or host == "::1" or host.startswith("127.")

    # Called from any thread.

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Runs a coroutine in the loop; cancelling the future cancels it. Raises EngineError once closed, and in a
        process that was forked from the one that created it, where its thread is missing."""
        if self.closed or not self._thread.is_alive():
            work.close()
            raise closed_error()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        future = self.start(work)
        try:
            return future.result()
        except CancelledError:
            raise closed_error() from None
        finally:
            future.cancel()  # an interrupt ends the wait, and then the work

    def close(self) -> None:
        self.closed = True
        self._finalize()

    # Called in the loop.

    def _open_client(self) -> openai.AsyncOpenAI:
        if not self._clients:
            import openai

            client = openai.AsyncOpenAI(
                http_client=openai.DefaultAsyncHttpxClient(
                    trust_env=not self._is_local,  # proxy settings are not for a server on this machine
                    event_hooks={"response": [_record_and_limit]},
                ),
                api_key=self._key,
                base_url=self.url,
                max_retries=_RETRIES,
                # One deadline for all of a request (see `_within`), since a body may come slowly but steadily.
                timeout=openai.Timeout(None, connect=_CONNECT_TIMEOUT),
            )
            self._clients.append(client)
        return self._clients[0]

    async def get(self, path: str) -> Any:
        """The data of a GET; path may be a whole URL. Raises RequestFailed or EngineError."""
        client = self._open_client().with_options(max_retries=_PROBE_RETRIES)
        return await self._with_timeout(client.get(path, cast_to=object))

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self._with_timeout(self._open_client().post(path, cast_to=object, body=dict(body)))

    async def tokenize(self, body: Mapping[str, Any]) -> tuple[int, ...]:
        """The token IDs of a text or a conversation, by vLLM. Raises ValueError for what it refuses, NotTold."""
        try:
            return tuple(read(Tokens, await self.post(f"{self.root}/tokenize", body)).tokens)
        except RequestFailed as error:
            if error.status == 400:
                raise ValueError(str(error)) from None
            raise NotTold(f"{self.url} does not report the tokens of a text: {error}") from None
        except MalformedResponse:
            raise NotTold(f"{self.url} does not report the tokens of a text") from None

    async def detokenize(self, body: Mapping[str, Any]) -> str:
        """The text of token IDs, by vLLM. Raises RequestFailed, NotTold."""
        try:
            return read(Detokenized, await self.post(f"{self.root}/detokenize", body)).prompt
        except MalformedResponse:
            raise NotTold(f"{self.url} does not report the text of tokens") from None

    def _completions(self, chat: bool) -> Any:
        client = self._open_client()
        return client.chat.completions if chat else client.completions

    async def create(self, body: Mapping[str, Any], chat: bool) -> tuple[Any, float, int]:
        """A response as data, the seconds that its last attempt took, and the number of retries."""
        _max_bytes.set(max_response_bytes(body))
        request = self._completions(chat).with_raw_response.create(**_create_arguments(body, chat))
        raw = await self._with_timeout(request)
        data = self._parsed(raw.http_response, raw.http_response.content)
        return data, raw.http_response.elapsed.total_seconds(), raw.retries_taken

    def _parsed(self, http_response: Any, content: bytes) -> Any:
        """The JSON of a response. Raises RequestFailed."""
        _check_length(len(content))
        try:
            data = json.loads(content)
            return replace_lone_surrogates(data) if b"\\ud" in content.lower() else data
        except (ValueError, RecursionError):
            kind = http_response.headers.get("content-type", "no type")
            text = content[: 4 * _MAX_MESSAGE_LENGTH].decode("utf-8", "replace")
            raise RequestFailed(
                f"the server's response is no JSON ({self.redact(kind)}): {short_repr(self.redact(text))}"
            ) from None

    async def stream(self, body: Mapping[str, Any], chat: bool) -> AsyncGenerator[Any, None]:
        """The chunks of a streamed response, as they come; a response that is not streamed is one chunk."""
        _max_bytes.set(max_response_bytes(body))
        options = {"stream": True, "stream_options": {"include_usage": True}}
        request = self._completions(chat).with_streaming_response.create(
            **_create_arguments({**body, **options}, chat)
        )
        async with contextlib.AsyncExitStack() as stack:
            response = await self._with_timeout(stack.enter_async_context(request))
            kind = response.headers.get("content-type", "")
            if "json" in kind or "html" in kind:
                yield self._parsed(response.http_response, await self._with_timeout(response.read()))
                return
            parts = _counted(response.iter_bytes())
            events = await stack.enter_async_context(contextlib.aclosing(event_data(parts)))
            while (data := await self._with_timeout(anext(events, None))) is not None:
                if data.strip().startswith("[DONE]"):
                    return
                yield self._parsed(response.http_response, data.encode())

    async def _with_timeout(self, work: Any) -> Any:
        """The result within the time that a request, or the next chunk of a stream, may take; failures are raised as
        RequestFailed or EngineError."""
        _last_status.set(None)
        try:
            async with asyncio.timeout(self._timeout):
                return await work
        except TimeoutError:
            status = _last_status.get()
            detail = f" (the last response was {status})" if status and status >= 400 else ""
            raise RequestFailed(
                f"no answer from {self.url} within {self._timeout:g} s{detail}: give toolkit.connect a longer timeout"
            ) from None
        except RequestFailed:
            raise
        except Exception as error:  # noqa: BLE001  # of the client, of HTTP or of JSON: none may show the key
            raise self._translate_error(error) from None

    def _translate_error(self, error: Exception) -> Exception:
        import openai

        if isinstance(error, openai.APIStatusError):
            return self._translate_status(error)
        if isinstance(error, openai.APIConnectionError):
            cause = error.__cause__
            reason = f"{type(cause).__name__}: {cause}" if cause else str(error)
            if type(cause).__name__ in ("ConnectError", "ConnectTimeout"):
                return EngineError(
                    f"cannot connect to {self.url} ({self.redact(reason)}): {_connection_hint(reason)} What was "
                    "finished is kept; run again to go on"
                )
            return RequestFailed(self.redact(f"the connection to {self.url} broke off: {reason}"))
        return RequestFailed(
            self.redact(f"the server's response cannot be read: {type(error).__name__}: {error}")
        )

    def _translate_status(self, error: openai.APIStatusError) -> Exception:
        body = error.body
        fields = body if isinstance(body, Mapping) else {}
        detail = self.redact(
            str(fields.get("message") or fields.get("detail") or body or error.response.text)
        )
        message = f"{self.url} answers {error.status_code}: {detail.rstrip('.')}"
        if error.status_code == 401:
            return EngineError(f"{message}. {KEY_HINT}")
        if error.status_code == 402 or fields.get("code") == "insufficient_quota":
            return EngineError(message)
        return RequestFailed(message, error.status_code)

    def redact(self, text: str) -> str:
        """A message of the server or the client, shortened, without the key: servers echo what they were sent."""
        text = redact(text, [self._key] if self._key != _NO_KEY else [])
        return text if len(text) <= _MAX_MESSAGE_LENGTH else f"{text[:_MAX_MESSAGE_LENGTH]}…"


def _connection_hint(reason: str) -> str:
    """What to check, by the operating system's words for why there is no connection."""
    if "CERTIFICATE" in reason:
        return "its certificate is not one that this machine trusts."
    if "SSL" in reason:
        return "the server there does not speak TLS: is its address one of http:// instead of https://?"
    if any(
        words in reason
        for words in ("Name or service", "name resolution", "nodename", "getaddrinfo", "No address")
    ):
        return "is the host's name right, and the network up?"
    return "is the server running there?"


def closed_error() -> EngineError:
    return EngineError("this engine is closed, or of another process: toolkit.connect() gives a new one")


def _check_length(length: int) -> None:
    """Raises RequestFailed for a response that is longer than it may be."""
    most = _max_bytes.get()
    if length > most:
        raise RequestFailed(
            f"the server's response is longer than {most >> 20:,} MiB, more than the request can need"
        )


async def _counted(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The parts of a streamed response, as far as it may be long."""
    length = 0
    async for part in parts:
        length += len(part)
        _check_length(length)
        yield part


async def _record_and_limit(response: Any) -> None:
    """Called with each response before it is read. Reading stops once it is longer than it may be: a compressed one
    can be a thousand times as long as what is sent. It does not fail here, since the client would retry."""
    _last_status.set(response.status_code)
    read, most = response.aiter_bytes, _max_bytes.get()

    async def limited(chunk_size: int | None = None) -> AsyncIterator[bytes]:
        length = 0
        async with contextlib.aclosing(read(chunk_size)) as parts:
            async for part in parts:
                yield part
                length += len(part)
                if length > most:
                    await response.aclose()
                    return

    response.aiter_bytes = limited


def validate_url(url: str) -> str:
    """A URL in normal form. Raises ValueError for an invalid one, and for one that may hold a key: HTTP libraries log
    URLs."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except (AttributeError, TypeError, ValueError):
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(
            "url must be the address of an API, such as 'http://localhost:8000/v1'; a model's name comes after it, "
            "as in toolkit.connect('https://api.openai.com/v1', model='gpt-4o-mini')"
        )
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(
            "url must have no name, password, query (?…) or fragment (#…): give a key as api_key"
        )
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def _create_arguments(body: Mapping[str, Any], chat: bool) -> dict[str, Any]:
    """Arguments of the client's `create`; fields that it has no parameter for go into extra_body."""
    parameters = ("model", "messages" if chat else "prompt", "stream")
    arguments = {name: body[name] for name in parameters if name in body}
    return {**arguments, "extra_body": {n: v for n, v in body.items() if n not in parameters}}


def _stop(
    loop: asyncio.AbstractEventLoop, thread: threading.Thread, clients: list[openai.AsyncOpenAI]
) -> None:
    """Cancels all that runs in a loop, and stops it."""

    async def end() -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *(client.close() for client in clients), return_exceptions=True)
        loop.stop()

    if thread.is_alive():
        asyncio.run_coroutine_threadsafe(end(), loop)
        if thread is not threading.current_thread():
            thread.join(timeout=5)
    if not loop.is_running():
        loop.close()
