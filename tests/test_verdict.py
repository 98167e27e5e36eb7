import dataclasses
import json
import time
from datetime import date
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator
from typing_extensions import TypedDict

from toolkit.structured.response_format import response_format
from toolkit.structured.verdict import parsed, verdict


class Person(BaseModel):
    name: str
    age: int = Field(ge=0)

    @field_validator("name")
    @classmethod
    def spoken(cls, value):
        if value.islower():
            raise ValueError("a name begins with a capital letter")
        return value


@dataclasses.dataclass
class Point:
    x: float
    y: float


class Mood(TypedDict):
    mood: Literal["good", "bad"]


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
        "a/b~c": {"type": "integer"},
    },
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "form", "reason", "status"),
    [
        ('{"name": "Ann"}', SCHEMA, "stop", "valid"),
        ('{"name": "Ann"}', SCHEMA, "length", "valid"),
        (' {"name": "Ann"}\n', SCHEMA, "stop", "valid"),
        ('{"name": "Ann", "tags": ["a", "b', SCHEMA, "length", "truncated"),
        ('{"name": "Ann", "tags": ["a", "b', SCHEMA, "stop", "not_json"),
        ('{"name": "Ann"' + " " * 100, SCHEMA, "length", "loop"),
        ('{"name": "' + "ha ha " * 40, SCHEMA, "length", "loop"),
        ('{"name": "ha ha ha ha ha', SCHEMA, "length", "truncated"),
        ('{"name": "Ann"' + " " * 100, SCHEMA, "stop", "not_json"),
        ("The name is Ann.", SCHEMA, "stop", "not_json"),
        ("The name is Ann, who", SCHEMA, "length", "not_json"),
        ('"JSON: {json_', {"type": "string"}, "length", "truncated"),
        ("tru", {"type": "boolean"}, "length", "truncated"),
        ("-", {"type": "integer"}, "length", "truncated"),
        ('```json\n{"name": "An', SCHEMA, "length", "truncated"),
        ('{"hero":[' + '{"name":"Mara","role":"Mara"},' * 50, SCHEMA, "length", "loop"),
        ('{"hero":"' + "I am happy to help with this. " * 20, SCHEMA, "length", "loop"),
        ('{"hero":"' + " ".join(f"word{i}" for i in range(200)), SCHEMA, "length", "truncated"),
        ("", SCHEMA, "stop", "not_json"),
        ('{"name": NaN}', SCHEMA, "stop", "not_json"),
        ("[" * 100_000, SCHEMA, "stop", "not_json"),
        ("[" * 100_000, SCHEMA, "length", "loop"),
        ('{"name": ' + "9" * 5000 + "}", SCHEMA, "stop", "not_json"),
        ("I'm sorry, but I can't help with that.", SCHEMA, "stop", "refused"),
        ("As an AI language model, I have no name.", SCHEMA, "stop", "refused"),
        ("Unfortunately, I can't help.", SCHEMA, "stop", "refused"),
        ("I’m really sorry, but I cannot assist with that.", SCHEMA, "stop", "refused"),
        ("I am unable to provide this.", SCHEMA, "stop", "refused"),
        ("I can't wait to see it again!", SCHEMA, "stop", "not_json"),
        ("I cannot recommend this film enough. Positive.", SCHEMA, "stop", "not_json"),
        ("I'm sorry I missed the start, but positive.", SCHEMA, "stop", "not_json"),
        ('{"price": 19.99}', {"properties": {"price": {"multipleOf": 0.01}}}, "stop", "valid"),
        ("0.35", {"multipleOf": 0.1}, "stop", "wrong_schema"),
        ("9" * 4000, {"multipleOf": 7}, "stop", "wrong_schema"),
        ('{"name": "A"}', SCHEMA, "stop", "wrong_schema"),
        ("[]", SCHEMA, "stop", "wrong_schema"),
        ('{"a": 1}', {"type": "json_object"}, "stop", "valid"),
        ("[1]", {"type": "json_object"}, "stop", "wrong_schema"),
        ("yes", {"type": "choice", "choice": ["yes", "no"]}, "stop", "valid"),
        ("maybe", {"type": "choice", "choice": ["yes", "no"]}, "stop", "wrong_schema"),
        ("ye", {"type": "choice", "choice": ["yes", "no"]}, "length", "truncated"),
        ("I cannot say.", {"type": "choice", "choice": ["yes", "no"]}, "stop", "refused"),
        ("The sky is of course", {"type": "choice", "choice": ["yes", "no"]}, "length", "wrong_schema"),
        ("12-", {"type": "regex", "regex": r"\d\d-\d\d"}, "length", "truncated"),
        ("12+", {"type": "regex", "regex": r"\d\d-\d\d"}, "length", "wrong_schema"),
        ("Łódź", {"type": "regex", "regex": r"\p{Lu}\p{L}+"}, "stop", "valid"),
        ('"Łódź"', {"type": "string", "pattern": r"^\p{Lu}\p{L}+$"}, "stop", "valid"),
        ("12-34", {"type": "regex", "regex": r"\d\d-\d\d"}, "stop", "valid"),
        ("12-345", {"type": "regex", "regex": r"\d\d-\d\d"}, "stop", "wrong_schema"),
        ("x", {"type": "grammar", "grammar": 'root ::= "x"'}, "stop", "valid"),
        ("x", {"type": "grammar", "grammar": 'root ::= "xy"'}, "length", "truncated"),
        ('{"name": "Ann", "age": 3}', Person, "stop", "valid"),
        ('{"name": "ann", "age": 3}', Person, "stop", "wrong_schema"),
        ('{"x": 1, "y": 2.5}', Point, "stop", "valid"),
        ('{"mood": "good"}', Mood, "stop", "valid"),
        ('{"mood": "odd"}', Mood, "stop", "wrong_schema"),
    ],
)
def test_what_became_of_the_form(text, form, reason, status):
    found = verdict(text, form, reason)
    assert found.status == status
    assert found.valid == (status == "valid")
    assert status in str(found)
    assert status in found._repr_html_()


