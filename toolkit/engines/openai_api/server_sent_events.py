"""Server-sent events: the lines of a streamed response."""

from __future__ import annotations

import codecs
import re
from collections.abc import AsyncGenerator, AsyncIterator

_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
"""The line ends of the standard, not Unicode's, which JSON may contain; \\r at the very end may be half of one."""


async def event_data(parts: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
    """The data of each event of a body that comes in parts, of the last one even if the body ends early. Comments,
    events without data and other fields are left out. An error of llama.cpp, a field of its own, is given as
    {"error": …}."""
    data: list[str] = []
    async for line in _lines(parts):
        field, _, value = line.partition(":")
        if field == "data":
            data.append(value.removeprefix(" "))
        elif field == "error":
            yield f'{{"error": {value}}}'
        elif not line and data:
            if (text := "\n".join(data)).strip():
                yield text
            data = []
    if (text := "\n".join(data)).strip():
        yield text


async def _lines(parts: AsyncIterator[bytes]) -> AsyncIterator[str]:
    pending: list[bytes] = []
    is_first = True
    async for part in parts:
        pending.append(part)
        if b"\n" not in part and b"\r" not in part:
            continue
        *lines, rest = _LINE_END.split(b"".join(pending))
        pending = [rest]
        for line in lines:
            yield _decoded(line, is_first)
            is_first = False
    for line in b"".join(pending).splitlines():
        yield _decoded(line, is_first)
        is_first = False


def _decoded(line: bytes, is_first: bool) -> str:
    return (line.removeprefix(codecs.BOM_UTF8) if is_first else line).decode("utf-8", "replace")
