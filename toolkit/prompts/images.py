"""Image: an image as a content part of a message. Local ones are sent inside the request, as data: URLs."""

from __future__ import annotations

import base64
import binascii
import io
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_SIGNATURES = {b"\x89PNG\r\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
"""What the supported formats begin with (RIFF also holds audio; `_format` checks further)."""
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)


def image(source: Any) -> dict[str, Any]:
    """A content part {"type": "image_url", …} from a file, a file:, data: or https: URL, bytes, or a PIL image.

    A file is read now and its bytes become part of the request, so that a stored request can be sent again
    anywhere. An https: URL stays as it is: the engine fetches it when it runs the request.

    Raises ValueError for anything but a PNG, JPEG, GIF or WebP image.
    """
    return {"type": "image_url", "image_url": {"url": _url(source)}}


def _url(source: Any) -> str:
    if hasattr(source, "save") and hasattr(
        source, "convert"
    ):  # a PIL image, recognised without importing PIL
        stream = io.BytesIO()
        picture = source if source.mode in ("1", "L", "LA", "P", "RGB", "RGBA") else source.convert("RGB")
        picture.save(stream, format="PNG")
        source = stream.getvalue()
    if isinstance(source, bytes):
        return _data_url(source, "these bytes")
    if isinstance(source, str) and source.lower().startswith(("https://", "http://")):
        return source
    if isinstance(source, str) and source.startswith("data:"):
        return _data_url(decode_data_url(source), source[:40])
    if isinstance(source, str) and source.startswith("file:"):
        source = unquote(urlsplit(source).path)
    if isinstance(source, (str, Path)):
        return _data_url(_read(Path(source)), str(source))
    raise ValueError(f"an image is a path, a URL, bytes or a PIL image, got {source!r}")


def _read(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the image {str(path)[:80]!r} cannot be read ({type(error).__name__}): "
            "give a file that exists, or an https: or data: URL"
        ) from None


def decode_data_url(url: str) -> bytes:
    """The bytes of a data: URL."""
    prefix = _DATA_URL.match(url)
    if prefix is None:
        raise ValueError(
            f"an image's data: URL begins with data:image/png;base64, (or jpeg, …), got {url[:40]!r}"
        )
    try:
        return base64.b64decode(url[prefix.end() :], validate=True)
    except binascii.Error as error:
        raise ValueError(f"the image {url[:40]!r} is not valid base64: {error}") from None


def _data_url(raw: bytes, source: str) -> str:
    return f"data:image/{_format(raw, source)};base64,{base64.b64encode(raw).decode()}"


def _format(raw: bytes, source: str) -> str:
    for signature, name in _SIGNATURES.items():
        if raw.startswith(signature) and (name != "webp" or raw[8:12] == b"WEBP"):
            return name
    raise ValueError(f"{source!r} is not a PNG, JPEG, GIF or WebP image")