def test_every_violation_is_named_with_its_place():
    text = json.dumps({"name": "A", "tags": ["a", "c"], "a/b~c": 1.5, "more": 0})
    found = {(v.pointer, v.keyword): (v.expected, v.found) for v in verdict(text, SCHEMA).violations}
    assert found == {
        ("/name", "minLength"): (2, "A"),
        ("/tags/1", "enum"): (["a", "b"], "c"),
        ("/a~1b~0c", "type"): ("integer", 1.5),
        ("", "additionalProperties"): (False, {"name": "A", "tags": ["a", "c"], "a/b~c": 1.5, "more": 0}),
    }


def test_a_missing_property_is_named():
    assert str(verdict("{}", SCHEMA)) == "wrong_schema: the root: 'name' is a required property"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"name": "Ann", "tags": ["a", "b', {"name": "Ann", "tags": ["a", "b"]}),
        ('{"name": "Ann", "ta', {"name": "Ann"}),
        ("{", {}),
        ('{"name": "Ann"' + " " * 100, {"name": "Ann"}),
    ],
)
def test_what_could_be_read_of_a_cut_text_is_given(text, value):
    assert verdict(text, SCHEMA, "length").value == value


@pytest.mark.parametrize(
    ("text", "fenced"),
    [
        ('Here you are:\n```json\n{"name": "Ann"}\n```\nBye', {"name": "Ann"}),
        ('```\nno\n```\n```json\n{"name": "Bo"}', {"name": "Bo"}),
        ('{"name": "Ann"} is it', None),
    ],
)
def test_a_fenced_block_is_looked_into(text, fenced):
    found = verdict(text, SCHEMA)
    assert (found.status, found.fenced) == ("not_json", fenced)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ('{"a": 1,\n  b}', "Expecting property name enclosed in double quotes: line 2, column 3"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ("[" * 100_000, "it is nested too deeply to be read"),
    ],
)
def test_why_it_is_no_json_is_said(text, reason):
    assert verdict(text, SCHEMA).reason == reason


def test_types_are_parsed_into_themselves():
    for text, kind, value in (
        ('{"name": "Ann", "age": 3}', Person, Person(name="Ann", age=3)),
        ('{"x": 1, "y": 2}', Point, Point(1, 2)),
        ('{"mood": "bad"}', Mood, {"mood": "bad"}),
        ('{"name": "Ann"}', SCHEMA, {"name": "Ann"}),
        ('{"name": 3}', SCHEMA, None),
    ):
        assert parsed(verdict(text, kind), response_format(kind)) == value


