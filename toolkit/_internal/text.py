"""Numbers and texts as they appear in sentences, tables and files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, Context
from typing import Any

from toolkit._internal.jsonable import is_missing

MISSING = "–"
"""Shown in place of a missing value."""


def plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def dollars(amount: float) -> str:
    """An amount with at least two significant digits: $0.0000095, -$1.50."""
    if math.isnan(amount):
        return "not known"
    sign, size = "-" if amount < 0 else "", abs(amount)
    digits = max(2, 1 - math.floor(math.log10(size))) if 0 < size < math.inf else 0
    return f"{sign}${size:,.{digits}f}"


def percent(share: float) -> str:
    """An upper bound with two significant digits, rounded up so that it does not claim more than is known."""
    return f"{Context(prec=2, rounding=ROUND_CEILING).create_decimal(100 * share).normalize():f} %"


def is_valid_unicode(text: str) -> bool:
    """Whether a text has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def replace_lone_surrogates(value: Any) -> Any:
    """JSON data whose texts are valid Unicode: surrogate pairs that JSON spells as two escapes (\\ud83d\\ude00) are
    joined, and lone surrogates replaced, as a decoder would."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {name: replace_lone_surrogates(item) for name, item in value.items()}
    return [replace_lone_surrogates(item) for item in value] if isinstance(value, list) else value


def shortened(text: str, limit: int) -> str:
    """The first `limit` characters of a text, and how many more there are."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def short_value(value: Any, limit: int = 80) -> str:
    """A value in at most `limit` characters."""
    text = MISSING if is_missing(value) else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
