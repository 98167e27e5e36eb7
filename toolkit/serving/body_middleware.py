"""ASGI middleware that limits the body of a request, in bytes and in time. vLLM reads one of any size."""

from __future__ import annotations

import asyncio

from toolkit.serving.error_response import App, Message, Receive, Send, refuse

MAX_BODY_BYTES = 64 << 20
"""Room for an image of 50 MB in base64."""
_BODY_SECONDS = 120.0
_CLOSE = [(b"connection", b"close")]
"""What is left of a body that is refused is not read."""


class BodyLimitMiddleware:
    """Reads the whole body before the server sees the request."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                first = await _whole_body(scope, receive)
        except _TooLarge as error:
            return await refuse(scope, send, 413, str(error), "request_too_large", _CLOSE)
        except TimeoutError:
            message = f"The body did not arrive within {_BODY_SECONDS:g} s: send it faster, or a smaller one"
            return await refuse(scope, send, 408, message, "request_timeout", _CLOSE)
        messages = [first]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self._app(scope, replay, send)


class _TooLarge(Exception):
    def __init__(self, size: int) -> None:
        super().__init__(
            f"The body has {size:,} bytes or more, and at most {MAX_BODY_BYTES:,} are allowed: send smaller or fewer "
            "images, or several requests"
        )


async def _whole_body(scope: Message, receive: Receive) -> Message:
    """The body as one message; another message if the client has gone. Raises _TooLarge."""
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if int(announced) > MAX_BODY_BYTES:
        raise _TooLarge(int(announced))
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return message
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise _TooLarge(len(body))
        if not message.get("more_body", False):
            return {"type": "http.request", "body": bytes(body), "more_body": False}
