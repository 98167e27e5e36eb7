import dataclasses
import json
import math
from typing import Literal, Optional

import pytest
from pydantic import BaseModel, Field
from reporting_server import ReportingServer

import toolkit as tk
from toolkit.engines.openai_api.dialect import Dialect
from toolkit.engines.openai_api.request_body import check_supported
from toolkit.structured.json_schema import make_strict, pointer
from toolkit.structured.response_format import check_enforceable, response_format
from toolkit.structured.special_tokens import check_special_tokens
from toolkit.structured.strict_schema import strict_violations
from toolkit.tokenizers.huggingface import Tokenizer


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


def nested(levels, name="a"):
    schema = {"type": "string"}
    for _ in range(levels):
        schema = {
            "type": "object",
            "properties": {name: schema},
            "required": [name],
            "additionalProperties": False,
        }
    return schema


def of_lists(levels):
    """An object whose property is a list of lists of …"""
    schema = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return {"type": "object", "properties": {"a": schema}, "required": ["a"], "additionalProperties": False}


def flat(count, **part):
    names = [f"p{i}" for i in range(count)]
    properties = {name: part or {"type": "null"} for name in names}
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "broken"),
    [
        (nested(9), []),
        (nested(10), ["at most 10 levels of nesting are allowed, got 11"]),
        (nested(9, "items"), []),
        (nested(9, "properties"), []),
        (nested(9, "$defs"), []),
        (nested(9, "anyOf"), []),
        (nested(10, "items"), ["at most 10 levels of nesting are allowed, got 11"]),
        (of_lists(8), []),
        (of_lists(9), ["at most 10 levels of nesting are allowed, got 11"]),
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


LOOPS = {
    "itself": {"$ref": "#"},
    "a definition of itself": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
    "two definitions": {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"description": "b", "$ref": "#/$defs/a"}},
    },
    "all of itself": {"type": "object", "allOf": [{"$ref": "#"}]},
    "null or itself": {"anyOf": [{"type": "null"}, {"$ref": "#"}]},
    "not itself": {"not": {"$ref": "#"}},
    "in a property": {"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}},
    "in an item": {"type": "array", "items": {"oneOf": [{"$ref": "#/items"}]}},
    "an escaped name": {"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": {"$ref": "#/$defs/a~1b%20c"}}},
}
ROOT = {"$ref": "#"}
ENDLESS = {
    "a required property": {"type": "object", "properties": {"a": ROOT}, "required": ["a"]},
    "items": {"type": "array", "items": ROOT, "minItems": 1},
    "the second item": {"type": "array", "prefixItems": [{"type": "null"}, ROOT], "minItems": 2},
    "one of two": {
        "type": "object",
        "properties": {"a": {"anyOf": [ROOT, {"type": "array", "items": ROOT, "minItems": 2}]}},
        "required": ["a"],
    },
    "two definitions": {
        "$ref": "#/$defs/a",
        "$defs": {
            "a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/b"}}, "required": ["b"]},
            "b": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]},
        },
    },
    "a part of all": {
        "type": "object", "allOf": [{"type": "object", "properties": {"a": ROOT}, "required": ["a"]}]
    },
    "two types": {
        "type": ["object", "array"], "properties": {"a": ROOT}, "required": ["a"], "items": ROOT, "minItems": 1
    },
}  # fmt: skip
ENDING = {
    "an optional property": {"type": "object", "properties": {"a": ROOT}},
    "null or a required property": {
        "type": "object", "properties": {"a": {"anyOf": [{"type": "null"}, ROOT]}}, "required": ["a"]
    },
    "null as a type": {"type": ["object", "null"], "properties": {"a": ROOT}, "required": ["a"]},
    "any type": {"properties": {"a": ROOT}, "required": ["a"]},
    "a list that may be empty": {"type": "array", "items": ROOT},
    "a long list": {"type": "array", "items": {"type": "null"}, "minItems": 10_000, "maxItems": 10_000},
    "the first item alone": {"type": "array", "prefixItems": [{"type": "null"}, ROOT], "minItems": 1},
    "a value": {
        "type": "object", "properties": {"a": {"$ref": "#/$defs/e"}}, "required": ["a"], "$defs": {"e": {"enum": [1]}}
    },
    "an endless property that may be left out": {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/n"}},
        "$defs": {"n": {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "required": ["a"]}},
    },
    "a tree": {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}},
    "a list": {"type": "object", "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}}},
    "a definition twice": {
        "type": "array", "prefixItems": [{"$ref": "#/$defs/a"}] * 2, "$defs": {"a": {"type": "null"}}
    },
    "two ways": {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "null"}}},
    "an unused loop": {"type": "null", "$defs": {"a": {"$ref": "#/$defs/a"}}},
    "an anchor": {"$ref": "#a", "$defs": {"x": {"$anchor": "a", "type": "null"}}},
    "an address": {"$ref": "https://example.org/a.json"},
    "a property of that name": {"type": "object", "properties": {"$ref": {"type": "string"}}},
    "a part that allows all": {"type": "object", "properties": {"a": True}},
    "everything, in braces": {},
}  # fmt: skip


