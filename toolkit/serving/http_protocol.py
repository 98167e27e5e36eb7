"""uvicorn's HTTP protocol with a limit on the head of a request, in bytes and in time: by itself uvicorn waits for
ever for the first request of a connection, and for the rest of one that has begun."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from toolkit.serving.error_response import error_body

MAX_HEAD_BYTES = 64 << 10
_HEAD_SECONDS = 10.0

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as _Protocol
else:
    _Protocol = AutoHTTPProtocol


class LimitedHttpProtocol(_Protocol):
    """Closes connections whose next request line and headers are too long, or do not come within ten seconds of its
    beginning. (Between requests uvicorn has its own limit, `timeout_keep_alive`.)"""

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        is_answered = self.cycle is None or self.cycle.response_complete
        if not is_answered or self.transport.get_protocol() is not self:  # a WebSocket has another protocol
            self._stop_timer()
            self._head_bytes = 0
            return
        self._start_timer()
        if self.cycle is None or not self.cycle.more_body:  # else the rest of a body that nobody has read
            self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._close(
                431,
                f"The URL and the headers have more than {MAX_HEAD_BYTES:,} bytes: send what is long in the body",
                "headers_too_large",
            )

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(_HEAD_SECONDS, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        if not self._head_bytes:
            return self.transport.close()  # an unused connection
        self._close(
            408,
            f"The request line and the headers did not arrive within {_HEAD_SECONDS:g} s: send them at once",
            "request_timeout",
        )

    def _close(self, status: int, message: str, code: str) -> None:
        if self.transport.is_closing():
            return
        body = error_body(message, code)
        lines = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
            "\r\n",
        )
        self.transport.write("\r\n".join(lines).encode() + body)
        self.transport.close()
