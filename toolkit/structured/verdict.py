"""Verdict: whether a text conforms to a response format, and if not, what is wrong with it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from toolkit._internal.field_docs import documented
from toolkit._internal.text import short_repr
from toolkit.display.markup import Markup, markup
from toolkit.structured.json_schema_check import Violation, load_libraries, quoted, type_adapter, violations
from toolkit.structured.json_text import (
    JSON_BEGINNING,
    OPEN_FENCE,
    fenced_json,
    is_complete,
    loads,
    loops,
    partial_json,
)
from toolkit.structured.patterns import matches
from toolkit.structured.response_format import ResponseFormat, response_format
from toolkit.structured.time_limit import TIME_LIMIT, OutOfTime, time_limit

_APOLOGY = (
    r"(?:(?:I['’]m|I am|We['’]re|we are)\s*+)?(?:very |really |so )?"
    r"(?:sorry|afraid|unfortunately)\b[^.!?]{0,40}?"
)
_CANNOT = (
    r"\b(?:(?:I|we) (?:can(?:no|['’])t|can not|could not|am (?:unable|not able) to|won['’]t|will not|must decline)"
    r"|I['’]m (?:unable|not able) to)\s*+(?:to )?"
)
_HELP = (
    "help|assist|answer|provide|comply|do that|do this|fulfil|discuss|give|share|create|write|generate|say|tell"
    "|[.!]|$"
)
_TASK = (
    "rate|classify|judge|evaluate|assess|review|translate|summari[sz]e|extract|determine|decide|analy[sz]e|identify"
    "|describe|complete|continue|respond|reply|follow|engage|produce|perform|process|access|browse|open|view|read"
)
_REFUSAL = re.compile(
    rf"(?:{_APOLOGY})?{_CANNOT}(?:{_HELP})|{_APOLOGY}{_CANNOT}(?:{_TASK})\b|as an ai\b", re.IGNORECASE
)
"""How refusals begin: an apology or "cannot" with a verb of helping, or both with a verb of a task ("I cannot
describe how good it is" is an answer, "Sorry, I cannot describe it" is none). White space is not tried again, so that
the time is linear in it."""


@documented
@dataclass(frozen=True)
class Verdict:
    """The result of checking a text against its response format."""

    status: str
    """valid; truncated (at max_tokens); loop (whitespace or the same words until max_tokens);
    fenced_json (not JSON itself, but a fenced block of it is); not_json (prose, broken JSON); wrong_schema; refused
    (by the model); timeout (the check was stopped at its time limit: it is not known)."""
    value: Any = None
    """The text as plain data; for a truncated one, what could be parsed."""
    violations: tuple[Violation, ...] = ()
    """Where the value does not conform; with status fenced_json, where `fenced` does not."""
    reason: str = ""
    """Why the text is not valid JSON, and where."""
    fenced: Any = None
    """The JSON in a fenced block (```) of a text that is not JSON itself."""

    @property
    def valid(self) -> bool:
        return self.status == "valid"

    def __str__(self) -> str:
        details = [self.reason, *(f"{v.pointer or 'the root'}: {v.message}" for v in self.violations)]
        return f"{self.status}: {'; '.join(d for d in details if d)}" if any(details) else self.status

    def _repr_html_(self) -> Markup:
        details = str(self).removeprefix(self.status).removeprefix(": ")
        return markup("<p><b>{}</b> {}</p>", self.status, details)


def verdict(text: str, form: Any, finish_reason: str = "stop") -> Verdict:
    """Whether a text conforms to a response format (a schema, a type, a choice, a regex, …: see `response_format`).

    finish_reason "length" distinguishes a truncated text from a wrong one. All that is done to a text together has
    1 second of computing; a check that needs more is stopped, and its status is "timeout". Raises ValueError or
    TypeError for an invalid `form`, never for any text.

    >>> verdict('{"a": 1}', {"type": "object", "required": ["b"]}).violations[0].message
    "'b' is a required property"
    """
    expected_format = response_format(form)
    if expected_format is None:
        raise ValueError(
            "there is no response format to check against: give a schema, a type, or a response_format"
        )
    if not isinstance(text, str):
        raise TypeError(
            f"text must be text, got {short_repr(text)}: what a model wrote, such as completion.text"
        )
    truncated = finish_reason == "length"
    check = _json_verdict if expected_format.is_json else _text_verdict
    if expected_format.is_json:
        load_libraries()
    try:
        with time_limit():
            return check(text, expected_format, truncated)
    except OutOfTime:
        reason = f"the check was stopped after {TIME_LIMIT:g} s of computing: whether the text conforms is not known"
        return Verdict("timeout", reason=reason)


def _text_verdict(text: str, expected_format: ResponseFormat, truncated: bool) -> Verdict:
    """For a choice, a regex or a grammar. A grammar is left to the engine: only a truncated text is not valid."""
    kind = expected_format.kind
    expected: Any = list(expected_format.choices) if kind == "choice" else expected_format.value
    if kind == "choice":
        conforms = text in expected_format.choices
    else:
        conforms = not truncated if kind == "grammar" else _fits(expected_format.value, text)
    if conforms:
        return Verdict("valid", text)
    if truncated and (kind == "grammar" or _is_prefix(text, expected_format)):
        return Verdict("loop" if loops(text) else "truncated", text)
    if _REFUSAL.match(text.lstrip()):
        return Verdict("refused", reason=text.strip())
    message = f"{quoted(text)} is not what {kind} allows"
    return Verdict("wrong_schema", text, (Violation("", kind, expected, text, message),))


def _fits(pattern: str, text: str) -> bool:
    try:
        return matches(pattern, text, full=True)
    except ValueError:  # a regular expression that only the engine understands
        return False


def _is_prefix(text: str, expected_format: ResponseFormat) -> bool:
    """Whether the text is the beginning of one that the choice or the regex allows."""
    if expected_format.kind == "choice":
        return any(choice.startswith(text) for choice in expected_format.choices)
    try:
        return matches(expected_format.value, text, partial=True)
    except ValueError:
        return True


def _json_verdict(text: str, expected_format: ResponseFormat, truncated: bool) -> Verdict:
    try:
        value = loads(text)
    except ValueError as error:
        return _invalid_json_verdict(text, expected_format, str(error), truncated and not is_complete(text))
    failures = violations(value, expected_format)
    return Verdict("wrong_schema" if failures else "valid", value, failures)


def _invalid_json_verdict(
    text: str, expected_format: ResponseFormat, reason: str, truncated: bool
) -> Verdict:
    if truncated and loops(text):
        return Verdict("loop", partial_json(text), reason="the end repeats itself until max_tokens")
    if truncated and JSON_BEGINNING.match(text.lstrip()):
        return Verdict("truncated", partial_json(text), reason=reason)
    if truncated and (open_fence := OPEN_FENCE.search(text)):
        return Verdict("truncated", partial_json(open_fence[1]), reason="the fenced block does not end")
    if _REFUSAL.match(text.lstrip()):
        return Verdict("refused", reason=text.strip())
    fenced = fenced_json(text)
    if fenced is None:
        return Verdict("not_json", reason=reason)
    failures = violations(fenced, expected_format)
    reason = "the JSON is in a fenced block" + (", and does not conform" if failures else ", and conforms")
    return Verdict("fenced_json", None, failures, reason, fenced)


def parsed(found: Verdict, form: ResponseFormat) -> Any:
    """The value of a valid verdict, as an instance of the format's type if it has one; else None."""
    if not found.valid or form.type is None:
        return found.value if found.valid else None
    if form.members:
        is_flag = isinstance(found.value, bool)  # True equals 1
        return next(m for v, m in form.members if v == found.value and isinstance(v, bool) == is_flag)
    return type_adapter(form.type).validate_json(json.dumps(found.value))