def form_of(schema):
    return response_format({"type": "json_schema", "json_schema": {"name": "odd", "schema": schema}})


@pytest.mark.parametrize("name", LOOPS)
def test_a_reference_that_leads_back_to_itself_is_refused(name):
    with pytest.raises(
        ValueError, match=r"'odd' cannot be enforced: the reference '#.*' leads back to itself"
    ):
        check_enforceable(form_of(LOOPS[name]))


@pytest.mark.parametrize("name", ENDLESS)
def test_a_schema_whose_answers_never_end_is_refused(name):
    with pytest.raises(
        ValueError, match=r"'odd' cannot be enforced: an answer would never end: .* '#.*' refers"
    ):
        check_enforceable(form_of(ENDLESS[name]))


@pytest.mark.parametrize("levels", [300, 3000, 100_000])
def test_a_schema_of_great_depth_is_refused_wherever_it_is_given(levels):
    schema = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    for use in (
        form_of,
        response_format,
        lambda deep: tk.verdict("{}", deep),
        tk.strict_violations,
        lambda deep: tk.grid(response_format=[deep]),
        lambda deep: tk.Request.chat(
            "Hi", tools=[{"type": "function", "function": {"name": "f", "parameters": deep}}]
        ),
    ):
        with pytest.raises(ValueError, match="no valid JSON Schema: it is nested too deeply"):
            use(schema)


@pytest.mark.parametrize("name", ENDING)
def test_recursion_that_ends_is_none_of_these(name):
    check_enforceable(form_of(ENDING[name]))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (True, "'odd' has the schema True, which allows everything: give one with a type"),
        (False, "'odd' has the schema False, which allows nothing"),
        ({"const": math.nan}, "'odd' has NaN or Infinity in its schema, which are no JSON"),
        ({"enum": [1, -math.inf]}, "'odd' has NaN or Infinity in its schema, which are no JSON"),
        (
            {"type": "number", "maximum": math.inf},
            "'odd' has NaN or Infinity in its schema, which are no JSON",
        ),
        (
            {"$ref": "#/$defs/b", "$defs": {"a": {}}},
            "the reference '#/\\$defs/b' refers to nothing in the schema",
        ),
        (
            {"type": "array", "maxItems": 10**9},
            "'odd' has maxItems 1000000000, and a grammar holds at most 10,000",
        ),
        ({"type": "array", "minItems": 10_001}, "'odd' has minItems 10001, and a grammar holds"),
        (
            {"type": "object", "properties": {"a": {"items": {"maxItems": 10**6}}}},
            "maxItems 1000000, and a grammar",
        ),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"maxItems": 1e9}}},
            "has maxItems 1000000000.0, and a grammar",
        ),
        ({"allOf": [{"$ref": "#/allOf/7"}]}, "the reference '#/allOf/7' refers to nothing"),
        ({"items": {"$ref": "#/title/x"}, "title": "t"}, "the reference '#/title/x' refers to nothing"),
    ],
)
def test_what_constrains_nothing_or_refers_to_nothing_is_refused(schema, message):
    with pytest.raises(ValueError, match=message):
        check_enforceable(form_of(schema))


@pytest.mark.parametrize(
    ("form", "anchor"),
    [
        ({"type": "string", "pattern": r"^a\Z"}, "Z"),
        ({"type": "object", "properties": {"b": {"items": {"pattern": r"\Aa$"}}}}, "A"),
        ({"type": "object", "patternProperties": {r"^a\Z": True}}, "Z"),
        ({"type": "regex", "regex": r"^a\Z"}, "Z"),
    ],
)
def test_an_anchor_of_python_is_refused(form, anchor):
    """Grammars, and the verdict, take it for a letter."""
    with pytest.raises(
        ValueError, match=rf"the pattern '.*' has \\{anchor}, which stands for the letter {anchor} in"
    ):
        check_enforceable(response_format(form))


def test_a_schema_that_is_nested_too_deeply_is_refused():
    schema = {}
    for _ in range(5000):
        schema = {"items": schema}
    for given in (schema, {"type": "json_schema", "json_schema": {"schema": schema}}):
        with pytest.raises(ValueError, match="no valid JSON Schema: it is nested too deeply"):
            response_format(given)


def test_other_formats_are_enforceable():
    for form in (
        {"type": "regex", "regex": r"^a\\Z[A-Z]$"},
        {"type": "object", "properties": {"pattern": {"type": "string", "pattern": "^[A-Z]$"}}},
        {"type": "json_object"},
        {"type": "choice", "choice": ["a"]},
        {"type": "regex", "regex": "a"},
    ):
        check_enforceable(response_format(form))


