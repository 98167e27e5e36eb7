"""Verdict: whether a text has the form that it should have, and if not, what is wrong with it. Never raises."""

from __future__ import annotations

import html
import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache
from itertools import islice
from typing import Any

from toolkit.schema import ResponseFormat, parts, pointer, response_format

_PATIENCE = 0.1
"""Seconds that one pattern may take on one text, before the text counts as not matching."""
_BUDGET = 2.0
"""Seconds that all patterns of one verdict may take together."""
_clock = threading.local()
_MOST = 100
"""Violations that a verdict lists."""
_LOOP = 80
"""Characters at the end of a text that say the same again and again before it counts as a loop."""
_TAIL = 2000
"""Characters of the end that are looked at."""
_FENCE = re.compile(r"```[\w-]*\s*\n(.*?)(?:```|\Z)", re.DOTALL)
_OPEN_FENCE = re.compile(r"```[\w-]*\s*\n((?:(?!```).)*)\Z", re.DOTALL)
_BEGINNING = re.compile(r"\s*(?:[{\[\"]|-?\d*\.?\d*\Z|(?:t|tr|tru|f|fa|fal|fals|n|nu|nul)\Z)")
"""What JSON that was cut begins with: an object, a list, a text, or the beginning of a number or a word."""
_REFUSAL = re.compile(
    r"\s*(?:(?:I['’]m|I am|We['’]re|we are)?\s*(?:very |really |so )?(?:sorry|afraid|unfortunately)\b[^.!?]{0,40})?"
    r"(?:(?:\b(?:I|we) (?:can(?:no|['’])t|can not|could not|am (?:unable|not able) to|won['’]t|will not|must decline)"
    r"|I['’]m (?:unable|not able) to)"
    r"\s*(?:to )?(?:help|assist|answer|provide|comply|do that|do this|fulfil|discuss|give|share|create|write|generate"
    r"|say|tell|[.!]|$)|as an ai\b)",
    re.IGNORECASE,
)
"""How models begin when they will not: what they cannot, and a verb of helping."""


@dataclass(frozen=True)
class Violation:
    """One thing that a schema does not allow."""

    pointer: str
    """Where in the answer: a JSON Pointer (RFC 6901); "" is the whole of it."""
    keyword: str
    """The schema's keyword that fails."""
    expected: Any
    """What the schema says there."""
    found: Any
    """What the answer has there."""
    message: str


@dataclass(frozen=True)
class Verdict:
    """What became of the form that was asked for."""

    status: str
    """valid; truncated (cut at max_tokens); loop (whitespace or the same words until max_tokens); not_json;
    wrong_schema; refused (the model said that it will not)."""
    value: Any = None
    """What the text says, as plain data; of a truncated one, what could be read so far."""
    violations: tuple[Violation, ...] = ()
    reason: str = ""
    """Why it is no JSON, and where."""
    fenced: Any = None
    """What a fenced block (```) in a text that is no JSON holds, when that is JSON."""

    @property
    def valid(self) -> bool:
        return self.status == "valid"

    def __str__(self) -> str:
        details = [self.reason, *(f"{v.pointer or 'the root'}: {v.message}" for v in self.violations)]
        return f"{self.status}: {'; '.join(d for d in details if d)}" if any(details) else self.status

    def _repr_html_(self) -> str:
        return f"<p><b>{self.status}</b> {html.escape(str(self).removeprefix(self.status).removeprefix(': '))}</p>"


def verdict(text: str, form: Any, finish_reason: str = "stop") -> Verdict:
    """Whether a text has a form (see `response_format`: a schema, a type, a choice, a regex, …).

    finish_reason "length" tells a text that was cut from one that is wrong. Raises ValueError or TypeError for a
    bad form, and nothing for any text.

    >>> verdict('{"a": 1}', {"type": "object", "required": ["b"]}).violations[0].message
    "'b' is a required property"
    """
    made = response_format(form)
    if made is None:
        raise ValueError("there is no form to check: give a schema, a type, or a response_format")
    cut = finish_reason == "length"
    return _json(text, made, cut) if made.is_json else _plain(text, made, cut)


