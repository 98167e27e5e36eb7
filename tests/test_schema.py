import dataclasses
import json
from typing import Literal, Optional

import pytest
from pydantic import BaseModel, Field

import toolkit as tk
from toolkit.structured.json_schema import make_strict, pointer
from toolkit.structured.response_format import response_format
from toolkit.structured.strict_schema import strict_violations


class Step(BaseModel):
    text: str
    kind: Literal["a", "b"] = "a"


class Plan(BaseModel):
    title: str
    steps: list[Step] = Field(max_length=3)
    note: Optional[str] = None  # noqa: UP045  # as many write it


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0


CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("given", "kind", "name"),
    [
        ({"type": "json_object"}, "json_object", "json_object"),
        ({"type": "json_schema", "json_schema": {"name": "mine", "schema": CLOSED}}, "json_schema", "mine"),
        ({"type": "json_schema", "json_schema": {"schema": {**CLOSED, "title": "T"}}}, "json_schema", "T"),
        (CLOSED, "json_schema", "schema"),
        ({"type": "array", "items": {}}, "json_schema", "schema"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {}}}, "json_schema", "schema"),
        ({"type": ["string", "null"]}, "json_schema", "schema"),
        ({"type": "choice", "choice": ["a", "b"]}, "choice", "choice"),
        ({"type": "regex", "regex": "a+"}, "regex", "regex"),
        ({"type": "grammar", "grammar": 'root ::= "a"'}, "grammar", "grammar"),
        (Plan, "json_schema", "Plan"),
        (Point, "json_schema", "Point"),
    ],
)
def test_forms_are_known_by_what_people_write(given, kind, name):
    form = response_format(given)
    assert (form.kind, str(form)) == (kind, name)
    assert response_format(form) is form
    again = response_format(json.loads(json.dumps(form.to_openai())))
    assert again == form
    assert hash(again) == hash(form)


@pytest.mark.parametrize("given", [None, {"type": "text"}])
def test_text_is_no_form(given):
    assert response_format(given) is None


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"type": "json_shema"},
            ValueError,
            "unknown type of response_format 'json_shema': did you mean 'json_schema'",
        ),
        ({"type": "json_schema"}, ValueError, "of type 'json_schema' must have 'json_schema'"),
        (
            {"type": "json_schema", "json_schema": {"name": "x"}},
            ValueError,
            "json_schema must have a 'schema'",
        ),
        ({"type": "choice", "choice": []}, ValueError, "choice must be a list of texts"),
        ({"type": "regex", "regex": 3}, ValueError, "regex must be a non-empty text, got 3"),
        (
            {"type": "object", "properties": {"a": {"type": "strnig"}}},
            ValueError,
            "no valid JSON Schema: .*at /properties/a",
        ),
        ({"type": "string", "maxLength": "5"}, ValueError, "'5' is not of type 'integer' .at /maxLength"),
        ("json", TypeError, "response_format must be a dict such as"),
        ({"type": "json_object", "schema": CLOSED}, ValueError, "of type 'json_object' has no 'schema'"),
        (
            {"name": "x", "schema": CLOSED},
            ValueError,
            "a JSON Schema with 'name', 'schema' alone allows everything",
        ),
        (
            {"type": "json_schema", "json_schema": {"schema": CLOSED, "strikt": True}},
            ValueError,
            "unknown key of json_schema 'strikt': did you mean 'strict'",
        ),
        ({"type": "string", "pattern": "("}, ValueError, "the pattern '.' is no regex"),
        (int, TypeError, "must be a pydantic model, a dataclass or a TypedDict, got <class 'int'>"),
    ],
)
def test_what_is_no_form_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        response_format(given)


def test_a_types_schema_is_strict_and_keeps_its_order():
    schema = response_format(Plan).schema
    assert list(schema["properties"]) == schema["required"] == ["title", "steps", "note"]
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Step"]["required"] == ["text", "kind"]
    assert "default" not in json.dumps(schema)
    assert strict_violations(Plan) == []


def test_strict_does_not_touch_values():
    schema = {
        "type": "object",
        "properties": {"default": {"const": {"default": 1}}, "e": {"enum": [{"type": "object"}]}},
    }
    made = make_strict(schema)
    assert made["properties"] == schema["properties"]
    assert made["required"] == ["default", "e"]


@pytest.mark.parametrize(
    ("schema", "broken"),
    [
        (CLOSED, []),
        ({"type": "array", "items": {}}, ["the root must have type object, got 'array'"]),
        (
            {**CLOSED, "anyOf": [CLOSED, {"type": "object"}]},
            [
                "the root must not be a union (anyOf)",
                "/anyOf/1: an object must have additionalProperties: false",
            ],
        ),
        (
            {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "required": ["b"]},
            [
                "the root: an object must have additionalProperties: false",
                "the root: all properties must be required, 'a', 'c' not",
            ],
        ),
        (
            {**CLOSED, "properties": {"a": {"type": "array", "uniqueItems": True, "items": {"not": {}}}}},
            ["/properties/a: uniqueItems is not supported", "/properties/a/items: not is not supported"],
        ),
        (
            {**CLOSED, "properties": {"a": {"$ref": "https://example.org/a.json"}}},
            ["/properties/a: $ref must be local, got 'https://example.org/a.json'"],
        ),
        (
            {**CLOSED, "$defs": {"x/y": {"type": "object", "properties": {}}}},
            ["/$defs/x~1y: an object must have additionalProperties: false"],
        ),
    ],
)
def test_all_broken_rules_of_strict_mode_are_named_at_once(schema, broken):
    assert strict_violations(schema) == broken


def nested(levels):
    schema = {"type": "string"}
    for _ in range(levels):
        schema = {
            "type": "object",
            "properties": {"a": schema},
            "required": ["a"],
            "additionalProperties": False,
        }
    return schema


def flat(count, **part):
    names = [f"p{i}" for i in range(count)]
    properties = {name: part or {"type": "null"} for name in names}
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "broken"),
    [
        (nested(9), []),
        (nested(10), ["at most 10 levels of nesting are allowed, got 11"]),
        (flat(5000), []),
        (flat(5001), ["at most 5,000 properties are allowed, got 5,001"]),
        (flat(1, enum=list(range(1001))), ["at most 1,000 enum values are allowed, got 1,001"]),
        (
            flat(1, enum=["x" * 120_000]),
            ["at most 120,000 characters of names and values are allowed, got 120,002"],
        ),
    ],
)
def test_limits_of_strict_mode(schema, broken):
    assert strict_violations(schema) == broken


def test_only_a_schema_can_be_strict():
    with pytest.raises(ValueError, match="only a JSON Schema can be strict"):
        strict_violations({"type": "regex", "regex": "a"})


def test_pointers_are_escaped_as_the_standard_says():
    assert pointer(["a/b", "c~d", 0]) == "/a~1b/c~0d/0"


def test_the_order_of_properties_is_part_of_what_is_asked():
    from toolkit.core.request import Request

    one, other = ({"type": "object", "properties": {n: {} for n in names}} for names in ("ab", "ba"))
    keys = {Request.chat("x", response_format=f).key for f in (None, one, other)}
    assert len(keys) == 3


def test_json_mode_is_refused_when_no_message_says_json():
    with pytest.raises(ValueError, match="JSON mode needs the word JSON somewhere in the messages"):
        tk.Request.chat("Name a colour.", response_format={"type": "json_object"})
    assert tk.Request.chat("Name a colour, as json.", response_format={"type": "json_object"})
    assert tk.Request.chat("Name a colour.", response_format=CLOSED)
