"""Checks of user-supplied values: numbers in a range, known names, text that can be encoded."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import itertools
import math
import numbers
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from toolkit._internal.jsonable import exact_float
from toolkit._internal.text import short_repr, shortened

T = TypeVar("T")

MAX_ITEMS = 10_000_000
"""The most items of a list of a caller: of what has more, such as range(10**12), one end is a mistake."""


def unknown(kind: str, name: object, known: Iterable[str], hints: Mapping[str, str] = {}) -> str:
    """The message for an unknown name: suggests the nearest known name, or lists them all. hints: name → what to say
    in place of that."""
    if isinstance(name, str) and name in hints:
        return f"unknown {kind} {name!r}: {hints[name]}"
    names = sorted(known)
    hint = (
        suggestion(name, names) if isinstance(name, str) else ""
    ) or f"known: {shortened(', '.join(names), 2000)}"
    return f"unknown {kind} {short_repr(name)}: {hint}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """The nearest known name as a question; empty where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else ""


def nearest(name: str, known: Iterable[str], number: int = 3) -> list[str]:
    """The known names that are most like a name, the nearest first, however far."""
    return difflib.get_close_matches(name, sorted(known), n=number, cutoff=0.0)


def named_fields_only(
    kind: str,
    rename: Callable[[Mapping[str, Any]], dict[str, Any]] = dict,
    hints: Mapping[str, str] = {},
) -> Callable[[type[T]], type[T]]:
    """Class decorator: an unknown keyword argument raises TypeError, which names the nearest known one, or has the
    hint of its name. rename: gives keyword arguments the names of fields."""

    def decorate(cls: type[T]) -> type[T]:
        names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        build = cls.__init__

        @functools.wraps(build)
        def init(self: Any, *args: Any, **fields: Any) -> None:
            fields = rename(fields)
            for name in sorted(fields.keys() - names):
                raise TypeError(unknown(kind, name, names, hints))
            build(self, *args, **fields)

        cls.__init__ = init  # type: ignore[method-assign]
        return cls

    return decorate


@dataclass(frozen=True)
class Real:
    """A finite number in a range, of Python or NumPy (bool is not one); `open_low` excludes the lower bound."""

    low: float
    high: float
    fix: str
    open_low: bool = False

    def __call__(self, name: str, value: object) -> float:
        number = finite_or_none(value)
        if number is None or not self._in_range(number):
            raise ValueError(
                f"{name} must be a number {self._range_text()}, got {short_repr(value)}: {self.fix}"
            )
        return number

    def _in_range(self, value: float) -> bool:
        return (value > self.low if self.open_low else value >= self.low) and value <= self.high

    def _range_text(self) -> str:
        low = f"above {self.low:g}" if self.open_low else f"from {self.low:g}"
        if math.isinf(self.high):
            return low if self.open_low else f"{low} up"
        return f"{low} to {self.high:g}"


def finite_or_none(value: object) -> float | None:
    """A number as a float; None for other types, and for numbers that are not finite or too large."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        number = exact_float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


@dataclass(frozen=True)
class Whole:
    """A whole number in a range (bool is not one)."""

    low: int
    high: int | None
    fix: str

    def __call__(self, name: str, value: object) -> int:
        # NumPy's integers have __index__ as well; floats do not, even whole ones.
        try:
            number = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            number = None
        if isinstance(value, bool) or number is None:
            raise ValueError(f"{name} must be a whole number, got {short_repr(value)}: {self.fix}")
        if number < self.low or (self.high is not None and number > self.high):
            high = "up" if self.high is None else f"to {self.high}"
            raise ValueError(
                f"{name} must be a whole number from {self.low} {high}, got {short_repr(value)}: {self.fix}"
            )
        return number


def instance_of(kind: type[T], name: str, value: object, fix: str) -> T:
    """The value unchanged. Raises TypeError for another type."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{name} must be {article} {kind.__name__}, got {short_repr(value)}: {fix}")
    return value


def limited_list(name: str, values: Iterable[T], most: int = MAX_ITEMS) -> list[T]:
    """The items of an iterable. Raises ValueError for more than `most`: a long range would fill the memory."""
    try:
        too_many = operator.length_hint(values) > most
    except OverflowError:  # of a range longer than a list can be
        too_many = True
    items = [] if too_many else list(itertools.islice(values, most + 1))
    if too_many or len(items) > most:
        raise ValueError(f"{name} has more than {most:,} items, got {short_repr(values)}: give fewer")
    return items


def position(name: str, value: object, length: int, *, from_end: bool = True) -> int:
    """A position in a sequence, as a number from 0 up; negative ones count from the end, unless `from_end` is False.
    Raises IndexError for one out of range, TypeError for what is no whole number."""
    try:
        index = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {short_repr(value)}") from None
    lowest = -length if from_end else 0
    if not lowest <= index < length:
        raise IndexError(f"{name} must be from {lowest} to {length - 1}, got {short_repr(index)}")
    return index % length


def encodable(where: str, text: str) -> str:
    """The text unchanged. Raises ValueError for lone surrogates, which no tokenizer or file accepts, TypeError for
    what is no text."""
    if not isinstance(text, str):
        raise TypeError(f"{where} must be text, got {short_repr(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where} is not valid Unicode: {text[error.start]!r} at character {error.start} is half of a "
            "surrogate pair; decode the text with errors='replace'"
        ) from None
    return text


def validate_api_key(key: str) -> str:
    """A key without surrounding white space, such as a file's line end. Raises ValueError for a key that no HTTP
    header can carry, TypeError for one that is not text; neither message shows the key."""
    if not isinstance(key, str):
        raise TypeError(f"api_key must be text, got {type(key).__name__}")
    key = key.strip()
    if not key:
        raise ValueError(
            "api_key must be the key itself, got an empty text: leave it out where none is needed"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("api_key must be of visible ASCII characters, without spaces: a header carries it")
    return key