BAD = [True, LOOPS["itself"], LOOPS["two definitions"], ENDLESS["a required property"], ENDLESS["items"]]


@pytest.mark.parametrize("schema", BAD, ids=str)
def test_an_engine_refuses_it_at_once_and_answers_the_others(tiny, schema):
    requests = [tk.Request.chat("Hi", max_tokens=2, response_format=form_of(s)) for s in (schema, CLOSED)]
    by_format = {c.request.response_format.value: c.error for c in tiny.generate(requests)}
    assert by_format.pop(json.dumps(schema)).startswith("response_format 'odd'")
    assert list(by_format.values()) == [None]


@pytest.mark.parametrize("vllm", [True, False])
@pytest.mark.parametrize("schema", BAD, ids=str)
def test_a_server_is_not_asked_for_it(schema, vllm):
    request = tk.Request.chat("Hi", response_format=form_of(schema)).resolve({})
    with pytest.raises(ValueError, match=r"response_format 'odd' (cannot be enforced|has the schema True)"):
        check_supported(request, Dialect(vllm=vllm))


def test_a_forced_tool_whose_schema_never_ends_is_not_asked_for():
    tool = {"type": "function", "function": {"name": "f", "parameters": {"$ref": "#"}}}
    request = tk.Request.chat("Hi", tools=[tool], tool_choice="f").resolve({})
    with pytest.raises(ValueError, match="response_format 'f' cannot be enforced: the reference"):
        check_supported(request, Dialect(vllm=True))


SPECIAL = ("<|im_end|>", "<|im_start|>", "</s>", "[INST]")
WITH_NAME = {
    "a choice": {"type": "choice", "choice": ["<|im_end|>"]},
    "one of several": {"type": "choice", "choice": ["yes", "no<|im_end|>!"]},
    "another token": {"type": "choice", "choice": ["</s>", "a"]},
    "a value": {"enum": ["a", "<|im_start|>"]},
    "a constant": {"const": {"a": ["<|im_end|>"]}},
    "a key of one": {"const": {"<|im_end|>": 1}},
    "a property": {"type": "object", "properties": {"<|im_end|>": {"type": "integer"}}},
    "a definition": {"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"enum": ["</s>"]}}},
    "a pattern": {"type": "string", "pattern": r"^<\|im_end\|>$"},
    "a regex": {"type": "regex", "regex": r"(yes|<\|im_end\|>)"},
    "brackets in a regex": {"type": "regex", "regex": r"\[INST\]"},
    "a grammar": {"type": "grammar", "grammar": 'root ::= "<|im_end|>" | "a"'},
}
WITHOUT_NAME = {
    "choices": {"type": "choice", "choice": ["<|im_end", "im_end|>", "<s>"]},
    "a title": {"type": "object", "title": "<|im_end|>", "description": "not <|im_end|>"},
    "alternatives": {"type": "regex", "regex": "<|im_end|>"},  # of three texts
    "a class": {"type": "regex", "regex": "[INST]"},
    "JSON": {"type": "json_object"},
}


@pytest.mark.parametrize("name", WITH_NAME)
def test_a_response_format_with_the_name_of_a_special_token_is_refused(name):
    with pytest.raises(
        ValueError,
        match=r"the response_format '.*' has '(<\|im_.*\|>|</s>|\[INST\])', the name of a special token",
    ):
        check_special_tokens(response_format(WITH_NAME[name]), SPECIAL)


@pytest.mark.parametrize("name", WITHOUT_NAME)
def test_what_an_answer_need_not_write_is_none_of_these(name):
    check_special_tokens(response_format(WITHOUT_NAME[name]), SPECIAL)


def test_a_choice_that_is_the_name_of_a_special_token_is_named(tiny):
    for name in ("a choice", "one of several", "a value", "a property", "a regex", "a grammar"):
        with pytest.raises(
            tk.RequestError, match=r"'<\|im_.*\|>', the name of a special token of this model"
        ):
            tiny.chat("Hi", response_format=WITH_NAME[name], temperature=0)


def test_a_server_is_not_asked_for_the_name_of_a_special_token():
    tokenizer = Tokenizer(tk.models.path())
    with ReportingServer() as server, tk.connect(server.url) as engine:
        engine.chat("Hi")
        engine._server = dataclasses.replace(engine._server, tokenizer=tokenizer)
        number = len(server.asked)
        for form in WITH_NAME["a choice"], WITH_NAME["a value"]:
            with pytest.raises(tk.RequestError, match="the name of a special token of this model"):
                engine.chat("Hi", response_format=form)
        assert len(server.asked) == number
