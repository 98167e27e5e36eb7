"""Hosts and ports of servers."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

from toolkit._internal.text import short_repr
from toolkit.errors import EngineError
from toolkit.serving.registry import ServerRecord

ANY_ADDRESS = ("", "0.0.0.0", "::")
"""Hosts that stand for all addresses of this machine."""
_HOST_HEADER = re.compile(
    r"(\[[0-9a-f:.]+(?:%[0-9a-z_.-]+)?\]|[^][\s:,/?#@\\]+?)\.?(:[0-9]{1,5})?", re.IGNORECASE | re.ASCII
)


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def canonical_host(header: str) -> str | None:
    """The host of a `Host` header, without port, in one spelling: small letters, the shortest form of an IPv6
    address. Also that of a bare host. None for anything else."""
    match = _HOST_HEADER.fullmatch(f"[{header}]" if header.count(":") > 1 and header[0] != "[" else header)
    if match is None:
        return None
    host, in_brackets = match[1].lower(), match[1].startswith("[")
    if in_brackets:
        host = host[1:-1].partition("%")[
            0
        ]  # without the network interface, which an address of a link may have
    if not is_ip_address(host):
        return None if in_brackets else host
    address = ipaddress.ip_address(host)
    return str(getattr(address, "ipv4_mapped", None) or address)


def checked_hosts(hosts: Sequence[str]) -> tuple[str, ...]:
    """Names by which others reach a server, each once. Raises TypeError for a single string, ValueError for anything
    but a host name or an address."""
    if isinstance(hosts, str):
        raise TypeError(
            f"allowed_hosts must be a list of names, got {short_repr(hosts)}: write [{short_repr(hosts)}]"
        )
    for host in hosts:
        if not isinstance(host, str) or canonical_host(host) is None or "*" in host:
            raise ValueError(
                "allowed_hosts must be host names, such as 'models.example.org', without scheme, path and wildcards, "
                f"got {short_repr(host)}"
            )
    return tuple(dict.fromkeys(str(canonical_host(host)) for host in hosts))


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket bound to the port, or to a free one for 0, that does not listen: while it is open no other program
    gets the port, but one that shares it, as vLLM's server does (SO_REUSEADDR). Raises EngineError for a port in
    use, ValueError for a bad address."""
    if not isinstance(port, int) or not 0 <= port < 1 << 16:
        raise ValueError(f"port must be 1 to 65535, or None for a free one, got {short_repr(port)}")
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        if isinstance(error, socket.gaierror):
            raise ValueError(f"host {short_repr(host)} is not a valid address: {error.strerror}") from None
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
