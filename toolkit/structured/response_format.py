"""Schema: the form that an answer must have: JSON, a JSON Schema, a Python type, a choice, a regex or a grammar."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from typing_extensions import is_typeddict  # the one in typing knows no TypedDict of typing_extensions

from toolkit.sampling import unknown

KINDS = ("text", "json_object", "json_schema", "choice", "regex", "grammar")

MAX_DEPTH, MAX_PROPERTIES, MAX_ENUM, MAX_CHARACTERS = 10, 5000, 1000, 120_000
"""OpenAI's limits on a strict schema: levels of nesting, properties in all, enum values in all, characters of all
names, definitions and enum values (https://platform.openai.com/docs/guides/structured-outputs, Supported schemas)."""


@dataclass(frozen=True)
class ResponseFormat:
    """The form that an answer is held to. Made by `response_format`; equal ones give equal requests."""

    kind: str
    """json_object, json_schema, choice, regex or grammar."""
    value: str = ""
    """The schema as JSON text (the order of its properties is that of the answer), the choices as JSON text, the
    regex, or the grammar (EBNF or Lark)."""
    name: str = ""
    """What tables and errors call it."""
    type: Any = field(default=None, compare=False, repr=False)
    """The Python type that `parsed` is made into; None for plain data."""

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

    def to_openai(self) -> dict[str, Any]:
        """In the shape of OpenAI's request (choice, regex and grammar are vLLM's own)."""
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
    """The form that is meant by OpenAI's dicts, a bare JSON Schema, or a type: a pydantic model, a dataclass, a
    TypedDict. None and {"type": "text"} are no form.

    A type's schema is made strict: every object is closed, every property required.

    Raises ValueError or TypeError for anything else.

    >>> response_format({"type": "choice", "choice": ["yes", "no"]}).choices
    ('yes', 'no')
    """
    if given is None or isinstance(given, ResponseFormat):
        return given
    if isinstance(given, type):
        return _of_type(given)
    if not isinstance(given, Mapping):
        raise TypeError(
            "response_format must be a dict such as {'type': 'json_object'}, a pydantic model, a dataclass or a "
            f"TypedDict, got {given!r}"
        )
    kind = given.get("type")
    if kind not in KINDS:
        return _of_schema(given, kind)
    if kind == "text":
        return None
    for name in given.keys() - {"type", kind}:
        raise ValueError(
            f"response_format of type {kind!r} has no {name!r}: leave it out, or mean another type"
        )
    if kind == "json_object":
        return ResponseFormat(kind)
    if kind not in given:
        raise ValueError(f"response_format of type {kind!r} must have {kind!r}, got {dict(given)!r}")
    return _MAKE[kind](given[kind])


def _of_schema(given: Mapping[str, Any], kind: Any) -> ResponseFormat:
    """A JSON Schema stands for itself; a word that is no type of one is a mistake."""
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
    if given and not given.keys() & _SAYS_SOMETHING:
        names = ", ".join(map(repr, given))
        raise ValueError(
            f"a JSON Schema with {names} alone allows everything: give it a type, or name the form's type"
        )
    return _json_schema({"schema": given})


def _json_schema(given: Any) -> ResponseFormat:
    if not isinstance(given, Mapping) or not isinstance(given.get("schema"), (Mapping, bool)):
        raise ValueError(f"json_schema must have a 'schema' that is a JSON Schema, got {given!r}")
    for name in given.keys() - {"name", "schema", "strict", "description"}:
        raise ValueError(
            unknown("key of json_schema", str(name), ("name", "schema", "strict", "description"))
        )
    schema = given["schema"]
    text = json.dumps(schema, ensure_ascii=False)
    _check_once(text)
    title = schema.get("title") if isinstance(schema, Mapping) else None
    name = given.get("name") or title or "schema"
    return ResponseFormat("json_schema", text, str(name))


@lru_cache(maxsize=1024)
def _check_once(text: str) -> None:
    """Each completion that a store gives back brings its schema again."""
    check(json.loads(text))


def _choice(given: Any) -> ResponseFormat:
    if not isinstance(given, (list, tuple)) or not given or not all(isinstance(c, str) and c for c in given):
        raise ValueError(f"choice must be a list of texts, got {given!r}")
    return ResponseFormat("choice", json.dumps(list(given), ensure_ascii=False))


def _text(kind: str, given: Any) -> ResponseFormat:
    if not isinstance(given, str) or not given:
        raise ValueError(f"{kind} must be a non-empty text, got {given!r}")
    return ResponseFormat(kind, given)


_MAKE: dict[str, Callable[[Any], ResponseFormat]] = {
    "json_schema": _json_schema,
    "choice": _choice,
    "regex": lambda given: _text("regex", given),
    "grammar": lambda given: _text("grammar", given),
}


def _of_type(given: type) -> ResponseFormat:
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    known = hasattr(given, "model_json_schema") or dataclasses.is_dataclass(given) or is_typeddict(given)
    if not known:
        raise TypeError(
            f"response_format must be a pydantic model, a dataclass or a TypedDict, got {given!r}"
        )
    try:
        schema = strict(TypeAdapter(given).json_schema())
    except (PydanticUserError, NameError) as error:
        raise TypeError(f"{given.__name__} has no JSON Schema: {error}") from error
    return ResponseFormat("json_schema", json.dumps(schema, ensure_ascii=False), given.__name__, given)


def check(schema: Any) -> None:
    """Raises ValueError for what is no JSON Schema (Draft 2020-12), naming the place."""
    import regex
    from jsonschema import Draft202012Validator, FormatChecker, SchemaError

    try:
        # Without the check of patterns by Python's re, which knows fewer than the grammar and the verdicts do.
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
        for path, part in parts(schema):
            for pattern in (part.get("pattern"), *(part.get("patternProperties") or ())):
                if pattern is not None:
                    _compiles(regex, pattern, path)
    except SchemaError as error:
        where = pointer(error.absolute_path) or "the root"
        raise ValueError(f"no valid JSON Schema: {error.message} (at {where})") from None
    except RecursionError:
        raise ValueError("no valid JSON Schema: it is nested too deeply") from None


def _compiles(regex: Any, pattern: str, path: Any) -> None:
    try:
        regex.compile(pattern)
    except regex.error as error:
        where = pointer(path) or "the root"
        raise ValueError(
            f"no valid JSON Schema: the pattern {pattern!r} is no regex: {error} (at {where})"
        ) from None


def pointer(path: Any) -> str:
    """A JSON Pointer (RFC 6901) from its parts."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def strict(schema: Any) -> Any:
    """A copy in which every object is closed and requires all its properties, as OpenAI's strict mode wants."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _strict_part(name, value) for name, value in schema.items() if name != "default"}
    if isinstance(found.get("properties"), dict):
        found["required"] = list(found["properties"])
    if found.get("type") == "object" and "additionalProperties" not in found:
        found["additionalProperties"] = False
    return found


def _strict_part(name: str, value: Any) -> Any:
    if name in _MAPS and isinstance(value, dict):
        return {key: strict(part) for key, part in value.items()}
    return value if name in ("enum", "const", "examples") else strict(value)


_SAYS_SOMETHING = {
    "type", "properties", "items", "prefixItems", "enum", "const", "anyOf", "oneOf", "allOf", "not", "if", "$ref",
    "$dynamicRef", "pattern", "format", "required", "patternProperties", "additionalProperties", "multipleOf",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems",
    "uniqueItems", "contains", "propertyNames", "minProperties", "maxProperties", "dependentRequired",
    "dependentSchemas", "unevaluatedItems", "unevaluatedProperties",
}  # fmt: skip
"""Keywords that forbid something; a dict without one is hardly meant as a schema."""
_MAPS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
"""Keywords whose values are names with schemas."""
_ONE = ("items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else",
        "unevaluatedItems", "unevaluatedProperties")  # fmt: skip
_MANY = ("anyOf", "oneOf", "allOf", "prefixItems")


def parts(schema: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Every schema inside a schema, itself first, with the path that leads to it."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for name in _ONE:
        yield from parts(schema.get(name), (*path, name))
    for name in _MANY:
        for i, part in enumerate(schema.get(name) or ()):
            yield from parts(part, (*path, name, i))
    for name in _MAPS:
        for key, part in (schema.get(name) or {}).items():
            yield from parts(part, (*path, name, key))


_REFUSED = ("allOf", "not", "dependentRequired", "dependentSchemas", "if", "then", "else", "oneOf",
            "patternProperties", "propertyNames", "unevaluatedProperties", "unevaluatedItems", "contains",
            "minContains", "maxContains", "uniqueItems", "minProperties", "maxProperties", "prefixItems")  # fmt: skip
"""Keywords that OpenAI's strict mode does not take."""


def strict_violations(schema: Any) -> list[str]:
    """Every rule of OpenAI's strict mode (Structured Outputs) that a schema breaks, with its place; none: [].

    The rules: the root is an object and no union; every object is closed (`additionalProperties: false`) and
    requires all its properties; only supported keywords; at most 10 levels, 5,000 properties, 1,000 enum values
    and 120,000 characters of names and values. Levels are counted where they stand, not through $ref.
    Source: https://platform.openai.com/docs/guides/structured-outputs (Supported schemas, 2025).
    """
    given = response_format(schema)
    if given is None or given.kind != "json_schema":
        raise ValueError(
            "only a JSON Schema can be strict: give a schema, a pydantic model, or a json_schema format"
        )
    root = given.schema
    if not isinstance(root, dict):
        return ["the root must be an object schema, not true or false"]
    found = []
    if root.get("type") != "object":
        found.append(f"the root must have type object, got {root.get('type')!r}")
    if "anyOf" in root:
        found.append("the root must not be a union (anyOf)")
    for path, part in parts(root):
        found += [f"{pointer(path) or 'the root'}: {rule}" for rule in _broken(part)]
    return [*found, *_too_large(root)]


def _broken(part: dict[str, Any]) -> Iterator[str]:
    if part.get("type") == "object" or "properties" in part:
        names = list(part.get("properties") or {})
        if part.get("additionalProperties") is not False:
            yield "an object must have additionalProperties: false"
        if missing := [n for n in names if n not in (part.get("required") or ())]:
            yield f"all properties must be required, {', '.join(map(repr, missing))} not"
    for name in _REFUSED:
        if name in part:
            yield f"{name} is not supported"
    if "$ref" in part and not str(part["$ref"]).startswith("#"):
        yield f"$ref must be local, got {part['$ref']!r}"


def _too_large(root: dict[str, Any]) -> Iterator[str]:
    found = list(parts(root))
    names = [
        name
        for _, part in found
        for key in ("properties", "$defs", "definitions")
        for name in part.get(key, {})
    ]
    enums = [value for _, part in found for value in part.get("enum", ())]
    levels = 1 + max(sum(step in ("properties", "items") for step in path) for path, _ in found)
    characters = sum(map(len, names)) + sum(len(str(v)) for v in enums)
    properties = sum(len(part.get("properties", {})) for _, part in found)
    for what, have, most in (
        ("levels of nesting", levels, MAX_DEPTH),
        ("properties", properties, MAX_PROPERTIES),
        ("enum values", len(enums), MAX_ENUM),
        ("characters of names and values", characters, MAX_CHARACTERS),
    ):
        if have > most:
            yield f"at most {most:,} {what} are allowed, got {have:,}"
