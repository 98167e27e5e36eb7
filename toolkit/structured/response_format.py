"""Response formats: JSON, a JSON Schema, a Python type, a choice, a regex or a grammar."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property, lru_cache
from typing import Any, Literal, get_args, get_origin

from typing_extensions import is_typeddict

from toolkit._internal.field_docs import documented
from toolkit._internal.text import short_repr
from toolkit._internal.validation import unknown
from toolkit.structured.json_schema import make_strict, pointer, subschemas
from toolkit.structured.patterns import check_anchors, compiled
from toolkit.structured.references import check_references

_TOO_DEEP = "no valid JSON Schema: it is nested too deeply"
_MAX_ITEMS = 10_000
"""llguidance writes out as many: 100,000 are too many for it, and 10**9 take the memory of the whole process."""
KINDS = ("text", "json_object", "json_schema", "choice", "regex", "grammar")


@documented
@dataclass(frozen=True)
class ResponseFormat:
    """What an answer is constrained to. Made by `response_format`; equal formats give equal requests."""

    kind: str
    """json_object, json_schema, choice, regex or grammar."""
    value: str = ""
    """The schema as JSON text (its properties in the order of the answer), the choices as JSON text, the regex, or
    the grammar (EBNF or Lark)."""
    name: str = ""
    """The name used in tables and errors."""
    type: Any = field(default=None, compare=False, repr=False)
    """The Python type of `parsed`; None for plain data, and texts."""

    @property
    def is_json(self) -> bool:
        return self.kind in ("json_object", "json_schema")

    @cached_property
    def schema(self) -> Any:
        """The JSON Schema that an answer must satisfy; None for a regex, a choice or a grammar."""
        if self.kind == "json_object":
            return {"type": "object"}
        return json.loads(self.value) if self.kind == "json_schema" else None

    @cached_property
    def choices(self) -> tuple[str, ...]:
        return tuple(json.loads(self.value)) if self.kind == "choice" else ()

    @cached_property
    def members(self) -> list[tuple[Any, Any]]:
        """(value as JSON data, member) of all that an Enum or a Literal allows; empty for other types."""
        return [(json.loads(json.dumps(_value(member))), member) for member in _members(self.type)]

    def to_openai(self) -> dict[str, Any]:
        """In the format of OpenAI's API (choice, regex and grammar are extensions of vLLM)."""
        if self.kind == "json_object":
            return {"type": "json_object"}
        if self.kind == "json_schema":
            return {
                "type": "json_schema",
                "json_schema": {"name": self.name, "schema": self.schema, "strict": True},
            }
        return {"type": self.kind, self.kind: list(self.choices) if self.kind == "choice" else self.value}

    def __str__(self) -> str:
        return self.name or self.kind


def response_format(given: Any) -> ResponseFormat | None:
    """A response format from OpenAI's dicts (json_schema nested, or flat as in the Responses API), a bare JSON
    Schema, a type (a pydantic model, a dataclass, a TypedDict), or the texts to choose from: a list, an Enum or a
    Literal (for values that are no texts, their JSON). None and {"type": "text"} give None.

    The schema of a type is made strict: every object is closed, every property required.

    Raises ValueError or TypeError for anything else.

    >>> response_format(["yes", "no"]).choices
    ('yes', 'no')
    """
    if given is None or isinstance(given, ResponseFormat):
        return given
    if isinstance(given, type) or get_origin(given) is Literal:
        return _from_type(given)
    if isinstance(given, (list, tuple)) or hasattr(given, "tolist"):  # a NumPy array or a column of pandas
        return _choice(given.tolist() if hasattr(given, "tolist") else given)
    if not isinstance(given, Mapping):
        example = (
            f"; to choose from texts give a list of them, [{short_repr(given)}, …]"
            if isinstance(given, str)
            else ""
        )
        raise TypeError(
            "response_format must be a dict such as {'type': 'json_object'}, a pydantic model, a dataclass, a "
            f"TypedDict, an Enum, a Literal or a list of texts, got {short_repr(given)}{example}"
        )
    kind = given.get("type")
    if kind not in KINDS:
        return _from_schema(given, kind)
    if kind == "text":
        return None
    # As OpenAI's Responses API has it.
    if kind == "json_schema" and kind not in given and not given.keys().isdisjoint(("schema", "name")):
        return _json_schema({name: value for name, value in given.items() if name != "type"})
    for name in given.keys() - {"type", kind}:
        raise ValueError(
            f"response_format of type {short_repr(kind)} has no {short_repr(name)}: leave it out, or use another type"
        )
    if kind == "json_object":
        return ResponseFormat(kind)
    if kind not in given:
        raise ValueError(
            f"response_format of type {short_repr(kind)} must have {short_repr(kind)}, got {short_repr(dict(given))}"
        )
    return _BUILDERS[kind](given[kind])


