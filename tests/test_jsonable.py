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
from toolkit._internal.jsonable import (
    data_value,
    holds_missing,
    is_missing,
    library_value,
    name_or_text,
    to_plain,
)
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


class Letter(str, enum.Enum):  # noqa: UP042  # its text is Letter.A, that of a StrEnum its value
    A = "a"


def function():
    """Has a name."""


VALUES = {
    "int64": (np.int64(3), 3),
    "float32": (np.float32(0.5), 0.5),
    "float64": (np.float64(0.1), 0.1),
    "float32 that has no short binary form": (np.float32(0.1), 0.1),
    "float16": (np.float16(0.1), 0.1),
    "long double": (np.longdouble("0.1"), 0.1),
    "bool": (np.bool_(True), True),
    "text": (np.str_("a"), "a"),
    "array": (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    "array without dimensions": (np.array(1.5), 1.5),
    "array of float32": (np.array([[0.1, 0.7]], np.float32), [[0.1, 0.7]]),
    "array of times": (np.array(["2020-01-01", "NaT"], "M8[ns]"), ["2020-01-01T00:00:00", None]),
    "masked array": (np.ma.array([1, 2], mask=[False, True]), [1, None]),
    "column of float32": (pd.Series([0.1, None], dtype="float32")[:1], [0.1]),
    "nullable column": (pd.Series([0.1, None], dtype="Float32"), [0.1, None]),
    "times of an index": (pd.DatetimeIndex(["2020-01-01"], tz="UTC"), ["2020-01-01T00:00:00+00:00"]),
    "list of library numbers": ([np.float64(0.5), np.int8(1)], [0.5, 1]),
    "array of objects": (np.array([Decimal("1"), pd.NA], object), ["1", None]),
    "column": (pd.Series([1, 2]), [1, 2]),
    "column of times": (pd.Series(pd.to_datetime(["2020-01-01", None])), ["2020-01-01T00:00:00", None]),
    "NA": (pd.NA, None),
    "NaT": (pd.NaT, None),
    "NumPy's masked": (np.ma.masked, None),
    "NumPy's NaT": (np.datetime64("NaT"), None),
    "date": (datetime.date(2020, 1, 2), "2020-01-02"),
    "datetime": (datetime.datetime(2020, 1, 2, 3, 4), "2020-01-02T03:04:00"),
    "time": (datetime.time(3, 4), "03:04:00"),
    "Timestamp": (pd.Timestamp("2020-01-02", tz="UTC"), "2020-01-02T00:00:00+00:00"),
    "datetime64": (np.datetime64("2020-01-02"), "2020-01-02"),
    "datetime64 in nanoseconds": (np.datetime64("2020-01-02T03:04", "ns"), "2020-01-02T03:04:00"),
    "datetime64 with nanoseconds": (np.datetime64(1, "ns"), "1970-01-01T00:00:00.000000001"),
    "datetime64 after Python's years": (np.datetime64("20000-01-01"), "20000-01-01"),
    "decimal that is none": (Decimal("NaN"), None),
    "NumPy's missing duration": (np.timedelta64("NaT"), None),
    "decimal": (Decimal("0.10"), "0.10"),
    "path": (PurePosixPath("/a/b"), "/a/b"),
    "member": (Mood.GOOD, "good"),
    "member that is a tuple": (Mood.BOTH, ["good", 1]),
    "member that is a number": (Number.ONE, 1),
    "member that is a text": (Word.YES, "yes"),
    "member of a text's subclass": (Letter.A, "a"),
    "member in a list": ([Letter.A, Number.ONE], ["a", 1]),
    "member as a key": ({Letter.A: Letter.A}, {"a": "a"}),
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
    np.timedelta64(1, "ns"),
    np.array([1], "m8[ns]"),
    pd.DataFrame({"a": [1]}),
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
    if holds_missing(data):  # it would be sent as the words None and nan
        with pytest.raises(
            ValueError, match=r"row 0: the row has (no value for|a missing value in) 'x', got"
        ):
            tk.sweep("{x}", [{"x": value}])
        with pytest.raises(ValueError, match=r"examples\[0\] has (no value for|a missing value in) 'x', got"):
            tk.Prompt("{x}", examples=[{"x": value, "answer": "a"}])
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


@pytest.mark.parametrize(
    ("values", "dtype", "data"),
    [
        ([1, None, 3], None, [1, None, 3]),  # pandas makes floats of them
        ([1, None, 2**53], None, [1, None, 2**53]),
        ([1.5, None, 3], None, [1.5, None, 3.0]),
        ([1.0, 2.0], None, [1.0, 2.0]),
        ([1, None, np.inf], None, [1.0, None, np.inf]),
        ([1, None, 1e300], None, [1.0, None, 1e300]),
        ([1, None], "Int64", [1, None]),
        ([1, None], "Float64", [1.0, None]),
        ([0.1, 0.5], "float32", [0.1, 0.5]),
        ([0.1, None], "Float32", [0.1, None]),
        ([0.1, None], "float[pyarrow]", [0.1, None]),
        ([True, None], None, [True, None]),
        (["a", None], None, ["a", None]),
        (["a", None], "category", ["a", None]),
        (["2020-01-01", None], "datetime64[ns]", ["2020-01-01T00:00:00", None]),
        (["2020-01-01", None], "datetime64[ns, UTC]", ["2020-01-01T00:00:00+00:00", None]),
        ([2**63 - 1, -(2**63)], None, [2**63 - 1, -(2**63)]),
    ],
)
def test_a_column_has_the_types_that_it_had_before(values, dtype, data):
    rows = as_rows(pd.DataFrame({"x": pd.Series(values, dtype=dtype)}))
    found = [None if is_missing(row["x"]) else row["x"] for row in rows]
    assert found == data
    assert list(map(type, found)) == list(map(type, data))


@given(st.lists(st.integers(-(2**53), 2**53) | st.none(), min_size=1))
def test_whole_numbers_with_gaps_are_whole(values):
    rows = as_rows(pd.DataFrame({"x": pd.Series(values, dtype="float64" if None in values else "int64")}))
    assert [None if is_missing(row["x"]) else repr(row["x"]) for row in rows] == [
        v if v is None else repr(v) for v in values
    ]


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (
            pd.DataFrame([[1, 2]], columns=["a", "a"]),
            ValueError,
            "rows has several columns named 'a': rename",
        ),
        ([{"1": "a", 1: "b"}], ValueError, r"rows\[0\] has two values for '1'"),
        (7, TypeError, "rows must be a list of dicts or a data frame, got 7"),
        ([{"a": 1}, None], TypeError, r"rows\[1\] must be a dict of variable → value, got None"),
        (
            [{"a": {"b": [function]}}],
            ValueError,
            r"rows\[0\] has 'a' of type dict, which a store cannot keep",
        ),
    ],
    ids=["columns", "names", "number", "none", "nested"],
)
def test_what_are_no_rows_is_named(rows, error, message):
    with pytest.raises(error, match=message):
        as_rows(rows)


