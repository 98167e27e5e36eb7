"""Values of Python and its libraries as JSON data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np

from toolkit._internal.missing import PLAIN_TYPES, is_missing
from toolkit._internal.text import short_repr

_LARGEST_EXACT = 2**53
"""Floats up to here hold every whole number."""


def data_value(value: Any) -> Any:
    """A value from outside (a row, an example, an axis, a label) as JSON data: the one conversion for all of them.
    What JSON holds stays as it is, a tuple too, since its text may be in a prompt; for the rest see `library_value`.
    Raises TypeError for what is no data, ValueError for what is nested too deeply or holds itself, and for two keys
    that JSON cannot tell apart."""
    try:
        return value if _is_json(value) else to_plain(value, library_value)
    except RecursionError:
        raise ValueError(
            f"a {type(value).__name__} is nested too deeply to be data, or holds itself"
        ) from None


def _is_json(value: Any) -> bool:
    """Whether JSON holds a value as it is: there is no library's number and no member of an Enum in it."""
    if type(value) in PLAIN_TYPES:
        return True
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        _check_names(value)
        return all(type(name) in PLAIN_TYPES and _is_json(item) for name, item in value.items())
    return isinstance(value, str | int | float) and not isinstance(value, Enum | np.generic)


def to_plain(value: Any, fallback: Callable[[Any], Any]) -> Any:
    """JSON data: None, numbers and texts stay as they are; mappings, lists and tuples are converted item by item.
    fallback: from any other value to JSON data: `library_value`, `name_or_text`, or the caller's own."""
    if type(value) in PLAIN_TYPES:
        return value
    if isinstance(value, int | float | str):  # of a subclass
        if isinstance(value, Enum):
            return to_plain(value.value, fallback)
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, list | tuple):
        return [to_plain(item, fallback) for item in value]
    if isinstance(value, dict | Mapping):
        _check_names(value)
        return {_key(name): to_plain(item, fallback) for name, item in value.items()}
    return fallback(value)


def _check_names(value: Mapping[Any, Any]) -> None:
    """Raises ValueError where two keys, such as 1 and "1", have one name in JSON, which would keep one of them."""
    if all(type(name) is str for name in value):
        return
    keys: dict[str, Any] = {}
    for key in value:
        name = json.dumps(key).strip('"') if key is None or type(key) in (bool, float) else _key(key)
        if name in keys:
            raise ValueError(
                f"the keys {short_repr(keys[name])} and {short_repr(key)} have the same name in JSON: rename one"
            )
        keys[name] = key


def _key(name: Any) -> str:
    """The name of an item; a text or number that is a member of an Enum, as such a value is written."""
    return str(name.value if isinstance(name, Enum) and isinstance(name, str | int | float) else name)


def library_value(value: Any) -> Any:
    """A value of NumPy, pandas or the standard library as JSON data: arrays and columns as lists, narrow floats by
    their shortest text (0.1, not 0.10000000149011612), what is missing as None, dates and times as ISO 8601 text,
    decimal numbers and paths as text, a member of an Enum as its value.

    Raises TypeError for what is no data: functions, classes, sets, objects.
    """
    if not isinstance(value, type):
        if isinstance(value, np.generic):
            return _scalar_data(value)
        if hasattr(value, "tolist"):
            return _array_data(value)
        if isinstance(value, Enum):
            return to_plain(value.value, library_value)
        if is_missing(value):
            return None
        if hasattr(value, "isoformat"):
            return value.isoformat()
        if isinstance(value, Decimal | PurePath):
            return str(value)
    raise TypeError(f"a value of type {type(value).__name__} is not data, got {short_repr(value)}")


def exact_float(value: Any) -> float:
    """A number as a float: one of fewer bits (float32) as the number that its own text names."""
    return float(str(value)) if isinstance(value, np.floating) else float(value)


def _scalar_data(value: np.generic) -> Any:
    if isinstance(value, np.floating):
        return exact_float(value)
    if is_missing(value):
        return None
    if isinstance(value, np.datetime64):
        return _iso_text(value)
    if isinstance(value, np.timedelta64):  # tolist() may give a number without its unit
        raise TypeError(f"a value of type timedelta64 is not data, got {short_repr(value)}")
    return to_plain(value.tolist(), library_value)


def _iso_text(value: np.datetime64) -> str:
    moment = value.tolist()
    if not isinstance(moment, date) and value == (rounded := value.astype("datetime64[us]")):
        moment = rounded.tolist()  # of nanoseconds, tolist() gives a number
    return moment.isoformat() if isinstance(moment, date) else str(value)


def _array_data(value: Any) -> Any:
    if hasattr(value, "to_numpy"):
        return [to_plain(item, library_value) for item in column_values(value)]
    try:
        array = None if isinstance(value, np.ma.MaskedArray) else np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # as of a tensor on another device
        array = None
    if array is None:
        return to_plain(value.tolist(), library_value)
    if array.ndim == 0:
        return to_plain(array[()], library_value)
    if array.dtype.kind in "biu" or array.dtype == np.float64:
        return array.tolist()
    return [to_plain(item, library_value) for item in array]


def column_values(column: Any) -> list[Any]:
    """The values of a pandas column, in the type that they had before they came into it: whole numbers that a gap
    made floats are whole again, and narrow floats are NumPy's."""
    values = list(column)
    dtype = getattr(column.dtype, "numpy_dtype", column.dtype)  # pandas' nullable types name NumPy's
    if getattr(dtype, "kind", "") != "f":
        return values
    if dtype == column.dtype and any(map(is_missing, values)) and all(map(_is_whole_or_missing, values)):
        return [value if is_missing(value) else int(value) for value in values]
    if dtype != np.float64:  # pandas gives the nearest float64
        return [value if is_missing(value) else dtype.type(value) for value in values]
    return values


def _is_whole_or_missing(value: float) -> bool:
    return is_missing(value) or (abs(value) <= _LARGEST_EXACT and value == int(value))


def name_or_text(value: Any) -> Any:
    """For fingerprints, the same in every process: functions and classes by name, sets sorted, all else as text. A
    NumPy number, a date or an Enum is text as well: it is so in fingerprints that are stored."""
    if isinstance(value, set | frozenset):
        return sorted(str(to_plain(item, name_or_text)) for item in value)
    name = getattr(value, "__qualname__", None)  # the text of a function contains its address
    return f"{value.__module__}.{name}" if name else str(value)


def holds_missing(value: Any) -> bool:
    """Whether a value is missing, or a list or dict with a missing value in it, as a prompt would write it."""
    if is_missing(value):
        return True
    try:
        data = data_value(value)
    except (TypeError, ValueError):  # no data: a prompt writes its text
        return False
    if isinstance(data, dict):
        return any(map(holds_missing, data.values()))
    return isinstance(data, list | tuple) and any(map(holds_missing, data))
