"""ASGI middleware that answers only to the server's own names. A web page whose name its owner points to this machine
(DNS rebinding) shares an origin with the server, so that the browser would let it read every answer."""

from __future__ import annotations

import os
import socket

from toolkit.serving.address import ANY_ADDRESS, canonical_host, is_ip_address, is_loopback
from toolkit.serving.error_response import App, Message, Receive, Send, refuse

HOSTS_VARIABLE = "TOOLKIT_SERVER_HOSTS"
"""The environment variable with the address that the server listens on, and further names, separated by commas."""


class HostMiddleware:
    """Requests need a `Host` header with a name of the server; WebSockets of web pages must come from the same one.

    Its names: the address that it listens on, localhost, addresses of loopback, and those of TOOLKIT_SERVER_HOSTS.
    Where other machines reach it, the names of this machine too; where it listens on all addresses, any IP address,
    since no name server decides whom a browser asks for an address.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        listening, *names = os.environ[HOSTS_VARIABLE].split(",")
        self._any_address = listening in ANY_ADDRESS
        own = () if is_loopback(listening) else _machine_names()
        self._names = {canonical_host(name) for name in ("localhost", listening, *names, *own)}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return await refuse(scope, send, 403, _message(hosts), "host_not_allowed")
        # Browsers let any page open a WebSocket and read what comes: CORS does not cover them.
        if scope["type"] == "websocket" and any(
            origin.partition("://")[2] != hosts[0] for origin in _values(scope, b"origin")
        ):
            return await refuse(scope, send, 403, "", "origin_not_allowed")
        await self._app(scope, receive, send)

    def _is_own(self, header: str) -> bool:
        host = canonical_host(header)
        if host is None:
            return False
        return host in self._names or is_loopback(host) or (self._any_address and is_ip_address(host))


def _message(hosts: list[str]) -> str:
    return (
        f"The Host header {', '.join(hosts)[:100]!r} is no name of this server. It answers to localhost, 127.0.0.1, "
        "[::1] and the address that it listens on. Where others reach it by another name, serve the model with "
        "allowed_hosts=['that.name']"
    )


def _values(scope: Message, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _machine_names() -> tuple[str, ...]:
    """The names of this machine: as it calls itself, with its domain, and in the local network (mDNS)."""
    name = socket.gethostname()
    return name, name.partition(".")[0], f"{name.partition('.')[0]}.local", socket.getfqdn()
