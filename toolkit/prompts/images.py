"""Image: an image as a content part of a message. Local ones are sent inside the request, as data: URLs."""

from __future__ import annotations

import base64
import io
import os
import re
import stat
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from toolkit._internal.text import short_repr

MAX_IMAGE_BYTES = 50_000_000
"""As much as OpenAI's API takes in a request."""
_SIGNATURES = {b"\x89PNG\r\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
"""What the supported formats begin with (RIFF also holds audio; `_format` checks further)."""
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_ENDLESS = (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)
_SCHEME = re.compile(r"\A([a-z][a-z0-9+.-]*):", re.IGNORECASE)


def image(source: Any) -> dict[str, Any]:
    """A content part {"type": "image_url", …} from a file, a file:, data: or https: URL, bytes, or a PIL image.

    A file is read now and its bytes become part of the request, so that a stored request can be sent again
    anywhere. An https: URL stays as it is: the engine fetches it when it runs the request. Messages name images by
    data: and https: URLs only (see `image_part`): this function is the way to read a file.

    Raises ValueError for anything but a PNG, JPEG, GIF or WebP image of at most 50 MB in a regular file.
    """
    return _part(_url(source))


def image_part(url: str) -> dict[str, Any]:
    """The content part of an image in a message, from its URL. It never reads a file: messages may come from a file
    themselves, whose author must not choose which files of this machine are sent.

    Raises ValueError for anything but an http:, https: or data: URL.
    """
    if _scheme(url) not in ("http", "https", "data"):
        raise ValueError(
            f"the image {url[:80]!r} in a message is neither an https: nor a data: URL: toolkit.image(path) makes "
            "the part of a message from a file, and Prompt.load(…, allow_files=True) reads those that its file names"
        )
    return _part(_url(url))


def _part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def _url(source: Any) -> str:
    # A PIL image, recognised without importing PIL.
    if hasattr(source, "save") and hasattr(source, "convert"):
        stream = io.BytesIO()
        picture = source if source.mode in ("1", "L", "LA", "P", "RGB", "RGBA") else source.convert("RGB")
        picture.save(stream, format="PNG")
        source = stream.getvalue()
    if isinstance(source, bytes):
        return _data_url(source, "these bytes")
    scheme = _scheme(source) if isinstance(source, str) else None
    if scheme in ("http", "https"):
        return str(source)
    if scheme == "data":
        return _data_url(decode_data_url(source), source[:40])
    if scheme == "file":
        source = _file_path(source)
    elif scheme and "://" in source:
        raise ValueError(
            f"the image {source[:80]!r} has the scheme {scheme}: give an https: or data: URL, or a file"
        )
    if isinstance(source, (str, Path)):
        return _data_url(_read(Path(source)), _short_path(source))
    raise ValueError(f"an image is a path, a URL, bytes or a PIL image, got {short_repr(source)}")


def _scheme(source: str) -> str | None:
    match = _SCHEME.match(source)
    return match[1].lower() if match else None


def _file_path(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise ValueError(
            f"the image {url[:80]!r} is on the host {short_repr(parts.netloc)}: write file:///path"
        )
    return unquote(parts.path)


def _read(path: Path) -> bytes:
    name = _short_path(path)
    try:
        file = path.expanduser()
        status = file.stat()
        is_endless = stat.S_IFMT(status.st_mode) in _ENDLESS
        raw = b"" if is_endless or status.st_size > MAX_IMAGE_BYTES else _read_at_once(file)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: the home of an unknown user
        raise ValueError(
            f"the image {short_repr(name)} cannot be read ({type(error).__name__}): "
            "give a file that exists, or an https: or data: URL"
        ) from None
    if is_endless:
        raise ValueError(
            f"the image {short_repr(name)} is a device, a pipe or a socket, whose end may never come: give a file"
        )
    _check_size(status.st_size, name)
    return raw


def _short_path(path: str | Path) -> str:
    """A path in an error: of a long one its begin and its end, which tells the most."""
    text = str(path)
    return text if len(text) <= 200 else f"{text[:40]}…{text[-120:]}"


def _read_at_once(file: Path) -> bytes:
    """Bytes of a file, one more than allowed if it is longer; also of one that has become a pipe meanwhile."""
    with open(file, "rb", opener=_open_at_once) as stream:
        return stream.read(MAX_IMAGE_BYTES + 1) or b""


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _check_size(size: int, source: str) -> None:
    if size > MAX_IMAGE_BYTES:
        raise ValueError(
            f"the image {short_repr(source)} has {size:,} bytes, and at most {MAX_IMAGE_BYTES:,} are allowed: scale "
            "it down"
        )


def decode_data_url(url: str) -> bytes:
    """The bytes of a data: URL."""
    prefix = _DATA_URL.match(url)
    if prefix is None:
        raise ValueError(
            f"an image's data: URL begins with data:image/png;base64, (or jpeg, …), got {url[:40]!r}"
        )
    _check_size((len(url) - prefix.end()) // 4 * 3 - 2, url[:40])
    try:
        return base64.b64decode(url[prefix.end() :], validate=True)
    except ValueError as error:
        raise ValueError(f"the image {url[:40]!r} is not valid base64: {error}") from None


def _data_url(raw: bytes, source: str) -> str:
    _check_size(len(raw), source)
    return f"data:image/{_format(raw, source)};base64,{base64.b64encode(raw).decode()}"


def _format(raw: bytes, source: str) -> str:
    for signature, name in _SIGNATURES.items():
        if raw.startswith(signature) and (name != "webp" or raw[8:12] == b"WEBP"):
            return name
    raise ValueError(f"{short_repr(source)} is not a PNG, JPEG, GIF or WebP image")
