import contextlib
import json
import sys
import time
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

import toolkit as tk
from toolkit.structured.time_limit import TIME_LIMIT, OutOfTime, interrupting, time_limit
from toolkit.structured.tools import (
    ToolCall,
    calls_schema,
    required_calls,
    run_call,
    tool,
    tool_choice,
    tools,
)


def weather(city: str, unit: Literal["C", "F"] = "C", days: int = 1) -> dict:
    """The weather of a city.

    Looks it up in a table.

    Args:
        city: Name of the city.
        unit: Of the temperature.
    """
    return {"city": city, "degrees": 20 + days, "unit": unit}


def add(a: int, b: int) -> int:
    """Adds two numbers.

    :param a: The first.
    """
    return a + b


def fail(why: str) -> str:
    "Fails."
    raise RuntimeError(why)


KNOWN = tools([weather, add, fail])


def test_a_typed_function_becomes_a_tool():
    assert tool(weather).to_openai() == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city. Looks it up in a table.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Name of the city."},
                    "unit": {"enum": ["C", "F"], "type": "string", "description": "Of the temperature."},
                    "days": {"type": "integer"},
                },
                "required": ["city"],
                "additionalProperties": False,
            },
            "strict": True,
        },
    }
    assert tool(add).schema["properties"]["a"]["description"] == "The first."


def test_a_tool_survives_openais_dict():
    for one in KNOWN:
        assert tool(json.loads(json.dumps(one.to_openai()))) == one
    assert tool(KNOWN[0]) is KNOWN[0]


def test_a_function_without_parameters_is_a_tool():
    def now() -> str:
        return "noon"

    assert tool(now).schema == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
        "required": [],
    }


def untyped(city): ...
def many(*cities: str): ...


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (untyped, TypeError, "untyped: parameter city has no type: write city: str"),
        (many, TypeError, "many: a tool takes named parameters only"),
        (7, TypeError, "a tool is a typed function or OpenAI's dict, got 7"),
        ({"type": "function"}, ValueError, "a tool is {'type': 'function'"),
        (
            {"type": "function", "function": {"name": "a b"}},
            ValueError,
            "1 to 64 letters, digits, _ or -, got 'a b'",
        ),
        (
            {"type": "function", "function": {"name": "a", "parameters": {"type": "x"}}},
            ValueError,
            "no valid JSON Schema",
        ),
    ],
)
def test_what_is_no_tool_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        tool(given)


async def later(a: int) -> int:
    return a


def test_what_signatures_say_is_kept():
    def buy(
        item: Annotated[str, Field(description="what")],
        n: int = Field(3, ge=0),
        schema: str = "s",
        _x: int = 1,
    ) -> None: ...

    schema = tool(buy).schema
    assert list(schema["properties"]) == ["item", "n", "schema", "_x"]
    assert schema["properties"]["item"] == {"type": "string", "description": "what"}
    assert schema["properties"]["n"] == {"type": "integer", "minimum": 0}
    assert schema["required"] == ["item"]
    with pytest.raises(TypeError, match="later: a tool is a plain function"):
        tool(later)
    with pytest.raises(TypeError, match=r"tools must be a list of functions, got .*: write \[add\]"):
        tools(add)
    with pytest.raises(ValueError, match="a tool must not be called 'auto'"):
        tool({"type": "function", "function": {"name": "auto"}})


class Item(BaseModel):
    name: str
    parts: list["Item"] = []


def test_definitions_of_different_tools_do_not_mix():
    def one(item: Item) -> str: ...

    parameters = {
        "type": "object",
        "properties": {"item": {"$ref": "#/definitions/Item"}},
        "required": ["item"],
        "definitions": {"Item": {"type": "string"}},
    }
    two = tool({"type": "function", "function": {"name": "two", "parameters": parameters}})
    schema = calls_schema([tool(one), two], "required")
    for name, item, valid in (
        ("one", {"name": "a", "parts": [{"name": "b", "parts": []}]}, True),
        ("one", "a", False),
        ("two", "a", True),
        ("two", {"name": "a", "parts": []}, False),
    ):
        text = json.dumps([{"name": name, "parameters": {"item": item}}])
        assert tk.verdict(text, schema).valid == valid, (name, item)


@pytest.mark.parametrize(
    ("result", "text", "ok"),
    [
        (None, "null", True),
        (Item(name="x"), '{"name":"x","parts":[]}', True),
        (date(2020, 1, 1), '"2020-01-01"', True),
        ("\ud800", "error: ValueError: the result of give is not valid Unicode", False),
    ],
)
def test_results_of_any_kind_are_told(result, text, ok):
    def give() -> Any:
        return result

    told, well = run_call(ToolCall("1", "give", "{}"), [tool(give)])
    assert (told[: len(text)], well) == (text, ok)


def test_two_tools_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two tools are called 'add'"):
        tools([add, add])


@pytest.mark.parametrize(
    ("given", "known", "choice"),
    [
        (None, (), None),
        (None, KNOWN, "auto"),
        ("required", KNOWN, "required"),
        ("add", KNOWN, "add"),
        ({"type": "function", "function": {"name": "add"}}, KNOWN, "add"),
    ],
)
def test_choices(given, known, choice):
    assert tool_choice(given, known) == choice


