"""A batch on a server: several of its requests are open at once, and each completion is given when it has come."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

from toolkit.core.completion import Completion
from toolkit.core.request import Request
from toolkit.engines.openai_api.client import ApiClient, closed_error
from toolkit.errors import EngineError


class Batch:
    """complete: sends the request of a position, and returns its completion. most_open: requests at once."""

    def __init__(
        self,
        client: ApiClient,
        complete: Callable[[int, Request], Awaitable[Completion]],
        requests: Iterable[Request],
        most_open: int,
    ) -> None:
        self._client, self._complete, self._most_open = client, complete, most_open
        self._source = enumerate(requests)
        self._has_more = True
        self._open: set[Future[Completion]] = set()
        self._done: queue.SimpleQueue[Future[Completion]] = queue.SimpleQueue()
        self._tasks: set[asyncio.Task[Any] | None] = set()
        self._is_ended = False
        self._received: dict[int, Completion] = {}
        """Completions that have not been given yet, by position."""

    def completions(self) -> Iterator[Completion]:
        """The completions, in the order in which they come. After an error or an interrupt, nothing more is sent: it
        gives what has been received, then raises."""
        failure: BaseException | None = None
        try:
            while True:
                if failure is None:
                    try:
                        self._send()
                    except Exception as error:  # noqa: BLE001  # the caller's own, too: what is open ends first
                        failure = error
                if not self._open:
                    break
                future = self._done.get()
                self._open.remove(future)
                completion = future.result()
                # No call from here to the yield: Python would look for an interrupt there, after which the completion
                # would be in neither place.
                del self._received[completion.position or 0]
                yield completion
        except (EngineError, CancelledError, KeyboardInterrupt) as error:
            with contextlib.suppress(EngineError):
                self._client.wait(self._end())
            yield from [self._received.pop(position) for position in sorted(self._received)]
            raise failure or (closed_error() if isinstance(error, CancelledError) else error) from None
        finally:
            self._cancel()
        if failure is not None:
            raise failure

    def _send(self) -> None:
        """Sends requests as long as there are slots, and no completion waits: making a request may take its time."""
        while self._has_more and len(self._open) < self._most_open and self._done.empty():
            item = next(self._source, None)
            self._has_more = item is not None
            if item is not None:
                future = self._client.start(self._receive(*item))
                self._open.add(future)
                future.add_done_callback(self._done.put)

    async def _receive(self, position: int, request: Request) -> Completion:
        if self._is_ended:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            self._received[position] = completion = await self._complete(position, request)
        finally:
            self._tasks.discard(task)
        return completion

    async def _end(self) -> None:
        """Cancels what is open. In the loop, which is then in the middle of none of it; and by task, since an
        interrupt may have left a request that was just sent without a future."""
        self._is_ended = True
        for task in filter(None, self._tasks):
            task.cancel()

    def _cancel(self) -> None:
        for future in list(self._open):
            future.cancel()
