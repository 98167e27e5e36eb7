"""ASGI middleware that requires the API key for the whole server. vLLM's own check covers /v1 only, and leaves
/tokenize, /metrics and more open."""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

_OPEN_PATH = "/health"
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_BODY = b'{"error":{"message":"Unauthorized","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}'


class ApiKeyMiddleware:
    """Every path but the health check needs `Authorization: Bearer <VLLM_API_KEY>`."""

    def __init__(self, app: Callable[[_Message, _Receive, _Send], Awaitable[None]]) -> None:
        self._app = app
        self._expected = f"Bearer {os.environ['VLLM_API_KEY']}".encode()

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] == _OPEN_PATH or self._is_authorized(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": _BODY})

    def _is_authorized(self, scope: _Message) -> bool:
        values = (value for name, value in scope["headers"] if name == b"authorization")
        # In constant time: the time of a refusal must not reveal how much of a guess was right.
        return any(hmac.compare_digest(value, self._expected) for value in values)
