"""Spans: words, sentences, matches and JSON values of a text, and the tokens that they lie on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import regex

from toolkit.choice import Choice
from toolkit.schema import pointer

_KINDS = {
    # Python's own \w knows no combining marks, and would take words of Hindi or Tamil apart.
    "word": regex.compile(r"\w+(?:['’\-]\w+)*"),
    "sentence": regex.compile(r"(?m)\S.*?(?:[.!?…]+[\"'”’»)]*(?=\s|$)|[。！？]+[」』”’）]*|$)"),
}
_LONE = re.compile("[\udc80-\udcff]")
"""Bytes that are no UTF-8, as `surrogateescape` decodes them: one character each."""
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Span:
    """A piece of a text and the tokens that overlap it."""

    name: str
    """The path of a JSON value ("" for the whole document), the name of the group that matched, or the kind."""
    text: str
    first: int
    """Its first token."""
    last: int
    """The end of its tokens (the first one after)."""


def spans(choice: Choice, by: str | re.Pattern[str]) -> list[Span]:
    """The spans of a choice: "word", "sentence", "json", or the matches of a compiled regular expression.

    Raises ValueError for another name, or for text that is not JSON.
    """
    parts = list(map(choice.token_bytes, choice.token_ids.tolist()))
    raw = b"".join(parts)
    # Tokens may say more than the text: the end-of-text token, what came after a stop string.
    exact = choice.text if raw.startswith(choice.text.encode()) else raw.decode("utf-8", "surrogateescape")
    text = _LONE.sub("\ufffd", exact)
    ends = np.cumsum([0, *map(len, parts)])
    places = np.cumsum([0, *(len(c.encode("utf-8", "surrogateescape")) for c in exact)])  # in bytes
    found = []
    for name, begin, end in _places(text, by):
        first = int(np.searchsorted(ends, places[begin], side="right")) - 1
        last = int(np.searchsorted(ends, places[end], side="left"))
        found.append(Span(name, text[begin:end], first, last))
    return found


def _places(text: str, by: str | re.Pattern[str]) -> Iterator[tuple[str, int, int]]:
    """(name, begin, end) of each span, in characters."""
    if isinstance(by, re.Pattern):
        matches = (m for m in by.finditer(text) if m.end() > m.start())
        yield from ((m.lastgroup or by.pattern, *m.span()) for m in matches)
    elif isinstance(by, str) and by in _KINDS:
        yield from ((by, m.start(), m.start() + len(m[0].rstrip())) for m in _KINDS[by].finditer(text))
    elif by == "json":
        try:
            json.loads(text)
            found = list(_values(text, _skip(text, 0), ()))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"spans by json need a text that is JSON: {error}") from error
        yield from sorted(found, key=lambda place: place[1])
    else:
        raise ValueError(
            f'spans are "word", "sentence", "json" or a compiled regular expression (re.compile), got {by!r}'
        )


def _values(text: str, at: int, path: tuple[Any, ...]) -> Iterator[tuple[str, int, int]]:
    """Every value of the document that begins at a place of valid JSON, the innermost first."""
    if text[at] not in "{[":
        yield pointer(path), at, _DECODER.raw_decode(text, at)[1]
        return
    end, close, number = _skip(text, at + 1), {"{": "}", "[": "]"}[text[at]], 0
    while text[end] != close:
        key: Any = number
        if close == "}":
            key, end = _DECODER.raw_decode(text, end)
            end = _skip(text, _skip(text, end) + 1)
        for place in _values(text, end, (*path, key)):
            yield place
            end = place[2]
        end, number = _skip(text, end), number + 1
        if text[end] == ",":
            end = _skip(text, end + 1)
    yield pointer(path), at, end + 1


def _skip(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]
