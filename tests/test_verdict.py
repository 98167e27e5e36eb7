import dataclasses
import json
import re
import time
from datetime import date
from pathlib import Path
from typing import Literal

import pytest
import regex
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator
from typing_extensions import TypedDict

from toolkit.structured.patterns import matches
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
        ('{"a": 1, "a": 2', {"type": "object"}, "length", "truncated"),
        ('{"a": 1, "a": 2}', {"type": "object"}, "length", "not_json"),
        ('{"a": 1e999}', {"type": "object"}, "length", "not_json"),
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
        ("I'm sorry, but I can't rate films.", SCHEMA, "stop", "refused"),
        ("I am afraid I cannot classify this review.", SCHEMA, "stop", "refused"),
        ("Sorry, we're unable.", SCHEMA, "stop", "not_json"),
        ("Unfortunately, I am unable to access the page.", SCHEMA, "stop", "refused"),
        ("I cannot describe how good it is. Positive.", SCHEMA, "stop", "not_json"),
        ("I'm sorry, I can't recommend it. Negative.", SCHEMA, "stop", "not_json"),
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
        ('{"name": 1e999, "ta', None),
    ],
)
def test_what_could_be_read_of_a_cut_text_is_given(text, value):
    assert verdict(text, SCHEMA, "length").value == value


@pytest.mark.parametrize(
    ("text", "status", "fenced", "message"),
    [
        (
            'Here you are:\n```json\n{"name": "Ann"}\n```\nBye',
            "fenced_json",
            {"name": "Ann"},
            "the JSON is in a fenced block, and conforms",
        ),
        (
            '```json\n{"name": "A"}\n```',
            "fenced_json",
            {"name": "A"},
            "the JSON is in a fenced block, and does not conform; /name: 'A' is too short",
        ),
        ('```\nno\n```\n```json\n{"name": "Bo"}', "fenced_json", {"name": "Bo"}, "and conforms"),
        ('{"name": "Ann"} is it', "not_json", None, "Extra data"),
        ("```\nprose\n```", "not_json", None, "Expecting value"),
    ],
)
def test_a_fenced_block_is_looked_into(text, status, fenced, message):
    found = verdict(text, SCHEMA)
    assert (found.status, found.fenced, found.value, found.valid) == (status, fenced, None, False)
    assert message in str(found)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ('{"a": 1,\n  b}', "Expecting property name enclosed in double quotes: line 2, column 3"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ("[" * 100_000, "it is nested too deeply to be read"),
        ('{"a": 1, "a": 2}', "an object has the key 'a' twice"),
        ('[{"x": [{"b": 1, "a": 1, "b": 1}]}]', "an object has the key 'b' twice"),
        (r'{"a": 1, "\u0061": 1}', "an object has the key 'a' twice"),
        ("1e999", "the number 1e999 is too large for a double"),
        ('{"a": [-1.5e400]}', "the number -1.5e400 is too large for a double"),
        ("1e" + "9" * 5000, f"the number 1e{'9' * 77}… is too large for a double"),
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


def nested(levels, keyword="allOf"):
    """A schema whose check takes 2**levels steps."""
    definitions = {"a0": {"type": "integer"}}
    for i in range(1, levels + 1):
        definitions[f"a{i}"] = {keyword: [{"$ref": f"#/$defs/a{i - 1}"}] * 2}
    return {"$defs": definitions, "$ref": f"#/$defs/a{levels}"}


HOSTILE, LONG = r"^(a|aa)+$", "a" * 60 + "!"
LISTS = {
    "$defs": {"a": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/a"}}] * 2}},
    "$ref": "#/$defs/a",
}


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({"x": LONG}, {"properties": {"x": {"pattern": HOSTILE}}}),
        ({LONG: 1}, {"patternProperties": {HOSTILE: False}}),
        ({LONG: 1}, {"patternProperties": {HOSTILE: True}, "additionalProperties": False}),
        ({LONG: 1}, {"propertyNames": {"pattern": HOSTILE}}),
        ([LONG] * 40, {"items": {"pattern": HOSTILE}}),
        ([LONG], {"contains": {"pattern": HOSTILE}}),
        ([LONG], {"unevaluatedItems": {"pattern": HOSTILE}}),
        (LONG, {"not": {"pattern": HOSTILE}}),
        (1, nested(40)),
        ("x", nested(40, "anyOf")),
        (json.loads("[" * 30 + "1" + "]" * 30), LISTS),
        (
            {"kids": [{"name": LONG}] * 40},
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "properties": {"name": {"pattern": HOSTILE}, "kids": {"items": {"$ref": "#"}}},
            },
        ),
    ],
    ids=range(12),
)
def test_a_check_that_would_take_hours_is_stopped_and_says_so(value, schema, monkeypatch):
    monkeypatch.setattr("toolkit.structured.time_limit.TIME_LIMIT", 0.1)
    found = verdict(json.dumps(value), {"type": "json_schema", "json_schema": {"schema": schema}})
    assert (found.status, found.valid, found.violations) == ("timeout", False, ())
    assert re.search("the check was stopped after .* whether the text conforms is not known", str(found))
    assert "timeout" in found._repr_html_()


