"""Link: the thread that talks to a server, through the official OpenAI client."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncIterator, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from toolkit.engine import EngineError
from toolkit.engines.wire import sound

if TYPE_CHECKING:
    import openai

T = TypeVar("T")

_RETRIES = 6
"""After 0.5, 1, 2, 4, 8 and 8 s, less up to a quarter by chance: a server that starts again is back by then. The
client asks again after 408, 409, 429, 5xx, lost connections, and when the server says so; it waits as long as
Retry-After says, and gives up where that is over two minutes."""
_FEW = 2
"""When a server is asked what it is: that it does not run is told soon."""
_CONNECT = 5.0
"""Seconds until a connection must stand."""
_SHOWN = 500
"""Characters of what a server says that go into an error."""
_NO_KEY = "none"
"""Sent when there is no key: the client wants one, and servers on one's own machine do not look at it."""


KEY = "Is the key right? It is the argument api_key, else OPENAI_API_KEY in the environment"
_last: ContextVar[int | None] = ContextVar("last", default=None)
"""The status of the last response to the request that is under way: the client asks again by itself."""


class Refused(ValueError):
    """One request that got no answer; the message says why."""

    def __init__(self, said: str, status: int | None = None) -> None:
        super().__init__(said)
        self.status = status


class Link:
    """An asyncio loop in a thread, with an `openai.AsyncOpenAI` in it. Safe to use from several threads."""

    def __init__(self, url: str, api_key: str | None, timeout: float) -> None:
        self._key = visible(api_key or os.environ.get("OPENAI_API_KEY") or _NO_KEY)
        self.url, self._timeout = checked(url), timeout
        self._loop = asyncio.new_event_loop()
        self._clients: list[openai.AsyncOpenAI] = []
        """The one client, once it is needed: a list, which `_stop` can have without the link itself."""
        self._thread = threading.Thread(target=self._loop.run_forever, name="toolkit-server", daemon=True)
        self._thread.start()
        self.closed = False
        # Also at the interpreter's end: a loop that is torn down while it runs complains.
        self._finalize = weakref.finalize(self, _stop, self._loop, self._thread, self._clients)

    def __repr__(self) -> str:
        return f"Link({self.url!r})"

    @property
    def root(self) -> str:
        """The server's address without /v1, where vLLM has what is not OpenAI's."""
        return self.url.removesuffix("/v1")

    @property
    def _here(self) -> bool:
        host = str(urlsplit(self.url).hostname)
        return host == "localhost" or host == "::1" or host.startswith("127.")

    # Called from any thread.

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Runs a coroutine in the loop; cancelling the future cancels it. Raises EngineError once closed, and in a
        process that was forked from the one that made it, where its thread is not."""
        if self.closed or not self._thread.is_alive():
            work.close()
            raise closed()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        future = self.start(work)
        try:
            return future.result()
        except CancelledError:
            raise closed() from None
        finally:
            future.cancel()  # an interrupt ends the wait, and then the work

    def close(self) -> None:
        self.closed = True
        self._finalize()

    # Called in the loop.

    def _opened(self) -> openai.AsyncOpenAI:
        if not self._clients:
            import openai

            client = openai.AsyncOpenAI(
                http_client=openai.DefaultAsyncHttpxClient(
                    trust_env=not self._here,  # settings for proxies are not for a server on this machine
                    event_hooks={"response": [_remember]},
                ),
                api_key=self._key,
                base_url=self.url,
                max_retries=_RETRIES,
                # One deadline for all of a request (see `_within`), since a body may come slowly but steadily.
                timeout=openai.Timeout(None, connect=_CONNECT),
            )
            self._clients.append(client)
        return self._clients[0]

    async def get(self, path: str) -> Any:
        """A GET, as data; a whole URL goes where it says. Raises Refused or EngineError."""
        hasty = self._opened().with_options(max_retries=_FEW)
        return await self._within(hasty.get(path, cast_to=object))

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self._within(self._opened().post(path, cast_to=object, body=dict(body)))

    async def ask(self, body: Mapping[str, Any], chat: bool) -> tuple[Any, float, int]:
        """An answer as data, the seconds that it took the last time, and how often it was asked for again."""
        resource: Any = self._opened().chat.completions if chat else self._opened().completions
        found = await self._within(resource.with_raw_response.create(**_arguments(body, chat)))
        response = found.http_response
        try:
            said = response.json()
            said = sound(said) if "\\ud" in response.text.lower() else said
        except (ValueError, RecursionError):
            kind = response.headers.get("content-type", "no type")
            raise Refused(self.clean(f"the server's answer is no JSON ({kind}): {response.text!r}")) from None
        return said, response.elapsed.total_seconds(), found.retries_taken

    async def stream(self, body: Mapping[str, Any], chat: bool) -> AsyncIterator[dict[str, Any]]:
        """The chunks of an answer, as they come."""
        resource: Any = self._opened().chat.completions if chat else self._opened().completions
        more = {"stream": True, "stream_options": {"include_usage": True}}
        chunks = await self._within(resource.create(**_arguments({**body, **more}, chat)))
        try:
            while (chunk := await self._within(anext(chunks, None))) is not None:
                yield sound(chunk.to_dict() if hasattr(chunk, "to_dict") else chunk)
        finally:
            await chunks.close()

    async def _within(self, work: Any) -> Any:
        """The result within the time that a request, or the next piece of a stream, may take; what goes wrong as
        Refused or EngineError."""
        _last.set(None)
        try:
            async with asyncio.timeout(self._timeout):
                return await work
        except TimeoutError:
            last = _last.get()
            before = f" (its last was {last})" if last and last >= 400 else ""
            raise Refused(
                f"no answer from {self.url} within {self._timeout:g} s{before}: give toolkit.connect a longer timeout"
            ) from None
        except Exception as error:  # noqa: BLE001  # of the client, of HTTP or of JSON: none may show the key
            raise self._said(error) from None

    def _said(self, error: Exception) -> Exception:
        import openai

        if isinstance(error, openai.APIStatusError):
            return self._status(error)
        if isinstance(error, openai.APIConnectionError):
            cause = error.__cause__
            why = f"{type(cause).__name__}: {cause}" if cause else str(error)
            if type(cause).__name__ in ("ConnectError", "ConnectTimeout"):
                return EngineError(
                    f"cannot connect to {self.url} ({self.clean(why)}): is the server running there? What was "
                    "finished is kept; run again to go on"
                )
            return Refused(self.clean(f"the connection to {self.url} broke off: {why}"))
        return Refused(self.clean(f"the server's answer cannot be read: {type(error).__name__}: {error}"))

    def _status(self, error: openai.APIStatusError) -> Exception:
        body = error.body
        about = body if isinstance(body, Mapping) else {}
        said = self.clean(str(about.get("message") or about.get("detail") or body or error.response.text))
        told = f"{self.url} answers {error.status_code}: {said.rstrip('.')}"
        if error.status_code == 401:
            return EngineError(f"{told}. {KEY}")
        if error.status_code == 402 or about.get("code") == "insufficient_quota":
            return EngineError(told)
        return Refused(told, error.status_code)

    def clean(self, text: str) -> str:
        """What a server or the client said, shortened, without the key: servers echo what they were sent."""
        if self._key != _NO_KEY:
            text = text.replace(self._key, "***")
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def closed() -> EngineError:
    return EngineError("this engine is closed, or of another process: toolkit.connect() gives a new one")


async def _remember(response: Any) -> None:
    _last.set(response.status_code)


def visible(key: str) -> str:
    """A key without the space around it that files leave. Raises ValueError for what no header can carry, TypeError
    for what is no text; neither shows it."""
    if not isinstance(key, str):
        raise TypeError(f"api_key must be text, got {type(key).__name__}")
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("api_key must be of visible ASCII characters, without spaces: a header carries it")
    return key


def checked(url: str) -> str:
    """An address in its plainest form. Raises ValueError for what is none, and for one that may hold a key: HTTP
    libraries write addresses into logs."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except (AttributeError, TypeError, ValueError):
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("url must be the address of an API, such as 'http://localhost:8000/v1'")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(
            "url must have no name, password, query (?…) or fragment (#…): give a key as api_key"
        )
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def _arguments(body: Mapping[str, Any], chat: bool) -> dict[str, Any]:
    """Arguments of the client's `create`. What it has no name for goes beside them."""
    named = ("model", "messages" if chat else "prompt", "stream")
    own = {name: body[name] for name in named if name in body}
    return {**own, "extra_body": {n: v for n, v in body.items() if n not in named}}


def _stop(
    loop: asyncio.AbstractEventLoop, thread: threading.Thread, clients: list[openai.AsyncOpenAI]
) -> None:
    """Cancels all that runs in a loop, and ends it."""

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
