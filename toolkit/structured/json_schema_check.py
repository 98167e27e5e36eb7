"""Checks a value against a JSON Schema, with a time limit on patterns, and against the Python type behind it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache
from itertools import islice
from typing import Any

from toolkit.structured.json_schema import pointer, subschemas
from toolkit.structured.response_format import ResponseFormat

PATTERN_TIMEOUT = 0.1
"""Seconds that one pattern may take on one text before the text counts as not matching."""
_BUDGET = 2.0
"""Seconds that all patterns of one verdict may take in total."""
_clock = threading.local()
_MAX_VIOLATIONS = 100
"""The most violations that a verdict lists."""


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


def violations(value: Any, expected_format: ResponseFormat) -> tuple[Violation, ...]:
    """The violations of the schema in a JSON value; without any, those of the type that the schema was made from."""
    _clock.remaining = _BUDGET
    try:
        failures = tuple(_violation(e) for e in islice(_errors(value, expected_format), _MAX_VIOLATIONS))
    except RecursionError:
        return (Violation("", "$ref", None, None, "schema and answer are nested too deeply to be compared"),)
    except Exception as error:  # noqa: BLE001  # an unresolvable reference: a fault of the schema, reported as data
        return (Violation("", "$ref", None, None, f"the schema cannot be followed: {error}"),)
    return failures or _type_violations(value, expected_format)


def _errors(value: Any, expected_format: ResponseFormat) -> Iterator[Any]:
    schema = '{"type": "object"}' if expected_format.kind == "json_object" else expected_format.value
    errors: Iterator[Any] = _validator(schema).iter_errors(value)
    return errors


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    """A validator of Draft 2020-12 that checks formats. Remote references are not fetched (the registry has no
    retriever), and patterns are matched with a time limit."""
    from jsonschema import Draft202012Validator, validators
    from referencing import Registry

    extend: Any = validators.extend  # untyped in the library's stubs
    limited = extend(
        Draft202012Validator,
        {
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional_properties,
            "multipleOf": _multiple_of,
        },
    )
    root = json.loads(schema)
    for _, part in subschemas(root):
        # A subschema with a dialect would be checked by the library's own validator, which has no time limit.
        part.pop("$schema", None)
    return limited(root, format_checker=Draft202012Validator.FORMAT_CHECKER, registry=Registry())


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

    if isinstance(instance, str) and not pattern_matches(pattern, instance):
        yield ValidationError(f"{quoted(instance)} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for pattern, part in patterns.items():
            for name, value in instance.items():
                if pattern_matches(pattern, name):
                    yield from validator.descend(value, part, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not isinstance(instance, dict):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    additional = [n for n in instance if n not in named and not any(pattern_matches(p, n) for p in patterns)]
    if allowed is False and additional:
        yield ValidationError(f"{', '.join(map(quoted, additional))} is not allowed here")
    elif isinstance(allowed, dict):
        for name in additional:
            yield from validator.descend(instance[name], allowed, path=name)


def pattern_matches(pattern: str, text: str, full: bool = False) -> bool:
    """Whether a pattern matches (the full text, or anywhere in it); False when its time is used up."""
    import regex

    remaining = getattr(_clock, "remaining", _BUDGET)
    if remaining <= 0:
        return False
    start = time.monotonic()
    try:
        match = regex.fullmatch if full else regex.search
        return bool(match(pattern, text, timeout=min(PATTERN_TIMEOUT, remaining)))
    except (TimeoutError, regex.error):
        return False
    finally:
        _clock.remaining = remaining - (time.monotonic() - start)


def _violation(error: Any) -> Violation:
    expected = error.validator_value
    return Violation(
        pointer(error.absolute_path), str(error.validator), expected, error.instance, clipped(error.message)
    )


def _type_violations(value: Any, expected_format: ResponseFormat) -> tuple[Violation, ...]:
    """The errors of the type's validators for a value that its schema allows."""
    from pydantic import ValidationError

    if expected_format.type is None:
        return ()
    type_name = expected_format.name
    try:
        type_adapter(expected_format.type).validate_json(json.dumps(value))
    except ValidationError as error:
        return tuple(
            Violation(_value_pointer(value, e["loc"]), e["type"], type_name, e["input"], clipped(e["msg"]))
            for e in error.errors()
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
