"""JSON Schemas as trees: their subschemas, pointers into them, and strict copies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


def pointer(path: Any) -> str:
    """A JSON Pointer (RFC 6901) from its steps."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def keywords(path: Sequence[Any]) -> Iterator[str]:
    """The keywords on the path of a subschema (see `subschemas`), without the names and positions in them."""
    steps = iter(path)
    for keyword in steps:
        yield keyword
        if keyword in _MAP_KEYWORDS or keyword in _LIST_KEYWORDS:
            next(steps, None)


def make_strict(schema: Any) -> Any:
    """A copy as OpenAI's strict mode requires: every object closed, all its properties required, no defaults."""
    if isinstance(schema, list):
        return [make_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {name: _strict_value(name, value) for name, value in schema.items() if name != "default"}
    if isinstance(copy.get("properties"), dict):
        copy["required"] = list(copy["properties"])
    if copy.get("type") == "object" and "additionalProperties" not in copy:
        copy["additionalProperties"] = False
    return copy


def _strict_value(name: str, value: Any) -> Any:
    if name in _MAP_KEYWORDS and isinstance(value, dict):
        return {key: make_strict(part) for key, part in value.items()}
    return value if name in ("enum", "const", "examples") else make_strict(value)


_MAP_KEYWORDS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
"""Keywords whose value maps names to schemas."""
_SINGLE_KEYWORDS = ("items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else",
                    "unevaluatedItems", "unevaluatedProperties")  # fmt: skip
"""Keywords whose value is a schema."""
_LIST_KEYWORDS = ("anyOf", "oneOf", "allOf", "prefixItems")
"""Keywords whose value is a list of schemas."""


def subschemas(schema: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Every schema inside a schema, itself first, with its path."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for steps, part in children(schema):
        yield from subschemas(part, (*path, *steps))


def children(schema: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The schemas directly in a schema, with their paths."""
    for name in _SINGLE_KEYWORDS:
        if name in schema:
            yield (name,), schema[name]
    for name in _LIST_KEYWORDS:
        for i, part in enumerate(schema.get(name) or ()):
            yield (name, i), part
    for name in _MAP_KEYWORDS:
        for key, part in (schema.get(name) or {}).items():
            yield (name, key), part