def test_a_regex_has_the_time_limit_too_whole_and_truncated(monkeypatch):
    monkeypatch.setattr("toolkit.structured.time_limit.TIME_LIMIT", 0.1)
    form = {"type": "regex", "regex": "(a|aa)+b"}
    assert verdict("a" * 60 + "!", form).status == "timeout"
    assert verdict("a" * 60 + "!", form, "length").status == "timeout"


def test_each_text_has_a_time_limit_of_its_own(monkeypatch):
    monkeypatch.setattr("toolkit.structured.time_limit.TIME_LIMIT", 0.1)
    schema = {"type": "string", "pattern": HOSTILE}
    statuses = [verdict(json.dumps(text), schema).status for text in (LONG, "aaa", LONG, "b")]
    assert statuses == ["timeout", "valid", "timeout", "wrong_schema"]


def test_a_long_ordinary_text_is_checked_within_the_limit():
    names = "abcde"
    item = {
        "type": "object",
        "properties": {name: {"type": "string", "maxLength": 50} for name in names},
        "required": list(names),
        "additionalProperties": False,
    }
    text = json.dumps([dict.fromkeys(names, "hello world")] * 2000)
    assert verdict(text, {"type": "array", "items": item, "uniqueItems": False}).valid


def seconds(work, repeats=3):
    """The shortest computing time of several runs."""
    times = []
    for _ in range(repeats):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return min(times)


OBJECT, DICTS = {"type": "object"}, {"type": "array", "uniqueItems": True}


