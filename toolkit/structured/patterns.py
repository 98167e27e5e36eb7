"""Regular expressions of schemas, as ECMA-262 reads them (JSON Schema's dialect), with a time limit."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import regex

from toolkit._internal.text import short_repr
from toolkit.structured.time_limit import OutOfTime, remaining_seconds

# Characters of the classes that ECMA-262 defines otherwise than Python, and of their complements. Each ends with a
# range, so that a hyphen after it stays a hyphen.
_CLASSES = {
    "d": "0-9",
    "D": r"\x00-\x2f\x3a-\U0010ffff",
    "w": "_A-Za-z0-9",
    "W": r"\x00-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\U0010ffff",
    "s": r"\x20\xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff\t-\r\u2000-\u200a",
    "S": r"\x00-\x08\x0e-\x1f\x21-\x9f\xa1-\u167f\u1681-\u1fff\u200b-\u2027\u202a-\u202e\u2030-\u205e\u2060-\u2fff"
    r"\u3001-\ufefe\uff00-\U0010ffff",
}
_PLAIN_LETTERS = "aAehgGilLmMoqyzCEFHIJKNOQRTUVXYZj"
"""Letters that are no escape in ECMA-262: after a backslash they stand for themselves, in grammars as well."""
_WORD = f"[{_CLASSES['w']}]"
_OUTSIDE_CLASSES = {
    **{rf"\{letter}": letter for letter in _PLAIN_LETTERS},
    **{rf"\{letter}": f"[{characters}]" for letter, characters in _CLASSES.items()},
    r"\b": rf"(?:(?<={_WORD})(?!{_WORD})|(?<!{_WORD})(?={_WORD}))",
    r"\B": rf"(?:(?<={_WORD})(?={_WORD})|(?<!{_WORD})(?!{_WORD}))",
}
_INSIDE_CLASSES = {rf"\{letter}": characters for letter, characters in _CLASSES.items()}
_PYTHON_ANCHORS = (r"\A", r"\Z", r"\z")
_TOKEN = regex.compile(r"\\.|\[\^?+|[\].$-]|[^\\\[\].$-]++", regex.DOTALL)


def matches(pattern: str, text: str, *, full: bool = False, partial: bool = False) -> bool:
    """Whether a pattern matches: anywhere in the text, `full` all of it, `partial` all of a text that it begins with.

    Raises OutOfTime when the time limit of the text is used up, ValueError for what is no regular expression.
    """
    expression = compiled(pattern)
    match = expression.fullmatch if full or partial else expression.search
    try:
        return bool(match(text, timeout=remaining_seconds(), partial=partial))
    except TimeoutError:
        raise OutOfTime from None


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """A pattern of ECMA-262 as a compiled one: `$` is the end of the text alone, `\\d`, `\\w` and `\\b` know ASCII
    only, `.` stops at every line terminator. Raises ValueError for what is no regular expression."""
    try:
        flags = regex.compile(pattern).flags
        return regex.compile(_translated(pattern, flags))
    except regex.error as error:
        raise ValueError(str(error)) from None


def check_anchors(pattern: str) -> None:
    """Raises ValueError for the anchors of Python's patterns, which stand for the letters A and Z in ECMA-262."""
    for token in _TOKEN.findall(pattern):
        if token in _PYTHON_ANCHORS:
            raise ValueError(
                f"the pattern {short_repr(pattern)} has {token}, which stands for the letter {token[1]} in ECMA-262, "
                "the dialect of schemas and grammars: write ^ for the begin of the text and $ for its end"
            )


def _translated(pattern: str, flags: int) -> str:
    """Flags inside a pattern, which ECMA-262 does not have, keep their meaning."""
    signs = dict(_OUTSIDE_CLASSES)
    if not flags & regex.MULTILINE:
        signs["$"] = r"\Z"
    if not flags & regex.DOTALL:
        signs["."] = r"[^\n\r\u2028\u2029]"
    parts, in_class = list[str](), False
    tokens = _TOKEN.findall(pattern)
    for i, token in enumerate(tokens):
        if in_class:
            # As the first character of a class, a closing bracket stands for itself.
            in_class = token != "]" or tokens[i - 1] in ("[", "[^")
            if token in _INSIDE_CLASSES and tokens[i - 1] == "-":
                parts[-1] = r"\-"  # before a class a hyphen is no range
            parts.append(_INSIDE_CLASSES.get(token, token))
        else:
            in_class = token in ("[", "[^")
            parts.append(signs.get(token, token))
    return "".join(parts)
