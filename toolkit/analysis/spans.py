"""Spans: words, sentences, matches and JSON values of a text, and the tokens that they overlap."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import regex

from toolkit._internal.text import short_repr
from toolkit.core.choice import Choice
from toolkit.structured.json_schema import pointer

_PATTERNS = {
    # \w of Python's re does not match combining marks, and would split words of Hindi or Tamil.
    "word": regex.compile(r"\w+(?:['’\-]\w+)*"),
    # Marks that end no sentence, as in "3.14", are passed at once: the time is linear in the text.
    "sentence": regex.compile(
        r"(?m)\S(?:[^\n.!?…。！？]++|[.!?…]++[\"'”’»)]*+(?!\s|$))*+(?:[.!?…]++[\"'”’»)]*+|[。！？]++[」』”’）]*+)?"
    ),
}
_INVALID_BYTE = re.compile("[\udc80-\udcff]")
"""A byte that is not valid UTF-8, as `surrogateescape` decodes it: one character each."""
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Span:
    """A piece of a text and the tokens that overlap it."""

    name: str
    """The path of a JSON value ("" for the whole document), the name of the group that matched, or the kind."""
    text: str
    first: int
    """Index of its first token."""
    last: int
    """Index after its last token."""


def spans(choice: Choice, by: str | re.Pattern[str]) -> list[Span]:
    """The spans of a choice: "word", "sentence", "json", or the matches of a compiled regular expression.

    Raises ValueError for another name, or for text that is not JSON.
    """
    parts = list(map(choice.token_bytes, choice.token_ids.tolist()))
    raw = b"".join(parts)
    # Tokens may contain more than the text: the end-of-text token, what came after a stop string.
    decoded = choice.text if raw.startswith(choice.text.encode()) else raw.decode("utf-8", "surrogateescape")
    text = _INVALID_BYTE.sub("\ufffd", decoded)
    # The byte at which each token and each character begins, and the end.
    token_starts = np.cumsum([0, *map(len, parts)])
    byte_offsets = np.cumsum([0, *(len(c.encode("utf-8", "surrogateescape")) for c in decoded)])
    result = []
    for name, begin, end in _character_spans(text, by):
        first = int(np.searchsorted(token_starts, byte_offsets[begin], side="right")) - 1
        last = int(np.searchsorted(token_starts, byte_offsets[end], side="left"))
        result.append(Span(name, text[begin:end], first, last))
    return result


def _character_spans(text: str, by: str | re.Pattern[str]) -> Iterator[tuple[str, int, int]]:
    """(name, begin, end) of each span, in characters."""
    if isinstance(by, re.Pattern):
        matches = (m for m in by.finditer(text) if m.end() > m.start())
        yield from ((m.lastgroup or by.pattern, *m.span()) for m in matches)
    elif isinstance(by, str) and by in _PATTERNS:
        yield from ((by, m.start(), m.start() + len(m[0].rstrip())) for m in _PATTERNS[by].finditer(text))
    elif isinstance(by, str) and by == "json":
        try:
            json.loads(text)
            values = list(_json_values(text, _skip_space(text, 0), ()))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"spans by json need a text that is JSON: {error}") from error
        yield from sorted(values, key=lambda span: span[1])
    else:
        raise ValueError(
            f'spans are "word", "sentence", "json" or a compiled regular expression (re.compile), got '
            f"{short_repr(by)}"
        )


def _json_values(text: str, start: int, path: tuple[Any, ...]) -> Iterator[tuple[str, int, int]]:
    """(JSON pointer, begin, end) of the value that begins at `start` and of all values in it, innermost first. The
    text must be valid JSON."""
    if text[start] not in "{[":
        yield pointer(path), start, _DECODER.raw_decode(text, start)[1]
        return
    end, close, index = _skip_space(text, start + 1), {"{": "}", "[": "]"}[text[start]], 0
    while text[end] != close:
        key: Any = index
        if close == "}":
            key, end = _DECODER.raw_decode(text, end)
            end = _skip_space(text, _skip_space(text, end) + 1)
        for span in _json_values(text, end, (*path, key)):
            yield span
            end = span[2]
        end, index = _skip_space(text, end), index + 1
        if text[end] == ",":
            end = _skip_space(text, end + 1)
    yield pointer(path), start, end + 1


def _skip_space(text: str, start: int) -> int:
    return _SPACE.match(text, start).end()  # type: ignore[union-attr]
