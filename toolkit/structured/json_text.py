"""JSON in a model's text: complete, truncated, in a fenced block, or looping."""

from __future__ import annotations

import json
import re
from typing import Any

_LOOP_LENGTH = 80
"""Number of repetitive characters at the end of a text before it counts as a loop."""
_TAIL_LENGTH = 2000
"""Number of characters at the end that are searched for a loop."""
_FENCE = re.compile(r"```[\w-]*\s*\n(.*?)(?:```|\Z)", re.DOTALL)
OPEN_FENCE = re.compile(r"```[\w-]*\s*\n((?:(?!```).)*)\Z", re.DOTALL)
JSON_BEGINNING = re.compile(r"\s*(?:[{\[\"]|-?\d*\.?\d*\Z|(?:t|tr|tru|f|fa|fal|fals|n|nu|nul)\Z)")
"""How truncated JSON begins: an object, a list, a string, or the beginning of a number or a literal."""


def loads(text: str) -> Any:
    """Parses JSON as of RFC 8259: no NaN. Raises ValueError that says what is wrong and where."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        reason = (
            "it is empty" if not text.strip() else f"{error.msg}: line {error.lineno}, column {error.colno}"
        )
        raise ValueError(reason) from None
    except RecursionError:
        raise ValueError("it is nested too deeply to be read") from None
    except ValueError as error:
        reason = str(error)
        raise ValueError(
            "a number has too many digits to be read" if "int_max_str" in reason else reason
        ) from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def partial_json(text: str) -> Any:
    """What can be parsed of truncated JSON; None when nothing can."""
    from pydantic_core import from_json

    try:
        return from_json(
            text.encode("utf-8", "replace"), allow_partial="trailing-strings", allow_inf_nan=False
        )
    except (ValueError, RecursionError):
        return None


def fenced_json(text: str) -> Any:
    """The JSON of the first fenced block (```) that holds valid JSON; None without one."""
    for block in _FENCE.findall(text):
        try:
            return loads(block)
        except ValueError:
            continue
    return None


def loops(text: str) -> bool:
    """Whether the text ends with white space, or with a piece repeated at least four times: the period of the end is
    found through the borders of its reverse (Knuth, Morris and Pratt 1977)."""
    if len(text) < _LOOP_LENGTH:
        return False
    if not text[-_LOOP_LENGTH:].strip():
        return True
    reverse, borders, length = text[: -_TAIL_LENGTH - 1 : -1], [0], 0
    for i in range(1, len(reverse)):
        while length and reverse[i] != reverse[length]:
            length = borders[length - 1]
        length += reverse[i] == reverse[length]
        borders.append(length)
        if i + 1 >= _LOOP_LENGTH and i + 1 >= 4 * (i + 1 - length):
            return True
    return False
