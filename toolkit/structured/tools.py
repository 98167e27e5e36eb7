"""Tools: Python functions that a model may call, and the calls that it makes."""

from __future__ import annotations

import inspect
import json
import types
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, get_type_hints

from toolkit._internal.field_docs import documented
from toolkit._internal.text import short_repr
from toolkit._internal.validation import encodable
from toolkit.structured.json_schema import make_strict, subschemas
from toolkit.structured.json_text import is_complete
from toolkit.structured.response_format import check_schema, response_format
from toolkit.structured.verdict import Verdict, verdict

CHOICES = ("auto", "none", "required")
_NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"


@documented
@dataclass(frozen=True)
class Tool:
    """A function that a model may call. Made by `tool`, or from OpenAI's dict."""

    name: str
    """The name by which the model calls it."""
    description: str
    """What it does, as the model is told."""
    parameters: str
    """The JSON Schema of its arguments, as JSON text."""
    function: Callable[..., Any] | None = field(default=None, compare=False, repr=False)
    """The Python function; None for a tool that is only described."""

    @cached_property
    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = json.loads(self.parameters)
        return schema

    def to_openai(self) -> dict[str, Any]:
        """In the format of OpenAI's `tools`. `strict` is always sent: vLLM constrains arguments to their schema only
        then. (OpenAI's strict mode also needs every property to be required: see `strict_violations`.)"""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.schema,
            "strict": True,
        }
        return {"type": "function", "function": function}

    def __call__(self, **arguments: Any) -> Any:
        """Runs the function, with its arguments converted to the types of its signature."""
        from pydantic import validate_call

        if self.function is None:
            raise TypeError(f"{self.name} is only described: there is no function to run")
        return validate_call(self.function)(**arguments)


def tool(given: Any) -> Tool:
    """A tool from a typed Python function, or from OpenAI's dict.

    The name, the types and defaults of the signature, and the docstring's descriptions (Google, NumPy or Sphinx
    style) become its schema. Raises TypeError for a parameter without a type, ValueError for an invalid dict.

    >>> def weather(city: str, days: int = 1) -> str:
    ...     "The weather of a city."
    >>> tool(weather).schema["properties"]["city"]
    {'type': 'string'}
    """
    if isinstance(given, Tool):
        return given
    if isinstance(given, Mapping):
        return _from_definition(given)
    if not callable(given) or not getattr(given, "__name__", ""):
        raise TypeError(f"a tool is a typed function or OpenAI's dict, got {short_repr(given)}")
    return _from_function(given)


def _from_definition(definition: Mapping[str, Any]) -> Tool:
    function = definition.get("function")
    if (
        definition.get("type") != "function"
        or not isinstance(function, Mapping)
        or not isinstance(function.get("name"), str)
    ):
        raise ValueError(
            f"a tool is {{'type': 'function', 'function': {{'name': …}}}}, got {short_repr(definition)}"
        )
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    check_schema(parameters)
    return Tool(_valid_name(function["name"]), str(function.get("description") or ""), _dump(parameters))


def _valid_name(name: str) -> str:
    if name in CHOICES:
        raise ValueError(
            f"a tool must not be called {short_repr(name)}: as a tool_choice that means something else"
        )
    if not name or len(name) > 64 or any(c not in _NAME_CHARACTERS for c in name):
        raise ValueError(f"a tool's name has 1 to 64 letters, digits, _ or -, got {short_repr(name)}")
    return name


