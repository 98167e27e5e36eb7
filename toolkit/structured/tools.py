"""Tools: Python functions that a model may call, and the calls that it makes."""

from __future__ import annotations

import inspect
import json
import types
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, get_type_hints

from toolkit.messages import encodable
from toolkit.schema import check, parts, response_format, strict
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
        """In the shape of OpenAI's `tools`. `strict` is always sent: vLLM holds arguments to their schema only then.
        (OpenAI's own strict mode also wants every property required: `strict_violations` tells.)"""
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
    if name in CHOICES:
        raise ValueError(f"a tool must not be called {name!r}: as a tool_choice that means something else")
    if not name or len(name) > 64 or any(c not in _NAME for c in name):
        raise ValueError(f"a tool's name has 1 to 64 letters, digits, _ or -, got {name!r}")
    return name


def _of_function(function: Callable[..., Any]) -> Tool:
    from docstring_parser import parse
    from pydantic import Field, create_model
    from pydantic.errors import PydanticUserError
    from pydantic.fields import FieldInfo

    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(
            f"{function.__name__}: a tool is a plain function: it runs to its end and gives one result"
        )
    text = parse(inspect.getdoc(function) or "")
    said = {p.arg_name: p.description for p in text.params if p.description}
    fields: dict[str, Any] = {}
    for name, parameter in _parameters(function).items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"{function.__name__}: a tool takes named parameters only, not {parameter}")
        if parameter.annotation is parameter.empty:
            raise TypeError(
                f"{function.__name__}: parameter {name} has no type: write {name}: str, or what it is"
            )
        default: Any = ... if parameter.default is parameter.empty else parameter.default
        about: Any = {"description": said[name]} if name in said else {}
        given = isinstance(default, FieldInfo)
        field = FieldInfo.merge_field_infos(default, **about) if given else Field(default, **about)
        fields[name] = (parameter.annotation, field)
    # Fields have names of their own, since pydantic keeps some for itself; the schema has the parameters'.
    kept = {f"p{i}": name for i, name in enumerate(fields)}
    try:
        made = create_model(function.__name__, **{p: fields[n] for p, n in kept.items()}).model_json_schema()
    except PydanticUserError as error:
        raise TypeError(f"{function.__name__} has a parameter without a JSON Schema: {error}") from None
    schema = strict(_untitled(made))
    schema["properties"] = {kept[p]: part for p, part in schema.get("properties", {}).items()}
    # What has a default may be left out; what is given is still held to its type.
    schema["required"] = [n for n, (_, field) in fields.items() if field.is_required()]
    told = " ".join(part for part in (text.short_description, text.long_description) if part)
    return Tool(_named(function.__name__), told, _dump(schema), function)


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Parameters with their types; what the function returns need not be known."""
    found = inspect.signature(function)
    try:
        names = {n: p.annotation for n, p in found.parameters.items() if p.annotation is not p.empty}
        bare = types.SimpleNamespace(__annotations__=names, __module__=function.__module__)
        hints = get_type_hints(bare, getattr(function, "__globals__", None), include_extras=True)
    except NameError as error:
        raise TypeError(f"{function.__name__} has a parameter whose type is not known: {error}") from None
    return {n: p.replace(annotation=hints.get(n, p.empty)) for n, p in found.parameters.items()}


def _untitled(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the titles that pydantic makes of names: they cost tokens and say nothing."""
    found: dict[str, Any] = json.loads(_dump(schema))
    for _, part in parts(found):
        part.pop("title", None)
    return found


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def tools(given: Sequence[Any] | None) -> tuple[Tool, ...]:
    """Tools from functions and dicts. Raises ValueError for two of one name."""
    if callable(given) or isinstance(given, Mapping):
        raise TypeError(
            f"tools must be a list of functions, got {given!r}: write [{getattr(given, '__name__', '…')}]"
        )
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
    return {
        "type": "array",
        "minItems": 1,
        "items": shapes[0] if len(shapes) == 1 else {"anyOf": shapes},
        "$defs": {one.name: _moved(one) for one in known},
    }


def _call_schema(one: Tool) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "name": {"type": "string", "enum": [one.name]},
            "parameters": {"$ref": f"#/$defs/{one.name}"},
        },
        "required": ["name", "parameters"],
        "additionalProperties": False,
    }


def _moved(one: Tool) -> dict[str, Any]:
    """A tool's schema as a part of another: its references begin where it now stands."""
    schema: dict[str, Any] = json.loads(one.parameters)
    for _, part in parts(schema):
        if str(part.get("$ref", "")).startswith("#"):
            part["$ref"] = f"#/$defs/{one.name}" + part["$ref"][1:]
    return schema


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
    # Escaped, so that half of a surrogate pair stays what the model wrote, and can be stored.
    return tuple(ToolCall(call_id(), c["name"], json.dumps(c["parameters"])) for c in found)


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
    from pydantic_core import to_json

    try:
        given = one(**found.value)
        text = given if isinstance(given, str) else to_json(given, fallback=str).decode()
        return encodable(f"the result of {call.name}", text), True
    except Exception as error:  # noqa: BLE001  # the user's own code: whatever it raises is the model's to hear
        told = f"error: {type(error).__name__}: {error}"
        return told.encode("utf-8", "replace").decode(), False