def test_rows_of_a_data_frame_and_iterables_are_rows():
    frame = pd.DataFrame({"a": [1, 2]})
    assert as_rows([frame.iloc[0], {"a": 2}]) == as_rows(frame) == as_rows({"a": i} for i in (1, 2))


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


def _nested(depth):
    value = [1]
    for _ in range(depth):
        value = [value]
    return value


def _cyclic():
    value = {"a": 1}
    value["self"] = value
    return value


@pytest.mark.parametrize("value", [_nested(5000), {"a": _nested(5000)}, _cyclic(), [_cyclic()]])
def test_data_that_holds_itself_or_is_nested_too_deeply(value):
    with pytest.raises(ValueError, match="is nested too deeply to be data, or holds itself"):
        data_value(value)
    with pytest.raises(ValueError, match=r"rows\[0\]"):
        tk.sweep("{x}", [{"x": "a", "y": value}])


def test_a_signalling_nan_is_missing():
    assert data_value([Decimal("sNaN"), Decimal("NaN"), Decimal("1.10")]) == [None, None, "1.10"]


@pytest.mark.parametrize(
    "value",
    [
        {1: "a", "1": "b"},
        {True: 1, "true": 2},
        {None: 1, "null": 2},
        {1.5: 1, "1.5": 2},
        {np.int64(1): 1, "1": 2},
        {"a": [1, {"b": {2: 1, "2": 2}}]},
    ],
)
def test_keys_that_json_cannot_tell_apart_are_refused(value):
    for place in (value, [value], (np.float32(0.1), value)):
        with pytest.raises(ValueError, match=r"the keys .* and '.*' have the same name in JSON: rename one"):
            data_value(place)
    with pytest.raises(ValueError, match=r"rows\[1\].*'y'.*have the same name in JSON"):
        tk.sweep("{x}", [{"x": "a"}, {"x": "a", "y": value}])


@pytest.mark.parametrize("value", [{1: 2}, {"1": 2, 2: 3}, {True: 1, "True": 2}, {None: 1, "None": 2}, {}])
def test_other_keys_stay(value):
    assert data_value(value) == value
