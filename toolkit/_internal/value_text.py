"""Numbers and other values as displays write them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from toolkit._internal.missing import is_missing
from toolkit._internal.text import MISSING

_SMALLEST_PLAIN, _LARGEST_PLAIN = 1e-9, 1e15
"""The range in which numbers are written without an exponent."""


def short_number(value: float | None) -> str:
    """A number with at most four significant digits: 0.4286, 1,036, 12.35k, 0.0000926; – where it is not known."""
    if value is None or math.isnan(value):
        return MISSING
    if not math.isfinite(value) or not value:
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "0")
    power = math.floor(math.log10(abs(value)))
    rounded = round(value, 3 - power)
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(rounded) >= max(size, 10_000):
            return f"{rounded / size:.4g}{unit}"
    return _fixed(rounded, _decimals(rounded, 3 - power))


def money_texts(values: Sequence[float | None]) -> list[str]:
    """Numbers of a column in one format: with as many decimals as the largest has in four significant digits, or
    fewer where none needs them. One that would read as 0 is less than the smallest that can be written: <0.01."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    largest = max(map(abs, known), default=0.0)
    if not 0 < largest < 9999.5:
        return list(map(short_number, values))
    most = 3 - math.floor(math.log10(largest))
    decimals = max(_decimals(round(v, most), most) for v in known)
    smallest = 10.0**-decimals

    def text(value: float | None) -> str:
        if value is None or not math.isfinite(value) or not value:
            return short_number(value)
        return _fixed(value, decimals) if abs(value) >= smallest / 2 else f"<{_fixed(smallest, decimals)}"

    return list(map(text, values))


def _fixed(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}"


def _decimals(value: float, most: int) -> int:
    """How many decimals a number needs, at most so many."""
    digits = f"{abs(value):.{max(most, 0)}f}".partition(".")[2]
    return len(digits.rstrip("0"))


def number_text(value: float) -> str:
    """A number as displays show it: a whole one in full, a fraction with at most four significant digits, without an
    exponent down to 1e-9.

    >>> number_text(0.00001234567)
    '0.00001235'
    """
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == int(value) and abs(value) < _LARGEST_PLAIN:
        return str(int(value))
    short = f"{value:.4g}"
    return f"{Decimal(short):f}" if _SMALLEST_PLAIN <= abs(value) < _LARGEST_PLAIN else short


def seconds_text(seconds: float) -> str:
    """A time to hundredths of a second, a long one to four digits."""
    return f"{seconds:.2f} s" if seconds < 99.995 else f"{number_text(seconds)} s"


def value_text(value: Any) -> str:
    """A value as displays show it."""
    if is_missing(value):
        return MISSING
    return number_text(value) if _is_float(value) else str(value)


def column_texts(values: Sequence[Any]) -> list[str]:
    """The values of a column as displays show them. Fractions have the same number of decimals, unless each can be
    shown as it is, or small ones would vanish beside large ones."""
    sizes = [abs(float(value)) for value in values if _is_float(value) and math.isfinite(value)]
    decimals = None if all(float(f"{size:.4g}") == size for size in sizes) else _common_decimals(sizes)
    if not decimals:
        return list(map(value_text, values))
    return [f"{v:.{decimals}f}" if _is_float(v) and math.isfinite(v) else value_text(v) for v in values]


def _is_float(value: Any) -> bool:
    return isinstance(value, (float, np.floating))


def _common_decimals(sizes: Sequence[float]) -> int | None:
    """Decimals that give the largest of some positive numbers four significant digits, three where it is below 1;
    None where the smallest would be left with one."""
    largest, smallest = max(sizes), min(filter(None, sizes))
    digits = 4 if largest >= 1 else 3
    exponent = int(f"{largest:.{digits - 1}e}".partition("e")[2])
    decimals = max(0, digits - 1 - exponent)
    return decimals if smallest >= 10 ** (1 - decimals) else None


def short_value(value: Any, limit: int = 80) -> str:
    """A value in at most `limit` characters."""
    text = value_text(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def distinct_labels(names: Sequence[str]) -> list[str]:
    """Labels without duplicates: equal ones, such as shortened texts, get their index."""
    count = Counter(names)
    return [f"{name} [{i}]" if count[name] > 1 else name for i, name in enumerate(names)]
