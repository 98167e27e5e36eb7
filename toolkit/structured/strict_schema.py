"""The rules of OpenAI's strict mode for JSON Schemas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from toolkit.structured.json_schema import keywords, pointer, subschemas
from toolkit.structured.response_format import response_format

MAX_DEPTH, MAX_PROPERTIES, MAX_ENUM, MAX_CHARACTERS = 10, 5000, 1000, 120_000
"""OpenAI's limits on a strict schema: levels of nesting, properties in all, enum values in all, characters of all
names, definitions and enum values (https://platform.openai.com/docs/guides/structured-outputs, Supported schemas)."""
_UNSUPPORTED = (
    "allOf", "not", "dependentRequired", "dependentSchemas", "if", "then", "else", "oneOf", "patternProperties",
    "propertyNames", "unevaluatedProperties", "unevaluatedItems", "contains", "minContains", "maxContains",
    "uniqueItems", "minProperties", "maxProperties", "prefixItems",
)  # fmt: skip
"""Keywords that OpenAI's strict mode does not support."""


def strict_violations(schema: Any) -> list[str]:
    """The rules of OpenAI's strict mode (Structured Outputs) that a schema breaks, with the place; [] for none.

    The rules: the root is an object and no union; every object is closed (`additionalProperties: false`) and
    requires all its properties; only supported keywords; at most 10 levels, 5,000 properties, 1,000 enum values
    and 120,000 characters of names and values. Levels are counted in the text, without following $ref.
    Source: https://platform.openai.com/docs/guides/structured-outputs (Supported schemas, 2025).
    """
    expected_format = response_format(schema)
    if expected_format is None or expected_format.kind != "json_schema":
        raise ValueError(
            "only a JSON Schema can be strict: give a schema, a pydantic model, or a json_schema format"
        )
    root = expected_format.schema
    if not isinstance(root, dict):
        return ["the root must be an object schema, not true or false"]
    problems = []
    if root.get("type") != "object":
        problems.append(f"the root must have type object, got {root.get('type')!r}")
    if "anyOf" in root:
        problems.append("the root must not be a union (anyOf)")
    for path, part in subschemas(root):
        problems += [f"{pointer(path) or 'the root'}: {rule}" for rule in _broken_rules(part)]
    return [*problems, *_exceeded_limits(root)]


def _broken_rules(part: dict[str, Any]) -> Iterator[str]:
    if part.get("type") == "object" or "properties" in part:
        names = list(part.get("properties") or {})
        if part.get("additionalProperties") is not False:
            yield "an object must have additionalProperties: false"
        if missing := [n for n in names if n not in (part.get("required") or ())]:
            yield f"all properties must be required, {', '.join(map(repr, missing))} not"
    for name in _UNSUPPORTED:
        if name in part:
            yield f"{name} is not supported"
    if "$ref" in part and not str(part["$ref"]).startswith("#"):
        yield f"$ref must be local, got {part['$ref']!r}"


def _exceeded_limits(root: dict[str, Any]) -> Iterator[str]:
    schemas = list(subschemas(root))
    names = [
        name
        for _, part in schemas
        for key in ("properties", "$defs", "definitions")
        for name in part.get(key, {})
    ]
    enums = [value for _, part in schemas for value in part.get("enum", ())]
    levels = 1 + max(sum(name in ("properties", "items") for name in keywords(path)) for path, _ in schemas)
    characters = sum(map(len, names)) + sum(len(str(v)) for v in enums)
    properties = sum(len(part.get("properties", {})) for _, part in schemas)
    for what, count, limit in (
        ("levels of nesting", levels, MAX_DEPTH),
        ("properties", properties, MAX_PROPERTIES),
        ("enum values", len(enums), MAX_ENUM),
        ("characters of names and values", characters, MAX_CHARACTERS),
    ):
        if count > limit:
            yield f"at most {limit:,} {what} are allowed, got {count:,}"