def _plain(text: str, form: ResponseFormat, cut: bool) -> Verdict:
    """A choice or a regex; a grammar is taken at the engine's word unless it was cut."""
    expected: Any = list(form.choices) if form.kind == "choice" else form.value
    if form.kind == "choice":
        matches = text in form.choices
    else:
        matches = not cut if form.kind == "grammar" else _matches(form.value, text, whole=True)
    if matches:
        return Verdict("valid", text)
    if cut and (form.kind == "grammar" or _begins(text, form)):
        return Verdict("loop" if _loops(text) else "truncated", text)
    if _REFUSAL.match(text):
        return Verdict("refused", reason=text.strip())
    message = f"{_short(text)} is not what {form.kind} allows"
    return Verdict("wrong_schema", text, (Violation("", form.kind, expected, text, message),))


def _begins(text: str, form: ResponseFormat) -> bool:
    """The text is the beginning of what the form allows."""
    import regex

    if form.kind == "choice":
        return any(choice.startswith(text) for choice in form.choices)
    try:
        return bool(regex.fullmatch(form.value, text, partial=True, timeout=_PATIENCE))
    except (TimeoutError, regex.error):
        return True


def _json(text: str, form: ResponseFormat, cut: bool) -> Verdict:
    try:
        value = loads(text)
    except ValueError as error:
        return _no_json(text, str(error), cut)
    found = violations(value, form)
    return Verdict("wrong_schema" if found else "valid", value, found)


def _no_json(text: str, reason: str, cut: bool) -> Verdict:
    if cut and _loops(text):
        return Verdict("loop", _partial(text), reason="the end repeats itself until max_tokens")
    if cut and _BEGINNING.match(text):
        return Verdict("truncated", _partial(text), reason=reason)
    if cut and (open_fence := _OPEN_FENCE.search(text)):
        return Verdict("truncated", _partial(open_fence[1]), reason="the fenced block does not end")
    if _REFUSAL.match(text):
        return Verdict("refused", reason=text.strip())
    return Verdict("not_json", reason=reason, fenced=_fenced(text))