@pytest.mark.parametrize("reason", ["stop", "length"])
@pytest.mark.parametrize(
    ("text", "form"),
    [
        (lambda n: "\n" * n + "Sure!", OBJECT),
        (lambda n: " \t" * n + "I'm sorry" + " " * n + "x", OBJECT),
        (lambda n: "I can't " + " " * n + "x", OBJECT),
        (lambda n: "I am " + "very " * n, OBJECT),
        (lambda n: "1" * n + "x", OBJECT),
        (lambda n: "-" + "1" * n + "." + "1" * n + "x", OBJECT),
        (lambda n: "```" + "\n" * n + "```", OBJECT),
        (lambda n: "```" + " " * n + "x", OBJECT),
        (lambda n: "```a" * n, OBJECT),
        (lambda n: "```\n" * n + "x" * 100, OBJECT),
        (lambda n: "`" * n, OBJECT),
        (lambda n: "[" * n, OBJECT),
        (lambda n: '{"a":' * n, OBJECT),
        (lambda n: '"' + "\\" * n, OBJECT),
        (lambda n: '{"' + "a" * n + '": 1,', OBJECT),
        (lambda n: json.dumps({str(i): i for i in range(n // 10)}), OBJECT),
        (lambda n: json.dumps([{"a": i, "b": [i]} for i in range(n // 20)]), DICTS),
        (lambda n: json.dumps([[i, {"x": None}] for i in range(n // 20)]), DICTS),
        (lambda n: json.dumps("/" * n), {"type": "string", "format": "iri-reference"}),
        (lambda n: json.dumps("http://" + "ü." * n + "^"), {"type": "string", "format": "iri"}),
        (lambda n: json.dumps("{" * n), {"type": "string", "format": "uri-template"}),
        (lambda n: json.dumps("{a}" * (n // 10)), {"type": "string", "format": "uri-template"}),
        (lambda n: json.dumps("1" * n + "#"), {"type": "string", "format": "relative-json-pointer"}),
        (lambda n: json.dumps("a." * n), {"type": "string", "format": "idn-hostname"}),
        (lambda n: json.dumps("P" + "1Y" * n), {"type": "string", "format": "duration"}),
        (lambda n: json.dumps("(a|" * n), {"type": "string", "format": "regex"}),
    ],
)
def test_time_is_linear_in_the_text(text, form, reason):
    short, long = text(4000), text(32_000)
    # Eight times the text: linear is 8, quadratic 64; what takes less than 20 ms is not measurable.
    assert seconds(lambda: verdict(long, form, reason)) < max(
        0.02, 30 * seconds(lambda: verdict(short, form, reason))
    )


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("^[0-9]{5}$", "12345", True),
        ("^[0-9]{5}$", "12345\n", False),
        ("a$|^b$", "b\n", False),
        (r"^\$$", "$", True),
        ("^[$]$", "$", True),
        (r"^\d+$", "12", True),
        (r"^\d+$", "\u0661\u0662", False),
        (r"^[\d]+$", "\u0661", False),
        (r"^\D$", "\u0661", True),
        (r"^\w+$", "naïve", False),
        (r"^\W$", "é", True),
        (r"^[\w-]+$", "a-b_1", True),
        (r"^[\w-.]+$", "a-.", True),
        (r"^[+-\d]+$", "+-1", True),
        (r"^[+-\d]+$", ",", False),
        (r"^\s$", "\ufeff", True),
        (r"^\s$", "\x85", False),
        (r"^\S$", "\x1c", True),
        (r"\bcat\b", "a cat!", True),
        (r"^\bé", "éa", False),
        (r"a\Bé", "aé", False),
        ("^.$", "\u2028", False),
        ("^.$", "é", True),
        (r"^[^\]]$", "]", False),
        (r"^[]a]$", "]", True),
        (r"^\p{Lu}\p{L}+$", "Łódź", True),
        (r"^\u00e9\x41$", "éA", True),
        (r"^a\Z", "a", False),
        (r"^a\Z", "aZ", True),
        (r"\Aa$", "a", False),
        (r"^\Aa$", "Aa", True),
        (r"^\\Z$", "\\Z", True),
        (r"^\a\G$", "aG", True),
        (r"^\n\t\x41$", "\n\tA", True),
        ("(?m)^a$", "a\nb", True),
        ("(?s)^.$", "\n", True),
    ],
)
def test_patterns_are_read_as_ecma_262_does(pattern, text, fits):
    assert verdict(json.dumps(text), {"type": "string", "pattern": pattern}).valid == fits
    named = {"type": "object", "patternProperties": {pattern: True}, "additionalProperties": False}
    assert verdict(json.dumps({text: 1}), named).valid == fits


@pytest.mark.parametrize(("text", "fits"), [("12345", True), ("12345\n", False), ("\u0661" * 5, False)])
def test_a_regex_reads_digits_as_a_pattern_does(text, fits):
    assert verdict(text, {"type": "regex", "regex": r"^\d{5}$"}).valid == fits


PARTS = [r"\d", r"\w", r"\S", r"\B", r"\b", "[", "[^", "]", "-", "a", "z", "(", ")", "*", "$", "^", ".", "|", r"\.",
         r"\]", r"\\", "{2}", r"\p{L}", "0", "+", r"\x41"]  # fmt: skip


@settings(max_examples=5 * settings.default.max_examples)
@given(parts=st.lists(st.sampled_from(PARTS), max_size=8), text=st.text("az0-$]\n", max_size=6))
def test_every_pattern_of_plain_characters_means_what_it_did(parts, text):
    """Where Python and ECMA-262 agree, on ASCII without a line feed at the end, the same texts match."""
    pattern, text = "".join(parts), text.rstrip("\n")
    try:
        expected = bool(regex.search(pattern, text, regex.ASCII))
    except regex.error:
        return
    assert matches(pattern, text) == expected


@pytest.mark.parametrize(
    ("name", "text", "fits"),
    [
        ("date", "2020-01-01", True),
        ("date", "2020-01-01\n", False),
        ("date", "\u0662\u0660\u0662\u0660-01-01", False),
        ("date-time", "2020-01-01T00:00:00Z", True),
        ("date-time", "2020-01-01T00:00:00Z\n", False),
        ("time", "00:00:00Z\n", False),
        ("duration", "P1Y\n", False),
        ("hostname", "a.b\n", False),
        ("ipv4", "1.2.3.\u0664", False),
        ("uri", "http://x/1", True),
        ("uri", "http://x/1\n", False),
        ("uri-reference", "/x\n", False),
        ("uuid", "1234567\u0668-1234-1234-1234-123456789012", False),
        ("relative-json-pointer", "101/ü", True),
        ("relative-json-pointer", "\u0661/a", False),
        ("relative-json-pointer", "01/a", False),
        ("relative-json-pointer", "1#", True),
        ("relative-json-pointer", "1/~", False),
        ("iri", "http://münchen.de/straße?ü#ß", True),
        ("iri", "http://x/?\ue000", True),
        ("iri", "http://x/\ue000", False),
        ("iri", "ü://x", False),
        ("iri", "http://x:ü/", False),
        ("iri", "/ü", False),
        ("iri-reference", "/ü", True),
        ("iri-reference", "a" * 4000, True),
        ("iri-reference", "ü" * 4000 + "^", False),
        ("uri-template", "/{x}/ü", True),
        ("uri-template", "/{x", False),
        ("regex", "(" * 4000, False),
        ("regex", "a{99999999999999999999}", False),
        ("regex", "a+", True),
    ],
)
def test_formats(name, text, fits):
    assert verdict(json.dumps(text), {"type": "string", "format": name}).valid == fits


@pytest.mark.parametrize(
    ("text", "is_unique"),
    [
        ('[1, true, 0, false, null, "1"]', True),
        ("[1, 1.0]", False),
        ("[[1], [true]]", True),
        ('[{"a": 1, "b": 2}, {"b": 2.0, "a": 1}]', False),
        ('[{"a": 1}, ["a", 1], [["a", 1]]]', True),
        ('[["object", []], {}]', True),
        ("[[], {}]", True),
        ("[9007199254740993, 9007199254740992.0]", True),
    ],
)
def test_equal_items_are_those_of_json_schema(text, is_unique):
    assert verdict(text, DICTS).valid == is_unique


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


@settings(max_examples=3 * settings.default.max_examples)
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
