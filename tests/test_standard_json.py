"""JSON that every parser reads."""

import json
import math

import pytest
from hypothesis import given, strategies as st

from toolkit.results.standard_json import dump_standard, load_standard

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def refuse(name):
    raise AssertionError(f"{name} is not JSON")


@given(VALUES)
def test_any_data_is_standard_json_and_comes_back(value):
    text = dump_standard(value)
    json.loads(text.encode("utf-8"), parse_constant=refuse)
    assert "\n" not in text
    assert repr(load_standard(text)) == repr(value)  # NaN equals nothing, and −0 is 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, '{"$numberDouble": "NaN"}'),
        (math.inf, '{"$numberDouble": "Infinity"}'),
        ([1, -math.inf], '[1, {"$numberDouble": "-Infinity"}]'),
        ({"é": "\u2028"}, '{"é": "\u2028"}'),
        ("\ud83d", r'"\ud83d"'),
        ({"\ude00": math.nan}, r'{"\ude00": {"$numberDouble": "NaN"}}'),
        ("NaN", '"NaN"'),
        (2**70, "1180591620717411303424"),
    ],
    ids=ascii,
)
def test_what_json_lacks(value, text):
    assert dump_standard(value) == text


@pytest.mark.parametrize(
    "text", ['{"$numberDouble": "1"}', '{"$numberDouble": [1]}', '{"$numberDouble": "NaN", "a": 1}']
)
def test_other_objects_stay_objects(text):
    assert load_standard(text) == json.loads(text)


def test_earlier_versions_wrote_bare_constants():
    assert load_standard("[-Infinity]") == [-math.inf]