@pytest.mark.parametrize(
    ("given", "known", "message"),
    [
        ("sub", KNOWN, "tool_choice must be one of auto, none, required, weather, add, fail, got 'sub'"),
        ({"type": "function"}, KNOWN, "tool_choice must be one of"),
        ("required", (), "tool_choice is 'required', but there are no tools"),
    ],
)
def test_bad_choices_are_refused(given, known, message):
    with pytest.raises(ValueError, match=message):
        tool_choice(given, known)


def test_a_call_that_must_be_made_has_a_schema():
    schema = calls_schema(KNOWN, "required")
    call = {"name": "add", "parameters": {"a": 1, "b": 2}}
    for text, valid in (
        ([call], True),
        ([call, {"name": "weather", "parameters": {"city": "Rome"}}], True),
        ([], False),
        ([{"name": "add", "parameters": {"a": 1}}], False),
        ([{"name": "sub", "parameters": {}}], False),
    ):
        assert tk.verdict(json.dumps(text), schema).valid == valid
    assert calls_schema(KNOWN, "add") == tool(add).schema


@pytest.mark.parametrize(
    ("text", "choice", "calls"),
    [
        ('[{"name": "add", "parameters": {"a": 1, "b": 2}}]', "required", [("add", '{"a": 1, "b": 2}')]),
        ('{"a": 1, "b": 2}', "add", [("add", '{"a": 1, "b": 2}')]),
        ('[{"name": "add", "par', "required", []),
        ('{"a": 1', "add", []),
        ('{"a": 1, "a": 2}', "add", [("add", '{"a": 1, "a": 2}')]),
        ('[{"name":"add","parameters":{"a":1,"a":2}}]', "required", [("add", '{"a": 1, "a": 2}')]),
        ('{"a": 1e999}', "add", [("add", '{"a": 1e999}')]),
        (
            '[{"name":"add","parameters":{"a":[-1e999,1.50,{}]}}]',
            "required",
            [("add", '{"a": [-1e999, 1.50, {}]}')],
        ),
        (f'{{"a": {"9" * 5000}}}', "add", [("add", f'{{"a": {"9" * 5000}}}')]),
        (
            f'[{{"name": "add", "parameters": {{"a": {"9" * 5000}, "b": "\\ud83d"}}}}]',
            "required",
            [("add", f'{{"a": {"9" * 5000}, "b": "\\ud83d"}}')],
        ),
    ],
)
def test_required_calls_are_read(text, choice, calls):
    assert [(c.name, c.arguments) for c in required_calls(text, choice)] == calls


@pytest.mark.parametrize(
    ("name", "arguments", "result", "ok"),
    [
        ("weather", '{"city": "Rome", "days": 2}', '{"city":"Rome","degrees":22,"unit":"C"}', True),
        ("add", '{"a": 1, "b": 2}', "3", True),
        ("add", '{"a": 1}', "error: wrong_schema: the root: 'b' is a required property", False),
        ("add", '{"a": "x", "b": 2}', "error: wrong_schema: /a: 'x' is not of type 'integer'", False),
        ("add", "not json", "error: not_json: Expecting value: line 1, column 1", False),
        ("sub", "{}", "error: wrong_schema: there is no tool 'sub' (known: weather, add, fail)", False),
        ("fail", '{"why": "no reason"}', "error: RuntimeError: no reason", False),
    ],
)
def test_a_call_is_run_or_told_what_is_wrong(name, arguments, result, ok):
    assert run_call(ToolCall("1", name, arguments), KNOWN) == (result, ok)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [('{"a": 1, "a": 2}', "the key 'a' twice"), ('{"a": 1e999, "b": 1}', "the number 1e999 is too large")],
)
def test_a_forced_call_that_is_no_json_is_told(arguments, message):
    (call,) = required_calls(f'[{{"name": "add", "parameters": {arguments}}}]', "required")
    result, ok = run_call(call, KNOWN)
    assert not ok
    assert message in result


def test_a_described_tool_cannot_be_run():
    described = tool(tool(add).to_openai())
    text, ok = run_call(ToolCall("1", "add", '{"a": 1, "b": 2}'), [described])
    assert (ok, text) == (False, "error: TypeError: add is only described: there is no function to run")


def test_code_that_does_not_look_at_the_time_is_ended_in_time(monkeypatch):
    monkeypatch.setattr("toolkit.structured.time_limit.TIME_LIMIT", 0.1)
    tracer = sys.gettrace()

    def parse_for_ever():
        while True:
            try:
                len("")
            except Exception:  # noqa: BLE001  # as parsers do
                continue

    began = time.thread_time()
    with pytest.raises(OutOfTime), time_limit(), interrupting():
        parse_for_ever()
    assert time.thread_time() - began < 1
    assert sys.gettrace() is tracer


@pytest.mark.parametrize("parser", ["hermes", "qwen3_coder", "glm45", "seed_oss", "llama3_json", "pythonic"])
@pytest.mark.parametrize(
    "piece", ["<tool_call>", "</tool_call>", "<tool_call>\n<function=", "{", "[f(", "<arg_key>"]
)
def test_vllms_parsers_end_in_time_whatever_the_text(tiny, parser, piece):
    from toolkit.engines.vllm.tool_calls import parse_calls

    parse_calls(tiny.tokenizer.hf, parser, "Hi", KNOWN)  # imports it
    began = time.thread_time()
    with contextlib.suppress(OutOfTime):
        parse_calls(tiny.tokenizer.hf, parser, piece * 20_000, KNOWN)
    assert time.thread_time() - began < 3 * TIME_LIMIT
