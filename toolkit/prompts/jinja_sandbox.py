"""Jinja2's sandbox with limits on what a template makes: one of a few characters could fill the memory."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_CHARACTERS = 10_000_000
"""The most characters of a text that a template makes, items of a list, or bits of a number."""
_WIDTH_FILTERS = ("batch", "center", "format", "indent", "slice", "truncate", "wordwrap")
_HUGE_FIELD = re.compile(r"%[^a-zA-Z%]*(\d{8}|\*)|\{[^{}]*:[^{}]*\d{8}")
"""A field in a format whose width has 8 digits; after a percent sign, also one whose width is an argument."""
_WIDTH_IN_FIELD = re.compile(r"\{[^{}]*:[^{}]*\{")
"""A field whose width is an argument."""
_SIZED = (str, bytes, list, tuple)


class LimitedSandbox(ImmutableSandboxedEnvironment):
    """A sandbox whose operators, methods of texts and filters raise ValueError for a result that is too large."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name in _WIDTH_FILTERS:
            self.filters[name] = _with_limited_widths(name, self.filters[name])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        check_size(_result_size(operator, left, right))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, function: Any, /, *arguments: Any, **named: Any) -> Any:
        owner = getattr(getattr(function, "__wrapped__", function), "__self__", None)
        if isinstance(owner, str):
            _check_widths(getattr(function, "__name__", ""), owner, *arguments, *named.values())
        return super().call(context, function, *arguments, **named)


def limited_text(parts: Iterable[str]) -> str:
    """The text of some parts. Raises ValueError once it is too long."""
    texts, size = [], 0
    for part in parts:
        texts.append(part)
        size += len(part)
        check_size(size)
    return "".join(texts)


def _with_limited_widths(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def limited(*arguments: Any, **named: Any) -> Any:
        _check_widths(name, *arguments, *named.values())
        return function(*arguments, **named)

    return limited


def _check_widths(name: str, text: Any, *arguments: Any) -> None:
    """Raises ValueError for a number that would be too large a width, and for a format with such a field."""
    if name in ("format", "format_map") and isinstance(text, str):
        if _HUGE_FIELD.search(text):
            check_size(math.inf)
        if not _WIDTH_IN_FIELD.search(text):
            return  # its numbers are no widths
    for value in arguments:
        if isinstance(value, int):
            check_size(value)


def _result_size(operator: str, left: Any, right: Any) -> float:
    """The length of the sequence, or the bits of the number, that an operator would give; 0 for other results."""
    if operator == "%":
        return math.inf if isinstance(left, str) and _HUGE_FIELD.search(left) else 0
    if operator == "+":
        return len(left) + len(right) if isinstance(left, _SIZED) and isinstance(right, _SIZED) else 0
    if isinstance(left, int) and isinstance(right, int):
        return left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
    for items, number in ((left, right), (right, left)):
        if operator == "*" and isinstance(items, _SIZED) and isinstance(number, int):
            return len(items) * number
    return 0


def check_size(size: float) -> None:
    """Raises ValueError for more than the limit."""
    if size > MAX_CHARACTERS:
        raise ValueError(f"the template would make more than {MAX_CHARACTERS:,} characters")
