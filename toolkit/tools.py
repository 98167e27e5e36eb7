"""Tools: Python functions that a model may call, and the calls that it makes."""

from __future__ import annotations

import inspect
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from toolkit.messages import encodable
from toolkit.schema import check, response_format, strict
from toolkit.verdict import Verdict, loads, verdict

CHOICES = ("auto", "none", "required")
_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"


@dataclass(frozen=True)
class Tool:
    """A function that a model may call. Made by `tool`, or from OpenAI's dict."""

    name: str
    description: str
    parameters: str
    """The JSON Schema of its arguments, as JSON text."""
    function: Callable[..., Any] | None = field(default=None, compare=False, repr=False)
    """What is run; None for a tool that is only described."""

    @cached_property
    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.parameters)
        return found

    def to_openai(self) -> dict[str, Any]:
        """In the shape of OpenAI's `tools`."""
        about = {
            "name": self.name,
            "description": self.description,
            "parameters": self.schema,
            "strict": True,
        }
        return {"type": "function", "function": about}

    def __call__(self, **arguments: Any) -> Any:
        """Runs the function, its arguments made into the types of its signature."""
        from pydantic import validate_call

        if self.function is None:
            raise TypeError(f"{self.name} is only described: there is no function to run")
        return validate_call(self.function)(**arguments)


def tool(given: Any) -> Tool:
    """A tool from a typed Python function, or from OpenAI's dict.

    The name, the types and defaults of the signature, and the docstring's descriptions (Google, NumPy or Sphinx
    style) become its schema. Raises TypeError for a parameter without a type, ValueError for a bad dict.

    >>> def weather(city: str, days: int = 1) -> str:
    ...     "The weather of a city."
    >>> tool(weather).schema["properties"]["city"]
    {'type': 'string'}
    """
    if isinstance(given, Tool):
        return given
    if isinstance(given, Mapping):
        return _described(given)
    if not callable(given) or not getattr(given, "__name__", ""):
        raise TypeError(f"a tool is a typed function or OpenAI's dict, got {given!r}")
    return _of_function(given)


def _described(given: Mapping[str, Any]) -> Tool:
    about = given.get("function")
    if (
        given.get("type") != "function"
        or not isinstance(about, Mapping)
        or not isinstance(about.get("name"), str)
    ):
        raise ValueError(f"a tool is {{'type': 'function', 'function': {{'name': …}}}}, got {given!r}")
    parameters = about.get("parameters") or {"type": "object", "properties": {}}
    check(parameters)
    return Tool(_named(about["name"]), str(about.get("description") or ""), _dump(parameters))


def _named(name: str) -> str:
    if not name or len(name) > 64 or any(c not in _NAME for c in name):
        raise ValueError(f"a tool's name has 1 to 64 letters, digits, _ or -, got {name!r}")
    return name


