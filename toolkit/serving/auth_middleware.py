"""Guard: closes the whole of a server to whoever does not have its key. vLLM's own key guards /v1 alone, and leaves
/tokenize, /metrics and more open."""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

_OPEN = "/health"
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_BODY = b'{"error":{"message":"Unauthorized","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}'


class Guard:
    """ASGI middleware: all but the health check needs `Authorization: Bearer <VLLM_API_KEY>`."""

    def __init__(self, app: Callable[[_Message, _Receive, _Send], Awaitable[None]]) -> None:
        self._app = app
        self._wanted = f"Bearer {os.environ['VLLM_API_KEY']}".encode()

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] == _OPEN or self._known(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": _BODY})

    def _known(self, scope: _Message) -> bool:
        given = (value for name, value in scope["headers"] if name == b"authorization")
        # In constant time: how long a refusal takes must not tell how much of a guess was right.
        return any(hmac.compare_digest(value, self._wanted) for value in given)
