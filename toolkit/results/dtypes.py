"""Dtypes of columns that hold every value as it is: whole numbers of any size, whether or not some are missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

_HELD_TYPES: dict[str, set[type]] = {
    "Int64": {int},
    "float64": {int, float},
    "boolean": {bool},
    "str": {str},
    "int64": {int},
}
"""Dtype → the types of the values that a column of it may hold."""
_INT64 = (-(2**63), 2**63 - 1)
_WHOLE_FLOATS = (-(2**53), 2**53)
"""The range in which every whole number is a float64."""


def exact_column(values: Sequence[Any], dtype: str = "") -> pd.Series[Any]:
    """A column of JSON values and tuples, each as it is: whole numbers as Int64, numbers as float64, True and False
    as boolean, texts as str. Values of several types, lists, and numbers that these do not hold exactly are objects.
    A missing value (None, NaN) is NA, NaN, or, among objects, None.

    dtype: the column's dtype where it holds all its values: one of these, "object", or "int64" (with gaps: Int64).
    """
    import pandas as pd

    types = set(map(type, values))
    if float in types:
        values = [None if value != value else value for value in values]
        types = set(map(type, values))
    if dtype == "int64" and type(None) in types:
        dtype = "Int64"
    dtype = _dtype(types - {type(None)}, dtype)
    if int in types and dtype != "object":
        low, high = _WHOLE_FLOATS if dtype == "float64" else _INT64
        whole = [value for value in values if type(value) is int]
        dtype = dtype if low <= min(whole) and max(whole) <= high else "object"
    return _texts(values) if dtype == "str" else pd.Series(values, dtype=dtype)


def repeated_column(values: Sequence[Any], places: npt.NDArray[np.int64], dtype: str = "") -> pd.Series[Any]:
    """(N,) the column of few values, each in many rows. places: (N,) the index of each row's value."""
    import pandas as pd

    column = exact_column(values, dtype)
    return pd.Series(column.array.take(places), dtype=column.dtype)


def _dtype(types: set[type], preferred: str) -> str:
    """The dtype of a column with values of some types: the preferred one, or the first that holds them all."""
    if preferred == "object" or (preferred and types <= _HELD_TYPES[preferred]):
        return preferred
    fitting = [name for name, held in _HELD_TYPES.items() if types <= held]
    return fitting[0] if fitting and types else "object"


def _texts(values: Sequence[Any]) -> pd.Series[Any]:
    import pandas as pd

    try:
        return pd.Series(values, dtype="str")
    except UnicodeEncodeError:  # lone surrogates, which Arrow's texts cannot hold, and Python's can
        return pd.Series(values, dtype=pd.StringDtype("python", na_value=np.nan))


def narrowed(column: pd.Series[Any], dtype: str = "") -> pd.Series[Any]:
    """The column of some rows of a table as `exact_column` makes it of their values alone: without the row that has a
    text, a column of numbers and texts is one of numbers."""
    if dtype != "object" and (column.dtype == object or getattr(column.dtype, "storage", "") == "python"):
        return exact_column(column.tolist(), dtype)
    if not dtype and column.isna().all():
        return exact_column([None] * len(column))
    return column
