"""ASGI middleware that requires the API key for the whole server. vLLM's own check covers /v1 only, and leaves
/tokenize, /metrics and more open."""

from __future__ import annotations

import hmac
import os

from toolkit.serving.error_response import App, Message, Receive, Send, refuse

_OPEN_PATH = "/health"


class ApiKeyMiddleware:
    """Every path but the health check needs `Authorization: Bearer <VLLM_API_KEY>`."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._expected = f"Bearer {os.environ['VLLM_API_KEY']}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] == _OPEN_PATH or self._is_authorized(scope):
            return await self._app(scope, receive, send)
        headers = [(b"www-authenticate", b"Bearer")]
        await refuse(scope, send, 401, "Unauthorized", "invalid_api_key", headers)

    def _is_authorized(self, scope: Message) -> bool:
        values = (value for name, value in scope["headers"] if name == b"authorization")
        # In constant time: the time of a refusal must not reveal how much of a guess was right.
        return any(hmac.compare_digest(value, self._expected) for value in values)