def _of_function(function: Callable[..., Any]) -> Tool:
    from docstring_parser import parse
    from pydantic import Field, create_model

    text = parse(inspect.getdoc(function) or "")
    said = {p.arg_name: p.description for p in text.params if p.description}
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"{function.__name__}: a tool takes named parameters only, not {parameter}")
        if parameter.annotation is parameter.empty:
            raise TypeError(
                f"{function.__name__}: parameter {name} has no type: write {name}: str, or what it is"
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (parameter.annotation, Field(default, description=said.get(name)))
    made = create_model(function.__name__, **fields).model_json_schema()
    schema = strict(_untitled(made))
    # What has a default may be left out: strict mode's grammar still holds what is given to its type.
    schema["required"] = [n for n, (_, about) in fields.items() if about.is_required()]
    about = " ".join(part for part in (text.short_description, text.long_description) if part)
    return Tool(
        _named(function.__name__), about, _dump({"type": "object", "properties": {}} | schema), function
    )


def _untitled(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the titles that pydantic makes of names: they cost tokens and say nothing."""
    found = {name: value for name, value in schema.items() if name != "title"}
    for name in ("properties", "$defs"):
        if name in found:
            found[name] = {
                key: {n: v for n, v in part.items() if n != "title"} for key, part in found[name].items()
            }
    return found


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def tools(given: Sequence[Any] | None) -> tuple[Tool, ...]:
    """Tools from functions and dicts. Raises ValueError for two of one name."""
    found = tuple(tool(one) for one in given or ())
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two tools are called {name!r}: a call would not say which is meant")
    return found


def tool_choice(given: Any, known: Sequence[Tool]) -> str | None:
    """auto, none, required, or the name of one tool; None without tools. Raises ValueError for anything else."""
    if not known:
        if given in (None, "none"):
            return None
        raise ValueError(f"tool_choice is {given!r}, but there are no tools: give tools")
    if given is None or given in CHOICES:
        return given or "auto"
    name = given
    if isinstance(given, Mapping):
        name = given.get("function", {}).get("name") if isinstance(given.get("function"), Mapping) else None
    names = [one.name for one in known]
    if name not in names:
        raise ValueError(f"tool_choice must be one of {', '.join((*CHOICES, *names))}, got {given!r}")
    return str(name)


def calls_schema(known: Sequence[Tool], choice: str) -> dict[str, Any]:
    """The schema of calls that must be made: a list of them for "required", the arguments of one that is named."""
    if choice != "required":
        return next(one.schema for one in known if one.name == choice)
    shapes = [_call_schema(one) for one in known]
    definitions = {name: part for one in known for name, part in one.schema.get("$defs", {}).items()}
    calls = {"type": "array", "minItems": 1, "items": shapes[0] if len(shapes) == 1 else {"anyOf": shapes}}
    return {**calls, "$defs": definitions} if definitions else calls


def _call_schema(one: Tool) -> dict[str, Any]:
    parameters = {name: part for name, part in one.schema.items() if name != "$defs"}
    return {
        "type": "object",
        "properties": {"name": {"type": "string", "enum": [one.name]}, "parameters": parameters},
        "required": ["name", "parameters"],
        "additionalProperties": False,
    }


@dataclass(frozen=True)
class ToolCall:
    """A call that a model asks for."""

    id: str
    name: str
    arguments: str
    """JSON text, as the model wrote it: not always valid."""

    def to_openai(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }

    def verdict(self, known: Sequence[Tool]) -> Verdict:
        """Whether there is such a tool and the arguments are what it takes."""
        for one in known:
            if one.name == self.name:
                return verdict(self.arguments or "{}", response_format({"type": "json_schema", "json_schema": {
                    "name": one.name, "schema": one.schema}}))  # fmt: skip
        names = ", ".join(one.name for one in known) or "none"
        return Verdict(
            "wrong_schema", self.arguments, reason=f"there is no tool {self.name!r} (known: {names})"
        )


def call_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"


def required_calls(text: str, choice: str | None) -> tuple[ToolCall, ...]:
    """The calls in a text that was held to `calls_schema`; none when it is no JSON."""
    try:
        found = loads(text)
    except ValueError:
        return ()
    if choice != "required":
        return (ToolCall(call_id(), str(choice), text),)
    return tuple(ToolCall(call_id(), c["name"], _dump(c["parameters"])) for c in found)


def describe(known: Sequence[Tool], choice: str | None) -> str:
    """What a model is told of its tools when its chat template says nothing of them, in the form of Hermes models
    (https://github.com/NousResearch/Hermes-Function-Calling)."""
    shown = "\n".join(_dump(one.to_openai()["function"]) for one in known)
    how = {
        "auto": "To call one, write its name and arguments between tags, and nothing else:\n"
        '<tool_call>\n{"name": "…", "arguments": {…}}\n</tool_call>\n'
        "Call a function only when it helps to answer; else answer in words.",
        "required": 'Answer with a JSON list of the calls to make: [{"name": "…", "parameters": {…}}]',
    }.get(str(choice), f"Answer with the arguments of {choice} as a JSON object.")
    begin = "You can call these functions. Their arguments are JSON, by these schemas:"
    return f"{begin}\n<tools>\n{shown}\n</tools>\n{how}"


def spelt(call: Mapping[str, Any]) -> str:
    """A call as the text of an assistant's message, for such a model."""
    function = call["function"]
    given = function["arguments"] if isinstance(function["arguments"], str) else _dump(function["arguments"])
    return f'<tool_call>\n{{"name": {_dump(function["name"])}, "arguments": {given or "{}"}}}\n</tool_call>'


def run(call: ToolCall, known: Sequence[Tool]) -> tuple[str, bool]:
    """What a call's function gives, as text, and whether it went well. What goes wrong (no such tool, arguments that
    do not fit, an exception in the function) is told to the model in words."""
    found = call.verdict(known)
    if not found.valid:
        return f"error: {found}", False
    one = next(one for one in known if one.name == call.name)
    try:
        given = one(**found.value)
    except Exception as error:  # noqa: BLE001  # the user's own code: whatever it raises is the model's to hear
        return f"error: {type(error).__name__}: {error}", False
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, default=str)
    return encodable(f"the result of {call.name}", text), True
