"""Cells: the settings a sweep compares, as an ordered set of combinations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_origin

from toolkit._internal.jsonable import data_value
from toolkit._internal.missing import is_missing
from toolkit._internal.text import short_repr
from toolkit._internal.validation import limited_list, unknown
from toolkit.core.openai_names import HINTS, standard_names
from toolkit.core.options import spelled_out
from toolkit.core.sampling import FIELDS, Sampling
from toolkit.prompts.named_prompts import is_conversation, named_prompts
from toolkit.prompts.selectors import FEW_SHOT_AXES
from toolkit.structured.response_format import response_format

AXES = (*FIELDS, "prompt", *FEW_SHOT_AXES, "response_format")
"""What may vary: every field of Sampling, the prompt, its few-shot examples, and the response format."""

MAX_CELLS = 1_000_000
"""The most settings of one sweep."""


class Cells:
    """An immutable sequence of settings, each a dict of axis → value. Made by `grid`, `zipped` and `cases`;
    `a + b` is one after the other, `a * b` every combination (b's values win where both set an axis)."""

    def __init__(self, settings: Iterable[Mapping[str, Any]]) -> None:
        self._settings = tuple(dict(s) for s in limited_list("cells", settings, MAX_CELLS))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (dict(s) for s in self._settings)

    def __len__(self) -> int:
        return len(self._settings)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cells) and self._settings == other._settings

    __hash__ = None  # type: ignore[assignment]  # settings may hold prompts, which need no hash

    def __add__(self, other: Cells) -> Cells:
        return Cells((*self._settings, *other._settings)) if isinstance(other, Cells) else NotImplemented

    def __mul__(self, other: Cells) -> Cells:
        if not isinstance(other, Cells):
            return NotImplemented
        _check_product([len(self), len(other)])
        return Cells({**a, **b} for a in self._settings for b in other._settings)

    def __repr__(self) -> str:
        axes = list(dict.fromkeys(name for s in self._settings for name in s))
        return f"Cells({len(self)} over {', '.join(axes) or 'no axis'})"


def _check_product(lengths: Sequence[int]) -> None:
    """Raises ValueError for axes with too many combinations, before they are made."""
    if (number := math.prod(lengths)) > MAX_CELLS:
        factors = " × ".join(f"{length:,}" for length in lengths)
        raise ValueError(
            f"the axes have {factors} = {number:,} combinations, and at most {MAX_CELLS:,} are allowed: give fewer "
            "values, or zip axes with toolkit.zipped"
        )


def _listed(name: str, values: Any) -> list[Any]:
    """One axis as a list; a single value is an axis of length one."""
    if name not in AXES:
        raise TypeError(unknown("axis", name, AXES, HINTS))
    if name == "prompt" and isinstance(values, Mapping):
        return list(named_prompts(values))
    # A selector or a response format may be a dict, an Enum and a Literal are iterable types, and a conversation is a
    # list that is one prompt.
    single = isinstance(values, (str, bytes, Mapping, type)) or not isinstance(values, Iterable)
    single = single or get_origin(values) is not None
    single = single or (name == "prompt" and is_conversation(values))
    # NumPy's array of a column has its values in their own type, where iteration makes them Python's.
    items = [values] if single else values.to_numpy() if hasattr(values, "to_numpy") else values
    axis_values = limited_list(f"axis {name}", items, MAX_CELLS)
    if not axis_values:
        raise ValueError(f"axis {name!r} is empty: give at least one value, or leave the axis out")
    return axis_values


def _validated(name: str, axis_values: list[Any]) -> list[Any]:
    if name in FIELDS or name in FEW_SHOT_AXES:
        axis_values = [_data_or_object(value) for value in axis_values]
    for value in axis_values:
        if name in FIELDS and value is not None:
            Sampling(**{name: value})
        elif name in FEW_SHOT_AXES and value is not None:
            FEW_SHOT_AXES[name](name, value)
        elif name == "response_format":
            response_format(value)
    return axis_values


def _data_or_object(value: Any) -> Any:
    """A value as rows hold it. One that is no data, such as a selector, stays as it is; so does one that is missing,
    since only None leaves an axis unset."""
    try:
        return value if is_missing(value) else data_value(value)
    except TypeError:
        return value


@spelled_out(dict.fromkeys(AXES, "Any"))
def grid(**axes: Any) -> Cells:
    """Every combination of the values of the axes, the last one fastest. Axes: the fields of `Sampling`,
    response_format, prompt (a list, or a dict of names, by which tables show them), and k, selector and order_seed of
    its examples.

    A model is no axis of a grid, since a sweep runs on one engine: see `Sweep.run_across`.

    >>> len(grid(temperature=[0, 0.7, 1.2], seed=range(5)))
    15
    """
    columns = {name: _listed(name, values) for name, values in standard_names(axes).items()}
    _check_product([len(column) for column in columns.values()])
    cells = Cells([{}])
    for name, column in columns.items():
        cells = cells * Cells({name: value} for value in _validated(name, column))
    return cells


@spelled_out(dict.fromkeys(AXES, "Any"))
def zipped(**axes: Any) -> Cells:
    """The first values of all axes together, then the second ones, …; a single value goes with each.

    Raises ValueError when the lengths differ.
    """
    columns = {name: _validated(name, _listed(name, values)) for name, values in standard_names(axes).items()}
    length = max((len(c) for c in columns.values()), default=1)
    uneven = {name: len(c) for name, c in columns.items() if len(c) not in (1, length)}
    if uneven:
        lengths = ", ".join(f"{n} has {k}" for n, k in uneven.items())
        raise ValueError(
            f"zipped axes must have {length} values or one, {lengths}: use grid for combinations"
        )
    return Cells({name: c[i if len(c) > 1 else 0] for name, c in columns.items()} for i in range(length))


def cases(*settings: Mapping[str, Any], **named: Mapping[str, Any]) -> Cells:
    """Settings as they are; a named one carries its name in the column `case`.

    >>> len(cases(strict={"temperature": 0}, creative={"temperature": 1.2, "top_p": 0.9}))
    2
    """
    combinations = []
    for name, setting in [*((None, s) for s in settings), *named.items()]:
        if not isinstance(setting, Mapping):
            raise TypeError(f"a case must be a dict of axis → value, got {short_repr(setting)}")
        values = {
            axis: _validated(axis, _listed(axis, [value]))[0]
            for axis, value in standard_names(setting).items()
        }
        combinations.append({**({"case": name} if name else {}), **values})
    return Cells(combinations)
