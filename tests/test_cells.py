import enum
import itertools
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

import toolkit as tk


def test_grid_is_every_combination_the_last_axis_fastest():
    assert list(tk.grid(temperature=[0, 1], seed=range(2))) == [
        {"temperature": 0, "seed": 0},
        {"temperature": 0, "seed": 1},
        {"temperature": 1, "seed": 0},
        {"temperature": 1, "seed": 1},
    ]


def test_a_single_value_is_an_axis_of_one_and_strings_are_values():
    assert list(tk.grid(temperature=[0, 1], stop="END")) == [
        {"temperature": 0, "stop": "END"},
        {"temperature": 1, "stop": "END"},
    ]


def test_sum_and_product():
    cells = tk.cases({"temperature": 0}) + tk.grid(temperature=[1], seed=[1, 2])
    assert list(cells) == [{"temperature": 0}, {"temperature": 1, "seed": 1}, {"temperature": 1, "seed": 2}]
    assert next(iter(cells * tk.grid(max_tokens=8))) == {"temperature": 0, "max_tokens": 8}
    assert len(cells * cells) == 9


def test_zipped_goes_in_step_and_repeats_single_values():
    assert list(tk.zipped(temperature=[0.2, 0.9], top_p=[0.5, 1], max_tokens=9)) == [
        {"temperature": 0.2, "top_p": 0.5, "max_tokens": 9},
        {"temperature": 0.9, "top_p": 1, "max_tokens": 9},
    ]


def test_named_cases_carry_their_name():
    assert next(iter(tk.cases(strict={"temperature": 0}))) == {"case": "strict", "temperature": 0}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: tk.grid(temprature=[1]), TypeError, "unknown axis 'temprature': did you mean 'temperature'"),
        (lambda: tk.grid(temperature=[0, 3]), ValueError, "temperature must be a number from 0 to 2, got 3"),
        (lambda: tk.grid(seed=[]), ValueError, "axis 'seed' is empty"),
        (lambda: tk.zipped(seed=[1, 2], top_p=[0.1, 0.2, 0.3]), ValueError, "3 values or one, seed has 2"),
        (lambda: tk.cases({"sed": 1}), TypeError, "unknown axis 'sed': did you mean 'seed'"),
        (lambda: tk.cases(3), TypeError, "a case must be a dict"),
    ],
)
def test_bad_axes_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


class Choice(str, enum.Enum):  # noqa: UP042  # as people write it
    RANDOM = "random"
    END = "END"


@pytest.mark.parametrize(
    ("axes", "values"),
    [
        ({"k": np.arange(2)}, [0, 1]),
        ({"k": pd.Series([0, 1])}, [0, 1]),
        ({"seed": pd.array([0, 1], dtype="Int64")}, [0, 1]),
        ({"order_seed": [np.int8(3), None]}, [3, None]),
        ({"temperature": np.array([0.1, 0.7], np.float32)}, [0.1, 0.7]),
        ({"temperature": pd.Series([0.1, 0.7], dtype="float32")}, [0.1, 0.7]),
        ({"temperature": np.float16(0.7)}, [0.7]),
        ({"stop": [Choice.END, np.str_("a"), [Choice.END]]}, ["END", "a", ["END"]]),
        ({"selector": Choice.RANDOM}, ["random"]),
        ({"selector": [{"name": np.str_("random"), "seed": np.int64(1)}]}, [{"name": "random", "seed": 1}]),
        ({"logit_bias": {np.int64(5): np.float32(0.1)}}, [{"5": 0.1}]),
    ],
    ids=str,
)
def test_values_of_libraries_are_data(axes, values):
    for cells in (tk.grid(**axes), tk.zipped(**axes), tk.cases(*tk.grid(**axes))):
        found = [value for setting in cells for value in setting.values()]
        assert json.dumps(found) == json.dumps(values)


def test_an_axis_of_a_narrow_float_is_the_number_that_it_shows():
    assert tk.Sampling(temperature=np.float32(0.1)) == tk.Sampling(temperature=0.1)
    assert tk.Sampling(logit_bias={1: np.float16(0.1)}).logit_bias == ((1, 0.1),)
    assert tk.Sampling(stop=[Choice.END]).stop == ("END",)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"temperature": [np.nan]}, "temperature must be a number from 0 to 2, got nan"),
        ({"temperature": pd.Series([1, None])}, "temperature must be a number from 0 to 2, got"),
        ({"seed": [pd.NA]}, "seed must be a whole number, got <NA>"),
        ({"k": pd.Series([1, None])}, "k must be a whole number, got 1.0"),
        ({"k": [np.datetime64("NaT")]}, "k must be a whole number"),
        ({"stop": ["a\ud83d"]}, r"stop is not valid Unicode: '\\ud83d' at character 1"),
        ({"bad_words": ["a", "\ud83d"]}, "bad_words is not valid Unicode"),
    ],
    ids=str,
)
def test_missing_and_broken_values_of_an_axis_are_refused(axes, message):
    with pytest.raises(ValueError, match=message):
        tk.grid(**axes)


@given(
    st.lists(st.floats(0, 2), min_size=1, max_size=5),
    st.lists(st.integers(0, 99), min_size=1, max_size=5),
    st.lists(st.floats(-2, 2), min_size=1, max_size=3),
)
def test_grid_equals_itertools_product(temperatures, seeds, penalties):
    cells = tk.grid(temperature=temperatures, seed=seeds, presence_penalty=penalties)
    assert [tuple(c.values()) for c in cells] == list(itertools.product(temperatures, seeds, penalties))
