"""Missing values of Python, NumPy and pandas."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np

PLAIN_TYPES = frozenset((type(None), bool, int, float, str))
"""Types of JSON data that hold no other values."""


def is_missing(value: Any) -> bool:
    """None, NaN, NaT, pandas' NA or NumPy's `masked`; a text, a list or an object never is."""
    if value is None or type(value) in PLAIN_TYPES:
        return value is None or value != value  # NaN is not equal to itself
    import pandas as pd

    if value is np.ma.masked:
        return True
    if isinstance(value, Decimal):
        return value.is_nan()  # a signalling one cannot be compared
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))
