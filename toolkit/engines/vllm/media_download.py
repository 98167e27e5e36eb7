"""Downloads of the images that requests name by URL. A URL may come from anywhere: it must not make this machine ask
what only this machine reaches."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection

import aiohttp
from yarl import URL

_SECONDS = 30.0
"""For everything: name look-up, redirects, and the last byte."""
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 16
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


async def download(url: str, allowed_hosts: Collection[str], max_bytes: int) -> bytes:
    """What a URL holds, asked for once, within 30 s.

    Connects to public addresses only. allowed_hosts: vLLM's `allowed_media_domains`; where there are any, only they
    are asked, and they may have private addresses. The environment's proxies are not used: a proxy reaches what it
    likes. Raises ValueError, which names the URL and the reason.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            return await _follow(URL(url), {host.lower() for host in allowed_hosts}, max_bytes)
    except TimeoutError:
        reason = f"it took more than {_SECONDS:g} s"
    except (aiohttp.ClientError, OSError, ValueError, TypeError) as error:
        reason = str(error) or type(error).__name__
    raise ValueError(
        f"the image {_without_password(url)} cannot be fetched: {reason}. Give another URL, or the image itself: its "
        "file or bytes (toolkit.image), or a data: URL"
    )


async def _follow(url: URL, allowed_hosts: Collection[str], max_bytes: int) -> bytes:
    for _ in range(_MAX_REDIRECTS + 1):
        _check_url(url, allowed_hosts)
        # One address after the other, so that what refuses the first one is what is reported.
        connector = aiohttp.TCPConnector(
            socket_factory=_any_socket if url.host in allowed_hosts else _public_socket,
            happy_eyeballs_delay=None,
            resolver=aiohttp.ThreadedResolver(),  # the machine's own, whatever else is installed
        )
        session = aiohttp.ClientSession(
            connector=connector,
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )
        async with session, session.get(url, allow_redirects=False) as response:
            if response.status not in _REDIRECTS:
                response.raise_for_status()
                return await _body(response, max_bytes)
            url = url.join(URL(response.headers.get("Location", "")))
    raise ValueError(f"it is redirected more than {_MAX_REDIRECTS} times")


def _check_url(url: URL, allowed_hosts: Collection[str]) -> None:
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{url.scheme or 'it'}: is not https: or http: with a host")
    if url.user is not None or url.password is not None:
        raise ValueError(
            f"a user name or a password for {url.host} stands in the URL, which is stored and logged"
        )
    if allowed_hosts and url.host not in allowed_hosts:
        raise ValueError(
            f"the host {url.host} is not among allowed_media_domains, {', '.join(sorted(allowed_hosts))}"
        )


async def _body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    chunks, size = [], 0
    announced = response.content_length or 0
    if announced <= max_bytes:
        async for chunk in response.content.iter_chunked(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                break
    if max(announced, size) > max_bytes:
        raise ValueError(
            f"it has {max(announced, size):,} bytes or more, and at most {max_bytes:,} are allowed"
        )
    return b"".join(chunks)


def _any_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    return socket.socket(family, kind, protocol)


def _public_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket for the very address that is then connected to: no later answer of a name server can replace it."""
    host = str(address[4][0])
    if not is_public(host):
        raise ValueError(
            f"{host} is no public address. To allow it, load or serve the model with allowed_media_domains=[…], "
            "the hosts that images may come from"
        )
    return _any_socket(address)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet: not of this machine, a private network or a link, nor
    reserved. An IPv6 address that stands for an IPv4 one is as public as that."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded is None:
            return ip.is_global and ip in _GLOBAL_UNICAST
        ip = embedded
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _without_password(url: str) -> str:
    try:
        return str(URL(url).with_user(None))[:200]
    except ValueError:  # not a URL, or one without a host
        return url.rpartition("@")[2][:200]