def test_what_a_types_own_validators_say_is_a_violation():
    (found,) = verdict('{"name": "ann", "age": 3}', Person).violations
    assert (found.pointer, found.found) == ("/name", "ann")
    assert "a name begins with a capital letter" in found.message


@pytest.mark.parametrize("keyword", ["pattern", "patternProperties", "additionalProperties"])
def test_a_hostile_pattern_has_a_time_limit(keyword):
    hostile, text = r"^(a|aa)+$", "a" * 60 + "!"
    schema = {
        "pattern": {"properties": {"x": {"pattern": hostile}}},
        "patternProperties": {"patternProperties": {hostile: False}},
        "additionalProperties": {"patternProperties": {hostile: True}, "additionalProperties": False},
    }[keyword]
    began = time.monotonic()
    found = verdict(json.dumps({"x": text, text: 1}), schema)
    assert time.monotonic() - began < 5
    assert found.valid == (keyword == "patternProperties")


def test_a_part_that_names_its_dialect_has_the_time_limit_too():
    dialect = "https://json-schema.org/draft/2020-12/schema"
    name = {"type": "string", "pattern": "^(a|aa)+$"}
    kids = {"type": "array", "items": {"$ref": "#"}}
    schema = {"$schema": dialect, "type": "object", "properties": {"name": name, "kids": kids}}
    began = time.monotonic()
    assert verdict(json.dumps({"kids": [{"name": "a" * 60 + "!"}] * 40}), schema).status == "wrong_schema"
    assert time.monotonic() - began < 10


def test_whatever_a_types_validators_raise_is_a_violation():
    class Odd(BaseModel):
        a: str

        @field_validator("a")
        @classmethod
        def known(cls, value):
            return {"k": 1}[value]

    found = verdict('{"a": "z"}', Odd)
    assert found.status == "wrong_schema"
    assert "KeyError" in found.violations[0].message


def test_strict_types_take_what_json_can_say():
    class Day(BaseModel):
        model_config = ConfigDict(strict=True)
        day: date

    assert parsed(verdict('{"day": "2020-01-01"}', Day), response_format(Day)).day == date(2020, 1, 1)


def test_nothing_is_fetched_from_the_network():
    found = verdict("1", {"$ref": "https://example.org/schema.json"})
    assert found.status == "wrong_schema"
    assert "the schema cannot be followed" in found.violations[0].message


def test_a_schema_that_never_ends_ends():
    assert verdict("1", {"$ref": "#"}).status == "wrong_schema"


@settings(max_examples=300)
@given(
    text=st.one_of(
        st.text(),
        st.text(alphabet='{}[]",:0eE+-.truefalsn\\u \n`', max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
            lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=3), part, max_size=3),
        ).map(json.dumps),
        st.text(alphabet=st.characters(categories=["Cs", "Cc", "Lo"]), max_size=20),
    ),
    form=st.sampled_from([SCHEMA, Person, {"type": "json_object"}, {"type": "regex", "regex": "a+"}, Mood]),
    reason=st.sampled_from(["stop", "length", "tool_calls", "error"]),
    cut=st.integers(0, 200),
)
def test_no_text_makes_a_verdict_raise(text, form, reason, cut):
    for part in (text, text[:cut], text * 30):
        found = verdict(part, form, reason)
        parsed(found, response_format(form))
        str(found)


SCHEMAS = Path(__file__).parent / "schemas"


@pytest.mark.parametrize("file", ["suite.json", "formats.json"])
def test_verdicts_agree_with_the_official_suite(file):
    """JSON-Schema-Test-Suite, Draft 2020-12 (see schemas/README.md)."""
    wrong, checked = [], 0
    for group in json.loads((SCHEMAS / file).read_text()):
        if group["file"] == "format.json":
            continue  # says that formats are annotations unless they are asked for: here they are
        form = response_format({"type": "json_schema", "json_schema": {"schema": group["schema"]}})
        for case in group["tests"]:
            checked += 1
            if verdict(json.dumps(case["data"]), form).valid != case["valid"] and "known" not in case:
                wrong.append((group["file"], group["description"], case["description"]))
    assert wrong == []
    assert checked > 100