def loads(text: str) -> Any:
    """JSON as RFC 8259 has it: no NaN. Raises ValueError that says where and what."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        what = (
            "it is empty" if not text.strip() else f"{error.msg}: line {error.lineno}, column {error.colno}"
        )
        raise ValueError(what) from None
    except RecursionError:
        raise ValueError("it is nested too deeply to be read") from None
    except ValueError as error:
        told = str(error)
        raise ValueError(
            "a number has too many digits to be read" if "int_max_str" in told else told
        ) from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _partial(text: str) -> Any:
    """What could be read of a text that was cut."""
    from pydantic_core import from_json

    try:
        return from_json(
            text.encode("utf-8", "replace"), allow_partial="trailing-strings", allow_inf_nan=False
        )
    except (ValueError, RecursionError):
        return None


def _fenced(text: str) -> Any:
    for block in _FENCE.findall(text):
        try:
            return loads(block)
        except ValueError:
            continue
    return None


def _loops(text: str) -> bool:
    """The text ends with white space, or with a piece that was said at least four times: the longest period of the
    end is found as the border of its reverse (Knuth, Morris and Pratt 1977)."""
    if len(text) < _LOOP:
        return False
    if not text[-_LOOP:].strip():
        return True
    end, border, length = text[: -_TAIL - 1 : -1], [0], 0
    for i in range(1, len(end)):
        while length and end[i] != end[length]:
            length = border[length - 1]
        length += end[i] == end[length]
        border.append(length)
        if i + 1 >= _LOOP and i + 1 >= 4 * (i + 1 - length):
            return True
    return False


def violations(value: Any, form: ResponseFormat) -> tuple[Violation, ...]:
    """Everything in a JSON value that a schema, and then the type it was made of, does not allow."""
    _clock.left = _BUDGET
    try:
        found = tuple(_violation(e) for e in islice(_errors(value, form), _MOST))
    except RecursionError:
        return (Violation("", "$ref", None, None, "schema and answer are nested too deeply to be compared"),)
    except Exception as error:  # noqa: BLE001  # a reference that leads nowhere: the schema's fault, told as data
        return (Violation("", "$ref", None, None, f"the schema cannot be followed: {error}"),)
    return found or _type_violations(value, form)


def _errors(value: Any, form: ResponseFormat) -> Iterator[Any]:
    schema = '{"type": "object"}' if form.kind == "json_object" else form.value
    errors: Iterator[Any] = _validator(schema).iter_errors(value)
    return errors


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    """A validator of Draft 2020-12 with formats. References to the network find nothing (the registry has no way
    to fetch), and patterns are matched with a time limit."""
    from jsonschema import Draft202012Validator, validators
    from referencing import Registry

    extend: Any = validators.extend  # the library's stubs leave it untyped
    limited = extend(
        Draft202012Validator,
        {
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional,
            "multipleOf": _multiple,
        },
    )
    made = json.loads(schema)
    for _, part in parts(made):
        # A part that names its dialect would be given to the library's own validator, which has no time limit.
        part.pop("$schema", None)
    return limited(made, format_checker=Draft202012Validator.FORMAT_CHECKER, registry=Registry())


def _multiple(validator: Any, step: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """In decimals, as the numbers are written: 19.99 is a multiple of 0.01."""
    from jsonschema import ValidationError

    if not validator.is_type(instance, "number"):
        return
    try:
        with localcontext(prec=5000):
            whole = Decimal(str(instance)) % Decimal(str(step)) == 0
    except (ArithmeticError, ValueError):  # a number beyond what can be reckoned with
        whole = False
    if not whole:
        yield ValidationError(f"{_short(str(instance))} is not a multiple of {step}")


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError(f"{_short(instance)} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for pattern, part in patterns.items():
            for name, value in instance.items():
                if _matches(pattern, name):
                    yield from validator.descend(value, part, path=name, schema_path=pattern)


def _additional(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not isinstance(instance, dict):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    more = [n for n in instance if n not in named and not any(_matches(p, n) for p in patterns)]
    if allowed is False and more:
        yield ValidationError(f"{', '.join(map(_short, more))} is not allowed here")
    elif isinstance(allowed, dict):
        for name in more:
            yield from validator.descend(instance[name], allowed, path=name)


def _matches(pattern: str, text: str, whole: bool = False) -> bool:
    """Whether a pattern matches; when the time for it is used up it does not."""
    import regex

    left = getattr(_clock, "left", _BUDGET)
    if left <= 0:
        return False
    began = time.monotonic()
    try:
        find = regex.fullmatch if whole else regex.search
        return bool(find(pattern, text, timeout=min(_PATIENCE, left)))
    except (TimeoutError, regex.error):
        return False
    finally:
        _clock.left = left - (time.monotonic() - began)


def _violation(error: Any) -> Violation:
    expected = error.validator_value
    return Violation(
        pointer(error.absolute_path), str(error.validator), expected, error.instance, _clipped(error.message)
    )


def _type_violations(value: Any, form: ResponseFormat) -> tuple[Violation, ...]:
    """What the type's own validators say of a value that its schema allows."""
    from pydantic import ValidationError

    if form.type is None:
        return ()
    try:
        _adapter(form.type).validate_json(json.dumps(value))
    except ValidationError as error:
        return tuple(
            Violation(_place(value, e["loc"]), e["type"], form.name, e["input"], _clipped(e["msg"]))
            for e in error.errors()
        )
    except Exception as error:  # noqa: BLE001  # the user's own validators raise what they like
        return (Violation("", "type", form.name, value, _clipped(f"{type(error).__name__}: {error}")),)
    return ()


def _place(value: Any, path: Sequence[Any]) -> str:
    """pydantic's path as a JSON Pointer: without the names of union members, which are no part of the value."""
    found: list[Any] = []
    for step in path:
        inside = isinstance(value, dict) and step in value
        if inside or (isinstance(value, list) and isinstance(step, int) and step < len(value)):
            value = value[step]
            found.append(step)
    return pointer(found)


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def parsed(found: Verdict, form: ResponseFormat) -> Any:
    """The value of a valid verdict, as an instance of the form's type where it has one; else None."""
    if not found.valid or form.type is None:
        return found.value if found.valid else None
    return _adapter(form.type).validate_json(json.dumps(found.value))


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _clipped(text: str) -> str:
    return text if len(text) <= 200 else text[:199] + "…"
