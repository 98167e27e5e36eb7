"""Hosts and ports of servers."""

from __future__ import annotations

import ipaddress
import socket

from toolkit.errors import EngineError
from toolkit.serving.registry import ServerRecord


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket bound to the port, or to a free one for 0, that does not listen: while it is open no other program
    gets the port, but one that shares it, as vLLM's server does (SO_REUSEADDR). Raises EngineError for a port in
    use, ValueError for a bad address."""
    if not isinstance(port, int) or not 0 <= port < 1 << 16:
        raise ValueError(f"port must be 1 to 65535, or None for a free one, got {port!r}")
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        if isinstance(error, socket.gaierror):
            raise ValueError(f"host {host!r} is not a valid address: {error.strerror}") from None
        raise EngineError(
            f"{host} port {port} is not available ({error.strerror}): give another port, or leave it out for a free "
            "one"
        ) from None
    return bound


def reachable_address(record: ServerRecord) -> tuple[str, int]:
    """Host and port by which this machine reaches a server: loopback for one that is bound to all addresses."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(record.host, record.host), record.port


def url_host(record: ServerRecord) -> str:
    host, port = reachable_address(record)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