def _from_function(function: Callable[..., Any]) -> Tool:
    from docstring_parser import parse
    from pydantic import Field, create_model
    from pydantic.errors import PydanticUserError
    from pydantic.fields import FieldInfo

    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(
            f"{function.__name__}: a tool is a plain function: it runs to its end and gives one result"
        )
    docstring = parse(inspect.getdoc(function) or "")
    descriptions = {p.arg_name: p.description for p in docstring.params if p.description}
    fields: dict[str, Any] = {}
    for name, parameter in _parameters(function).items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"{function.__name__}: a tool takes named parameters only, not {parameter}")
        if parameter.annotation is parameter.empty:
            raise TypeError(
                f"{function.__name__}: parameter {name} has no type: write {name}: str, or what it is"
            )
        default: Any = ... if parameter.default is parameter.empty else parameter.default
        metadata: Any = {"description": descriptions[name]} if name in descriptions else {}
        if isinstance(default, FieldInfo):
            info = FieldInfo.merge_field_infos(default, **metadata)
        else:
            info = Field(default, **metadata)
        fields[name] = (parameter.annotation, info)
    # The model's fields have generated names, since pydantic reserves some; the schema has the parameters' names.
    names = {f"p{i}": name for i, name in enumerate(fields)}
    try:
        model = create_model(function.__name__, **{p: fields[n] for p, n in names.items()})
        json_schema = model.model_json_schema()
    except PydanticUserError as error:
        raise TypeError(f"{function.__name__} has a parameter without a JSON Schema: {error}") from None
    schema = make_strict(_without_titles(json_schema))
    schema["properties"] = {names[p]: part for p, part in schema.get("properties", {}).items()}
    # Parameters with a default may be left out; those that are sent are still constrained to their type.
    schema["required"] = [n for n, (_, info) in fields.items() if info.is_required()]
    description = " ".join(filter(None, (docstring.short_description, docstring.long_description)))
    return Tool(_valid_name(function.__name__), description, _dump(schema), function)


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Parameters with their types resolved; the return type need not be resolvable."""
    parameters = inspect.signature(function).parameters
    try:
        annotations = {n: p.annotation for n, p in parameters.items() if p.annotation is not p.empty}
        without_return = types.SimpleNamespace(__annotations__=annotations, __module__=function.__module__)
        hints = get_type_hints(without_return, getattr(function, "__globals__", None), include_extras=True)
    except NameError as error:
        raise TypeError(f"{function.__name__} has a parameter whose type is not known: {error}") from None
    return {n: p.replace(annotation=hints.get(n, p.empty)) for n, p in parameters.items()}


def _without_titles(schema: dict[str, Any]) -> dict[str, Any]:
    """A copy without the titles that pydantic derives from names: they cost tokens and add no information."""
    copy: dict[str, Any] = json.loads(_dump(schema))
    for _, part in subschemas(copy):
        part.pop("title", None)
    return copy


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def tools(given: Sequence[Any] | None) -> tuple[Tool, ...]:
    """Tools from functions and dicts. Raises ValueError for two with the same name."""
    if callable(given) or isinstance(given, Mapping | str) or not isinstance(given, Iterable | None):
        raise TypeError(
            f"tools must be a list of functions, got {short_repr(given)}: write [{getattr(given, '__name__', '…')}]"
        )
    converted = tuple(tool(item) for item in given or ())
    names = [t.name for t in converted]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two tools are called {short_repr(name)}: a call would not say which is meant")
    return converted


def tool_choice(given: Any, known: Sequence[Tool]) -> str | None:
    """auto, none, required, or the name of a tool; None without tools. Raises ValueError for anything else."""
    if not known:
        if given in (None, "none"):
            return None
        raise ValueError(f"tool_choice is {short_repr(given)}, but there are no tools: give tools")
    if given is None or given in CHOICES:
        return given or "auto"
    name = given
    if isinstance(given, Mapping):
        name = given.get("function", {}).get("name") if isinstance(given.get("function"), Mapping) else None
    names = [t.name for t in known]
    if name not in names:
        raise ValueError(
            f"tool_choice must be one of {', '.join((*CHOICES, *names))}, got {short_repr(given)}"
        )
    return str(name)


def calls_schema(known: Sequence[Tool], choice: str) -> dict[str, Any]:
    """The schema of forced tool calls: a list of calls for "required", the arguments for the name of a tool."""
    if choice != "required":
        return next(t.schema for t in known if t.name == choice)
    calls = [_call_schema(t.name) for t in known]
    return {
        "type": "array",
        "minItems": 1,
        "items": calls[0] if len(calls) == 1 else {"anyOf": calls},
        "$defs": {t.name: _definition_schema(t) for t in known},
    }


def _call_schema(name: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "name": {"type": "string", "enum": [name]},
            "parameters": {"$ref": f"#/$defs/{name}"},
        },
        "required": ["name", "parameters"],
        "additionalProperties": False,
    }


def _definition_schema(target: Tool) -> dict[str, Any]:
    """A tool's schema as one of $defs: its references are changed to its new place."""
    schema: dict[str, Any] = json.loads(target.parameters)
    for _, part in subschemas(schema):
        if str(part.get("$ref", "")).startswith("#"):
            part["$ref"] = f"#/$defs/{target.name}" + part["$ref"][1:]
    return schema


