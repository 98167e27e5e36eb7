"""Values of Python, NumPy and pandas as JSON data: in rows, examples, labels, exports, widgets and fingerprints."""

import collections
import datetime
import enum
import functools
import json
import math
import types
from decimal import Decimal
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

import toolkit as tk
from toolkit._internal.hashing import digest
from toolkit._internal.jsonable import library_value, name_or_text, to_plain
from toolkit.experiments.classify import _label_texts
from toolkit.experiments.sweep import as_rows
from toolkit.results.export import _plain
from toolkit.widgets.base import plain


class Mood(enum.Enum):
    GOOD = "good"
    BOTH = ("good", 1)


class Number(enum.IntEnum):
    ONE = 1


class Word(enum.StrEnum):
    YES = "yes"


def function():
    """Has a name."""


VALUES = {
    "int64": (np.int64(3), 3),
    "float32": (np.float32(0.5), 0.5),
    "float64": (np.float64(0.1), 0.1),
    "bool": (np.bool_(True), True),
    "text": (np.str_("a"), "a"),
    "array": (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    "array without dimensions": (np.array(1.5), 1.5),
    "array of objects": (np.array([Decimal("1"), pd.NA], object), ["1", None]),
    "column": (pd.Series([1, 2]), [1, 2]),
    "column of times": (pd.Series(pd.to_datetime(["2020-01-01", None])), ["2020-01-01T00:00:00", None]),
    "NA": (pd.NA, None),
    "NaT": (pd.NaT, None),
    "NumPy's NaT": (np.datetime64("NaT"), None),
    "date": (datetime.date(2020, 1, 2), "2020-01-02"),
    "datetime": (datetime.datetime(2020, 1, 2, 3, 4), "2020-01-02T03:04:00"),
    "time": (datetime.time(3, 4), "03:04:00"),
    "Timestamp": (pd.Timestamp("2020-01-02", tz="UTC"), "2020-01-02T00:00:00+00:00"),
    "datetime64": (np.datetime64("2020-01-02"), "2020-01-02"),
    "decimal": (Decimal("0.10"), "0.10"),
    "path": (PurePosixPath("/a/b"), "/a/b"),
    "member": (Mood.GOOD, "good"),
    "member that is a tuple": (Mood.BOTH, ["good", 1]),
    "member that is a number": (Number.ONE, 1),
    "member that is a text": (Word.YES, "yes"),
    "mapping": (types.MappingProxyType({1: np.int64(2)}), {"1": 2}),
    "nested": ({"a": [(np.float32(0.5), {"b": pd.NA})]}, {"a": [[0.5, {"b": None}]]}),
}
"""Values, and the data that they become wherever people give them."""
NOT_DATA = [
    function,
    len,
    Mood,
    np.float32,
    {1, 2},
    frozenset("a"),
    b"ab",
    object(),
    datetime.timedelta(1),
    1j,
]


@pytest.mark.parametrize("name", VALUES)
def test_a_value_becomes_data(name):
    value, data = VALUES[name]
    converted = to_plain(value, library_value)
    assert converted == data
    assert json.loads(json.dumps(converted, allow_nan=False)) == data
    assert to_plain(converted, library_value) == data


@pytest.mark.parametrize("value", NOT_DATA, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("place", [lambda v: v, lambda v: [v], lambda v: {"a": (v,)}])
def test_what_is_no_data_is_refused(value, place):
    with pytest.raises(TypeError, match="is not data, got"):
        to_plain(place(value), library_value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda items: st.lists(items) | st.dictionaries(st.text(), items),
    max_leaves=20,
)


@given(JSON)
def test_json_data_stays_as_it_is(value):
    for fallback in (library_value, name_or_text):
        assert to_plain(value, fallback) == value
        assert digest(to_plain(value, fallback)) == digest(value)


@given(JSON, st.sampled_from(sorted(VALUES)))
def test_a_value_becomes_the_same_data_at_any_depth(around, name):
    value, data = VALUES[name]
    assert to_plain([around, {"a": (around, value)}], library_value) == [around, {"a": [around, data]}]


def test_missing_floats_stay_floats():
    assert math.isnan(to_plain([np.float32("nan")], library_value)[0])


# Where people give values


@pytest.mark.parametrize("name", [*VALUES])
def test_rows_examples_and_documents_take_the_same_values(name):
    value, data = VALUES[name]
    (row,) = as_rows([{"x": value}])
    assert json.loads(json.dumps(row["x"])) == data
    if data is None:
        return
    prompt = tk.Prompt("{x} {documents}", examples=[{"x": value, "answer": "a"}], documents=[{"text": value}])
    sweep = tk.sweep(prompt, [{"x": value}])
    ((request, _),) = sweep.requests({})
    example, question = (request.messages[i]["content"] for i in (0, -1))
    assert question.startswith(example)  # both are written alike
    (stored,) = sweep.workload.prompts
    assert json.loads(json.dumps(stored))["examples"] == [{"x": data, "answer": "a"}]


def test_lists_and_dicts_that_json_can_hold_keep_their_text():
    for value in [(1, 2), {1: "a"}, [1, {"b": (2,)}]]:
        (row,) = as_rows([{"x": value}])
        assert row["x"] is value


@pytest.mark.parametrize("value", NOT_DATA, ids=lambda value: type(value).__name__)
def test_what_a_store_cannot_keep_is_named(value):
    with pytest.raises(ValueError, match=r"rows\[1\] has 'x' of type \w+, which a store cannot keep"):
        tk.sweep("{x}", [{"x": 1}, {"x": value}])
    with pytest.raises(ValueError, match=r"examples\[0\] has 'x' of type \w+, which a store cannot keep"):
        tk.sweep(tk.Prompt("Hi", examples=[{"x": value, "answer": "a"}], answer="{answer}"))


def test_prompts_with_such_values_are_an_axis():
    prompts = [tk.Prompt("{x}", examples=[{"x": np.int64(i), "answer": pd.NA}], answer="a") for i in (1, 2)]
    assert len(tk.sweep(None, [{"x": 1}], tk.grid(prompt=prompts)).prompts) == 2


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_a_prompt_with_such_values_is_saved(kind, tmp_path):
    values = {f"x{i}": value for i, (value, _) in enumerate(VALUES.values())}
    prompt = tk.Prompt("Hi", examples=[{**values, "answer": "a"}], answer="{answer}")
    (example,) = tk.Prompt.load(prompt.save(tmp_path / f"prompt.{kind}")).examples
    assert example == {**{f"x{i}": data for i, (_, data) in enumerate(VALUES.values())}, "answer": "a"}


class Letters:
    """An engine that encodes each letter."""

    def encode(self, request):
        return (0, *map(ord, request.prefix))


@pytest.mark.parametrize(
    ("labels", "texts"),
    [
        ([Mood.GOOD, Word.YES], {"good": "good", "yes": "yes"}),
        ({np.int64(1): "a", Number.ONE + 1: "b"}, {1: "a", 2: "b"}),
        ({Mood.GOOD: np.str_("a"), datetime.date(2020, 1, 2): "b"}, {"good": "a", "2020-01-02": "b"}),
    ],
)
def test_labels_take_the_same_values(labels, texts):
    assert _label_texts(Letters(), labels) == texts


# Where they are shown and kept


@pytest.mark.parametrize("name", VALUES)
def test_exports_and_widgets_show_the_same_data(name):
    value, data = VALUES[name]
    if not isinstance(
        value, pd.Series | np.ndarray | dict | types.MappingProxyType
    ):  # as cells of a table are
        assert _plain(value) == data
    shown = str(value) if isinstance(value, datetime.date) and data is not None else data
    assert plain(value) == shown


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ({3}, [3]),
        (range(2), [0, 1]),
        (collections.deque([np.int64(1)]), [1]),
        ([function, object], [str(function), "<class 'object'>"]),
        ({"a": {np.float32("inf")}}, {"a": [None]}),
        (["\ud83d"], ["?"]),
        (datetime.timedelta(1), "1 day, 0:00:00"),
    ],
)
def test_widgets_show_anything(value, data):
    assert plain(value) == data


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (function, f"{__name__}.function"),
        (functools.wraps, "functools.wraps"),
        (Mood, f"{__name__}.Mood"),
        (Mood.GOOD, "Mood.GOOD"),
        (Number.ONE, 1),
        (np.int64(3), "3"),
        (np.float64(0.5), 0.5),
        (pd.Timestamp("2020-01-02"), "2020-01-02 00:00:00"),
        (Decimal("0.10"), "0.10"),
        (pd.NA, "<NA>"),
        (PurePosixPath("/a"), "/a"),
        ({10, 9}, ["10", "9"]),
        ({1: (None, {"b", "a"})}, {"1": [None, ["a", "b"]]}),
    ],
)
def test_fingerprints_have_what_earlier_versions_wrote(value, data):
    assert to_plain(value, name_or_text) == data
