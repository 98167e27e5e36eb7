"""Spans: words, sentences, matches and JSON values of a text, and the tokens that they lie on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.choice import Choice
from toolkit.schema import pointer

_KINDS = {
    "word": re.compile(r"\w+(?:['’\-]\w+)*"),
    "sentence": re.compile(r"\S.*?(?:[.!?…]+(?=[\s\"'”’)]|$)[\"'”’)]*|$)", re.DOTALL | re.MULTILINE),
}
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
    raw = b"".join(map(choice.token_bytes, choice.token_ids.tolist()))
    # Tokens may say more than the text: the end-of-text token, what came after a stop string.
    text = choice.text if raw.startswith(choice.text.encode()) else raw.decode("utf-8", "replace")
    ends = np.cumsum([0, *(len(choice.token_bytes(i)) for i in choice.token_ids.tolist())])
    places = np.cumsum([0, *(len(c.encode()) for c in text)])  # of characters, in bytes
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
    elif by in _KINDS:
        yield from ((by, *m.span()) for m in _KINDS[by].finditer(text))
    elif by == "json":
        try:
            json.loads(text)
            found = list(_values(text, _skip(text, 0), ()))
        except ValueError as error:
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
