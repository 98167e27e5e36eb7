"""Dtypes of columns hold every value as it is."""

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from toolkit.core.sampling import FIELDS
from toolkit.results.dtypes import exact_column, narrowed
from toolkit.results.table import AXES, DTYPES, GRADES, OUTCOMES, PROMPT_COLUMNS, RUN_NAME

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1234567890123456789, None], "Int64", [1234567890123456789, pd.NA]),
        ([2**53 + 1, NAN, 2**63 - 1, -(2**63)], "Int64", [2**53 + 1, pd.NA, 2**63 - 1, -(2**63)]),
        ([2**63, 1, None], "object", [2**63, 1, None]),
        ([-(2**63) - 1, 1], "object", [-(2**63) - 1, 1]),
        ([1, 2], "Int64", [1, 2]),
        ([1, 2.5, None], "float64", [1.0, 2.5, NAN]),
        ([2**53 + 1, 2.5], "object", [2**53 + 1, 2.5]),
        ([float("-inf"), NAN], "float64", [float("-inf"), NAN]),
        ([True, None], "boolean", [True, pd.NA]),
        ([True, 1, NAN], "object", [True, 1, None]),
        (["007", "", None], "str", ["007", "", NAN]),
        (["a", NAN], "str", ["a", NAN]),
        (["\ud83d", None], "str", ["\ud83d", NAN]),
        (["007", 7, True, 1.0], "object", ["007", 7, True, 1.0]),
        ([(1, 2), (1,), None], "object", [(1, 2), (1,), None]),
        ([(NAN,)], "object", [(NAN,)]),
        ([None, NAN], "object", [None, None]),
        ([], "object", []),
    ],
    ids=repr,
)
def test_a_column_has_the_dtype_that_holds_its_values(values, dtype, expected):
    column = exact_column(values)
    assert column.dtype == dtype
    assert list(map(repr, column.tolist())) == list(map(repr, expected))


@pytest.mark.parametrize(
    ("values", "dtype", "actual"),
    [
        ([None, None], "Int64", "Int64"),
        ([None], "float64", "float64"),
        ([None], "str", "str"),
        ([None], "boolean", "boolean"),
        ([1, 0], "float64", "float64"),
        ([1, 2], "int64", "int64"),
        ([1, None], "int64", "Int64"),
        ([None], "int64", "Int64"),
        ([2**63], "int64", "object"),
        ([28, None], "object", "object"),
        (["7"], "Int64", "str"),
        ([2**70, None], "Int64", "object"),
    ],
    ids=repr,
)
def test_the_preferred_dtype_is_taken_where_it_holds_all_values(values, dtype, actual):
    column = exact_column(values, dtype)
    assert column.dtype == actual
    assert [value for value in column if not pd.isna(value)] == [
        value for value in values if value is not None
    ]


JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(st.lists(JSON) | st.lists(st.integers() | st.none()) | st.lists(st.floats() | st.integers()))
def test_no_value_changes(values):
    """But for whole numbers among others, which are the same numbers."""
    column = exact_column(values)
    for before, after in zip(values, column.tolist(), strict=True):
        if before is None or before != before:
            assert pd.isna(after)
        else:
            assert after == before
            assert type(after) is type(before) or (type(before), type(after)) == (int, float)


@given(st.lists(JSON, min_size=1), st.data())
def test_a_part_of_a_column_has_the_dtype_of_its_own_values(values, data):
    kept = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    column = exact_column(values)
    part = narrowed(column[kept].reset_index(drop=True))
    assert part.dtype == exact_column(part.astype(object).where(part.notna(), None).tolist()).dtype


def test_every_column_of_a_table_has_a_dtype():
    assert DTYPES.keys() == {
        *AXES,
        *FIELDS,
        *OUTCOMES,
        *PROMPT_COLUMNS,
        *GRADES,
        RUN_NAME,
        "request",
        "run",
        "position",
        "created",
    }