@documented
@dataclass(frozen=True)
class ToolCall:
    """A tool call by a model."""

    id: str
    """The id of the call, which its result refers to."""
    name: str
    """The name of the function."""
    arguments: str
    """JSON text, as the model generated it: not always valid."""

    def to_openai(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }

    def verdict(self, known: Sequence[Tool]) -> Verdict:
        """Whether the tool exists and the arguments conform to its schema."""
        for t in tools(known):
            if t.name == self.name:
                return verdict(self.arguments or "{}", response_format({"type": "json_schema", "json_schema": {
                    "name": t.name, "schema": t.schema}}))  # fmt: skip
        names = ", ".join(t.name for t in known) or "none"
        return Verdict(
            "wrong_schema", self.arguments, reason=f"there is no tool {self.name!r} (known: {names})"
        )


def call_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"


def required_calls(text: str, choice: str | None) -> tuple[ToolCall, ...]:
    """The calls in a text that was constrained to `calls_schema`; none when it ends before its JSON does. Arguments
    are as they were generated, also with a key twice or a number like 1e999: `ToolCall.verdict` tells these."""
    if not is_complete(text):
        return ()
    if choice != "required":
        return (ToolCall(call_id(), str(choice), text),)
    calls = json.loads(
        text, object_pairs_hook=_Members, parse_float=_Literal, parse_int=_Literal, parse_constant=_Literal
    )
    fields = [dict(call) for call in calls]
    return tuple(ToolCall(call_id(), f["name"], _dump_as_written(f["parameters"])) for f in fields)


class _Members(tuple[tuple[str, Any], ...]):
    """The members of an object in JSON, repeated keys included."""

    __slots__ = ()


class _Literal(str):
    """A number as it is written in JSON."""

    __slots__ = ()


def _dump_as_written(value: Any) -> str:
    if isinstance(value, _Literal):
        return value
    if isinstance(value, _Members):
        return "{" + ", ".join(f"{json.dumps(name)}: {_dump_as_written(item)}" for name, item in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_dump_as_written, value)) + "]"
    return json.dumps(value)  # escaped, so that half of a surrogate pair can be stored


def tools_prompt(known: Sequence[Tool], choice: str | None) -> str:
    """Instructions about tools for models whose chat template has none, in the format of Hermes models
    (https://github.com/NousResearch/Hermes-Function-Calling)."""
    definitions = "\n".join(_dump(t.to_openai()["function"]) for t in known)
    instructions = {
        "auto": "To call one, write its name and arguments between tags, and nothing else:\n"
        '<tool_call>\n{"name": "…", "arguments": {…}}\n</tool_call>\n'
        "Call a function only when it helps to answer; else answer in words.",
        "required": 'Answer with a JSON list of the calls to make: [{"name": "…", "parameters": {…}}]',
    }.get(str(choice), f"Answer with the arguments of {choice} as a JSON object.")
    begin = "You can call these functions. Their arguments are JSON, by these schemas:"
    return f"{begin}\n<tools>\n{definitions}\n</tools>\n{instructions}"


def format_tool_call(call: Mapping[str, Any]) -> str:
    """A call as the text of an assistant's message, in the format of Hermes models."""
    function = call["function"]
    arguments = function["arguments"]
    arguments = _dump(arguments) if isinstance(arguments, Mapping) else arguments
    return (
        f'<tool_call>\n{{"name": {_dump(function["name"])}, "arguments": {arguments or "{}"}}}\n</tool_call>'
    )


def run_call(call: ToolCall, known: Sequence[Tool]) -> tuple[str, bool]:
    """Runs a tool call: its result as text, and whether it succeeded. Errors (no such tool, invalid arguments, an
    exception in the function) are returned as text for the model."""
    arguments_verdict = call.verdict(known)
    if not arguments_verdict.valid:
        return f"error: {arguments_verdict}", False
    called = next(t for t in known if t.name == call.name)
    from pydantic_core import to_json

    try:
        result = called(**arguments_verdict.value)
        text = result if isinstance(result, str) else to_json(result, fallback=str).decode()
        return encodable(f"the result of {call.name}", text), True
    except Exception as error:  # noqa: BLE001  # user code: any exception is reported to the model
        message = f"error: {type(error).__name__}: {error}"
        return message.encode("utf-8", "replace").decode(), False
