"""Numbers and values as displays write them."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from test_displays import significant_digits

from toolkit._internal.value_text import (
    column_texts,
    distinct_labels,
    number_text,
    seconds_text,
    short_value,
    value_text,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (-0.0, "0"), (1.0, "1"), (0.7, "0.7"), (0.1 + 0.2, "0.3"), (-2.5, "-2.5"), (14.08333, "14.08"),
        (12345.678, "12350"), (123456.0, "123456"), (0.000012345678, "0.00001235"), (9.5e-7, "0.00000095"),
        (1e-12, "1e-12"), (1.5e20, "1.5e+20"), (math.inf, "∞"), (-math.inf, "-∞"),
        (np.float32(0.1), "0.1"), (99.999, "100"),
    ],
)  # fmt: skip
def test_a_number_in_at_most_four_digits(value, text):
    assert number_text(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.5, "0.50 s"), (99.999, "100 s"), (196.237, "196.2 s")])
def test_seconds(seconds, text):
    assert seconds_text(seconds) == text


@pytest.mark.parametrize("value", [None, math.nan, pd.NA, pd.NaT, np.float32("nan")])
def test_what_is_missing_is_a_dash(value):
    assert value_text(value) == short_value(value) == "–"
    assert column_texts([value, 1]) == ["–", "1"]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([], []),
        ([8 + 2 / 3, 14 + 1 / 12, 44.0], ["8.67", "14.08", "44.00"]),  # as many decimals as the largest has
        ([0.0, 1 / 12, 5 / 6], ["0.000", "0.083", "0.833"]),
        ([0.0, 0.7, 1.4], ["0", "0.7", "1.4"]),  # each as it is: nothing is rounded
        ([0.0000095, 1 / 3], ["0.0000095", "0.3333"]),  # the small one would vanish
        ([9.99996, 1 / 3], ["10.00", "0.33"]),
        ([1234.56, 99.5], ["1235", "99.5"]),
        ([True, "a", ("b", 1)], ["True", "a", "('b', 1)"]),
        ([2**60, None, 3], ["1152921504606846976", "–", "3"]),
        ([math.inf, 1 / 3, math.nan], ["∞", "0.333", "–"]),
        ([-1 / 3, 2 / 3], ["-0.333", "0.667"]),
        ([1, 2.5, 1 / 3], ["1", "2.500", "0.333"]),
    ],
)
def test_a_column_has_one_format(values, texts):
    assert column_texts(values) == texts


@given(st.lists(st.floats(1e-9, 1e12), max_size=6))
def test_fractions_have_at_most_four_digits_and_at_least_two(values):
    for value, text in zip(values, column_texts(values), strict=True):
        assert value == int(value) or significant_digits(text.rstrip("0")) <= 4
        assert "." not in text or significant_digits(text) <= 4
        assert abs(float(text) - value) <= 0.05 * value


def test_labels_that_would_be_equal_are_numbered():
    assert distinct_labels(["a", "b", "a"]) == ["a [0]", "b", "a [2]"]
