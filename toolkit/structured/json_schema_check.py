"""Checks a value against a JSON Schema, within the time limit of its text, and against the Python type behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cache, lru_cache
from itertools import islice
from typing import Any

from toolkit._internal.field_docs import documented
from toolkit.structured.formats import format_checker
from toolkit.structured.json_schema import pointer, subschemas
from toolkit.structured.patterns import matches
from toolkit.structured.response_format import ResponseFormat
from toolkit.structured.time_limit import remaining_seconds

_MAX_VIOLATIONS = 100
"""The most violations that a verdict lists."""


@documented
@dataclass(frozen=True)
class Violation:
    """One place where an answer violates its schema."""

    pointer: str
    """The place in the answer: a JSON Pointer (RFC 6901); "" is the root."""
    keyword: str
    """The schema's keyword that fails."""
    expected: Any
    """The keyword's value in the schema."""
    found: Any
    """The answer's value at this place."""
    message: str
    """What is wrong there, in words."""


def violations(value: Any, expected_format: ResponseFormat) -> tuple[Violation, ...]:
    """The violations of the schema in a JSON value; without any, those of the type that the schema was made from.

    Raises OutOfTime when the time limit of the text is used up.
    """
    try:
        failures = tuple(_violation(e) for e in islice(_errors(value, expected_format), _MAX_VIOLATIONS))
    except RecursionError:
        return (Violation("", "$ref", None, None, "schema and answer are nested too deeply to be compared"),)
    except Exception as error:  # noqa: BLE001  # an unresolvable reference: a fault of the schema, reported as data
        return (Violation("", "$ref", None, None, f"the schema cannot be followed: {error}"),)
    return failures or _type_violations(value, expected_format)


@cache
def load_libraries() -> None:
    """Loads what the checks need, which may take a second: no text's limit counts it."""
    import pydantic  # noqa: F401

    format_checker()


def _errors(value: Any, expected_format: ResponseFormat) -> Iterator[Any]:
    schema = '{"type": "object"}' if expected_format.kind == "json_object" else expected_format.value
    errors: Iterator[Any] = _validator(schema).iter_errors(value)
    return errors


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    """A validator of Draft 2020-12 that checks formats, each of whose keywords keeps to the time limit. Remote
    references are not fetched (the registry has no retriever)."""
    from jsonschema import Draft202012Validator, validators
    from referencing import Registry

    extend: Any = validators.extend  # untyped in the library's stubs
    keywords = {
        **Draft202012Validator.VALIDATORS,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "multipleOf": _multiple_of,
        "uniqueItems": _unique_items,
    }
    limited = extend(Draft202012Validator, {name: _limited(check) for name, check in keywords.items()})
    root = json.loads(schema)
    for _, part in subschemas(root):
        # A subschema with a dialect would be checked by the library's own validator, which has no time limit.
        part.pop("$schema", None)
    return limited(root, format_checker=format_checker(), registry=Registry())


def _limited(check: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    """A keyword's check that ends when the time limit is used up."""

    def limited_check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        remaining_seconds()
        yield from check(validator, value, instance, schema) or ()

    return limited_check


def _unique_items(validator: Any, is_unique: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """In linear time; the library compares each pair of items."""
    from jsonschema import ValidationError

    if not is_unique or not isinstance(instance, list):
        return
    seen = set()
    for item in instance:
        remaining_seconds()
        seen.add(_hashable(item))
    if len(seen) < len(instance):
        yield ValidationError(f"{quoted(json.dumps(instance))} has non-unique elements")


def _hashable(value: Any) -> Any:
    """A JSON value as one that can be hashed, and equals those of all equal values: 1 equals 1.0, and not true."""
    if isinstance(value, dict):
        return "object", frozenset((name, _hashable(item)) for name, item in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_hashable, value))
    return ("boolean", value) if isinstance(value, bool) else value


def _multiple_of(validator: Any, step: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """Compares decimals, as the numbers are written: 19.99 is a multiple of 0.01."""
    from jsonschema import ValidationError

    if not validator.is_type(instance, "number"):
        return
    try:
        with localcontext(prec=5000):
            is_multiple = Decimal(str(instance)) % Decimal(str(step)) == 0
    except (ArithmeticError, ValueError):  # a number outside the range of Decimal
        is_multiple = False
    if not is_multiple:
        yield ValidationError(f"{quoted(str(instance))} is not a multiple of {step}")


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(instance, str) and not matches(pattern, instance):
        yield ValidationError(f"{quoted(instance)} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for pattern, part in patterns.items():
            for name, value in instance.items():
                if matches(pattern, name):
                    yield from validator.descend(value, part, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not isinstance(instance, dict):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    additional = [n for n in instance if n not in named and not any(matches(p, n) for p in patterns)]
    if allowed is False and additional:
        yield ValidationError(f"{', '.join(map(quoted, additional))} is not allowed here")
    elif isinstance(allowed, dict):
        for name in additional:
            yield from validator.descend(instance[name], allowed, path=name)


def _violation(error: Any) -> Violation:
    expected = error.validator_value
    return Violation(
        pointer(error.absolute_path), str(error.validator), expected, error.instance, clipped(error.message)
    )


def _type_violations(value: Any, expected_format: ResponseFormat) -> tuple[Violation, ...]:
    """The errors of the type's validators for a value that its schema allows."""
    from pydantic import ValidationError

    if expected_format.type is None or expected_format.members:
        return ()
    type_name = expected_format.name
    try:
        type_adapter(expected_format.type).validate_json(json.dumps(value))
    except ValidationError as error:
        return tuple(
            Violation(_value_pointer(value, e["loc"]), e["type"], type_name, e["input"], clipped(e["msg"]))
            for e in islice(error.errors(), _MAX_VIOLATIONS)
        )
    except Exception as error:  # noqa: BLE001  # user-defined validators may raise anything
        return (Violation("", "type", type_name, value, clipped(f"{type(error).__name__}: {error}")),)
    return ()


def _value_pointer(value: Any, path: Sequence[Any]) -> str:
    """pydantic's path as a JSON Pointer, without the names of union members, which are not part of the value."""
    steps: list[Any] = []
    for step in path:
        inside = isinstance(value, dict) and step in value
        if inside or (isinstance(value, list) and isinstance(step, int) and step < len(value)):
            value = value[step]
            steps.append(step)
    return pointer(steps)


@lru_cache(maxsize=256)
def type_adapter(type_: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(type_)


def quoted(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")


def clipped(text: str) -> str:
    return text if len(text) <= 200 else text[:199] + "…"