def _from_schema(schema: Mapping[str, Any], kind: Any) -> ResponseFormat:
    """From a bare JSON Schema, whose type is `kind`. Raises ValueError when that is not a type of JSON Schema."""
    if isinstance(kind, str) and kind not in (
        "object",
        "array",
        "string",
        "number",
        "integer",
        "boolean",
        "null",
    ):
        raise ValueError(unknown("type of response_format", kind, KINDS))
    if schema and not schema.keys() & _CONSTRAINING_KEYWORDS:
        names = ", ".join(map(repr, schema))
        raise ValueError(
            f"a JSON Schema with {names} alone allows everything: give it a type, or give the type of response_format"
        )
    return _json_schema({"schema": schema})


def _json_schema(definition: Any) -> ResponseFormat:
    if not isinstance(definition, Mapping) or not isinstance(definition.get("schema"), (Mapping, bool)):
        raise ValueError(
            f"json_schema must have a 'schema' that is a JSON Schema, got {short_repr(definition)}"
        )
    for name in definition.keys() - {"name", "schema", "strict", "description"}:
        raise ValueError(
            unknown("key of json_schema", str(name), ("name", "schema", "strict", "description"))
        )
    schema = definition["schema"]
    try:
        text = json.dumps(schema, ensure_ascii=False)
        _check_schema_cached(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    title = schema.get("title") if isinstance(schema, Mapping) else None
    name = definition.get("name") or title or "schema"
    return ResponseFormat("json_schema", text, str(name))


@lru_cache(maxsize=1024)
def _check_schema_cached(text: str) -> None:
    """`check_schema`, cached: every completion read from a store repeats its schema."""
    check_schema(json.loads(text))


def _choice(choices: Any) -> ResponseFormat:
    if (
        not isinstance(choices, (list, tuple))
        or not choices
        or not all(isinstance(c, str) and c for c in choices)
    ):
        raise ValueError(f"choice must be a list of texts, got {short_repr(choices)}")
    return ResponseFormat("choice", json.dumps(list(choices), ensure_ascii=False))


def _pattern(kind: str, pattern: Any) -> ResponseFormat:
    """A regex or a grammar."""
    if not isinstance(pattern, str) or not pattern:
        raise ValueError(f"{kind} must be a non-empty text, got {short_repr(pattern)}")
    return ResponseFormat(kind, pattern)


_BUILDERS: dict[str, Callable[[Any], ResponseFormat]] = {
    "json_schema": _json_schema,
    "choice": _choice,
    "regex": lambda pattern: _pattern("regex", pattern),
    "grammar": lambda pattern: _pattern("grammar", pattern),
}


def _from_type(type_: Any) -> ResponseFormat:
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError
    from pydantic_core import PydanticSerializationError

    values = [_value(member) for member in _members(type_)]
    if values and all(isinstance(value, str) for value in values):
        return dataclasses.replace(_choice(values), type=type_)
    is_object = hasattr(type_, "model_json_schema") or dataclasses.is_dataclass(type_) or is_typeddict(type_)
    if not values and not is_object:
        raise TypeError(
            f"response_format must be a pydantic model, a dataclass or a TypedDict, got {short_repr(type_)}; to "
            "choose from texts, an Enum, a Literal or a list of them"
        )
    name = getattr(type_, "__name__", "Literal")
    try:
        schema = make_strict(TypeAdapter(type_).json_schema())
    except (PydanticUserError, PydanticSerializationError, NameError) as error:
        raise TypeError(f"{name} has no JSON Schema: {error}") from error
    return ResponseFormat("json_schema", json.dumps(schema, ensure_ascii=False), name, type_)


def _members(type_: Any) -> list[Any]:
    """The members of an Enum, or what a Literal allows; empty for another type."""
    if isinstance(type_, type) and issubclass(type_, Enum):
        return list(type_)
    return list(get_args(type_)) if get_origin(type_) is Literal else []


def _value(member: Any) -> Any:
    return member.value if isinstance(member, Enum) else member


def _patterns(form: ResponseFormat) -> Iterator[str]:
    """The regular expressions in a response format."""
    if form.kind == "regex":
        yield form.value
    for _, part in subschemas(form.schema):
        yield from (pattern for pattern in (part.get("pattern"),) if isinstance(pattern, str))
        yield from part.get("patternProperties") or ()


def check_enforceable(form: ResponseFormat) -> None:
    """Raises ValueError for a schema that constrains nothing, allows nothing, never ends or counts too far: engines
    and servers fail at it, each in its own way; and for a pattern with an anchor that means something else in a
    grammar."""
    for pattern in _patterns(form):
        check_anchors(pattern)
    if form.kind != "json_schema":
        return
    if isinstance(form.schema, bool):
        allowed = "everything" if form.schema else "nothing"
        raise ValueError(
            f"response_format {short_repr(str(form))} has the schema {form.schema}, which allows {allowed}: give one "
            "with a type, {'type': 'json_object'} for any JSON object, or leave response_format out"
        )
    try:
        json.dumps(form.schema, allow_nan=False)
    except ValueError:
        raise ValueError(
            f"response_format {short_repr(str(form))} has NaN or Infinity in its schema, which are no JSON: use "
            "finite numbers"
        ) from None
    for _, part in subschemas(form.schema):
        for name in ("minItems", "maxItems"):
            if part.get(name, 0) > _MAX_ITEMS:
                raise ValueError(
                    f"response_format {short_repr(str(form))} has {name} {part[name]}, and a grammar holds at most "
                    f"{_MAX_ITEMS:,} items: give a smaller number, or leave it out, since max_tokens ends the answer"
                )
    try:
        check_references(form.schema)
    except ValueError as error:
        raise ValueError(f"response_format {short_repr(str(form))} cannot be enforced: {error}") from None
    except RecursionError:
        raise ValueError(
            f"response_format {short_repr(str(form))} has too long a chain of references"
        ) from None


def check_schema(schema: Any) -> None:
    """Raises ValueError for an invalid JSON Schema (Draft 2020-12), naming the place."""
    from jsonschema import Draft202012Validator, FormatChecker, SchemaError

    try:
        # Patterns are not checked by Python's re, which supports fewer than the grammar and the verdicts do.
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
        for path, part in subschemas(schema):
            for pattern in (part.get("pattern"), *(part.get("patternProperties") or ())):
                if pattern is not None:
                    _check_pattern(pattern, path)
    except SchemaError as error:
        where = pointer(error.absolute_path) or "the root"
        raise ValueError(f"no valid JSON Schema: {error.message} (at {where})") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def _check_pattern(pattern: str, path: Any) -> None:
    try:
        compiled(pattern)
    except ValueError as error:
        where = pointer(path) or "the root"
        raise ValueError(
            f"no valid JSON Schema: the pattern {short_repr(pattern)} is no regex: {error} (at {where})"
        ) from None


_CONSTRAINING_KEYWORDS = {
    "type", "properties", "items", "prefixItems", "enum", "const", "anyOf", "oneOf", "allOf", "not", "if", "$ref",
    "$dynamicRef", "pattern", "format", "required", "patternProperties", "additionalProperties", "multipleOf",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems",
    "uniqueItems", "contains", "propertyNames", "minProperties", "maxProperties", "dependentRequired",
    "dependentSchemas", "unevaluatedItems", "unevaluatedProperties",
}  # fmt: skip
"""Keywords that constrain a value; a dict without one is hardly meant as a schema."""
