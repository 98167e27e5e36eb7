"""JSON in a model's text: complete, truncated, in a fenced block, or looping."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

from toolkit._internal.value_text import short_value

_LOOP_LENGTH = 80
"""Number of repetitive characters at the end of a text before it counts as a loop."""
_TAIL_LENGTH = 2000
"""Number of characters at the end that are searched for a loop."""
# Nothing in these patterns is tried again: their time is linear in the text.
_FENCE = re.compile(r"```[\w-]*+[^\S\n]*+\n(.*?)(?:```|\Z)", re.DOTALL)
OPEN_FENCE = re.compile(r"```[\w-]*+[^\S\n]*+\n((?:(?!```).)*+)\Z", re.DOTALL)
JSON_BEGINNING = re.compile(r"[{\[\"]|-?+[0-9]*+\.?+[0-9]*+\Z|(?:t|tr|tru|f|fa|fal|fals|n|nu|nul)\Z")
"""How truncated JSON begins, after white space: an object, a list, a string, or the beginning of a number or a
literal."""


def loads(text: str) -> Any:
    """Parses JSON that has one meaning (RFC 7493): no NaN, no number that is too large, no key twice in an object.
    Raises ValueError that says what is wrong and where."""
    try:
        return json.loads(
            text, parse_constant=_no_constant, parse_float=_finite_float, object_pairs_hook=_unique_keys
        )
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


def _finite_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {short_value(digits)} is too large for a double")
    return number


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"an object has the key {short_value(name)!r} twice")
    return value


def is_complete(text: str) -> bool:
    """Whether a text ends where its JSON does, also one that `loads` refuses for a key, a number or NaN."""
    try:
        json.loads(text, parse_int=str)  # a number may have more digits than Python reads
    except (ValueError, RecursionError):
        return False
    return True


def partial_json(text: str) -> Any:
    """What can be parsed of truncated JSON; None when nothing can."""
    from pydantic_core import from_json

    try:
        value = from_json(
            text.encode("utf-8", "replace"), allow_partial="trailing-strings", allow_inf_nan=False
        )
        json.dumps(value, allow_nan=False)  # from_json reads 1e999 as infinity
    except (ValueError, RecursionError):
        return None
    return value


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
