"""The formats of JSON Schema (`format`), each checked in time that is linear in the text."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import regex

_ASCII = ("date", "date-time", "duration", "hostname", "ipv4", "ipv6", "time", "uri", "uri-reference", "uuid")
"""Formats of ASCII characters alone: the library also takes digits of other scripts, and a line feed at the end."""
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_NON_ASCII_IRI = regex.compile(
    r"[\xa0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef"
    + "".join(rf"\U{plane:04x}0000-\U{plane:04x}fffd" for plane in range(1, 14))
    + r"\U000e1000-\U000efffd]"
)
"""`ucschar` of RFC 3987: what may stand for an unreserved character of a URI."""
_PRIVATE_IRI = regex.compile(r"[\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd]")
"""`iprivate`: in a query alone."""
_URI_TEMPLATE = regex.compile(r"[^{}\x00-\x20\x7f]*+(?:\{[^{}]*+\}[^{}\x00-\x20\x7f]*+)*+")
_RELATIVE_POINTER = re.compile(r"(?:0|[1-9][0-9]*)(#|/.*|)", re.DOTALL)


@cache
def format_checker() -> Any:
    """jsonschema's checks of Draft 2020-12, with our own where they are slow or allow too much."""
    from jsonschema import Draft202012Validator, FormatChecker

    checker = FormatChecker(formats=())
    checker.checkers = dict(Draft202012Validator.FORMAT_CHECKER.checkers)
    original = {name: check for name, (check, _) in checker.checkers.items()}
    for name in _ASCII:
        checker.checkers[name] = (_ascii_only(original[name]), checker.checkers[name][1])
    uri, reference, template = (original[n] for n in ("uri", "uri-reference", "uri-template"))
    own: dict[str, Callable[[str], bool]] = {
        "iri": lambda text: _is_iri(text, uri),
        "iri-reference": lambda text: _is_iri(text, reference),
        "uri-template": lambda text: bool(_URI_TEMPLATE.fullmatch(text)) and bool(template(text)),
        "relative-json-pointer": lambda text: _is_relative_pointer(text, original["json-pointer"]),
        "regex": _is_regex,
    }
    for name, is_valid in own.items():
        checker.checkers[name] = (_of_texts(is_valid), checker.checkers[name][1])
    return checker


def _of_texts(check: Callable[[str], bool]) -> Callable[[object], bool]:
    """A check of texts: a format allows everything that is no text."""
    return lambda value: not isinstance(value, str) or check(value)


def _ascii_only(check: Callable[[object], Any]) -> Callable[[object], bool]:
    return _of_texts(lambda text: text.isascii() and not _CONTROL.search(text) and bool(check(text)))


def _is_iri(text: str, is_uri: Callable[[object], Any]) -> bool:
    """RFC 3987: a URI in which further characters may stand where an unreserved one may. The library's own parser
    takes seconds for some thousand characters."""
    before, number_sign, fragment = text.partition("#")
    path, question_mark, query = before.partition("?")
    uri = f"{path}{question_mark}{_PRIVATE_IRI.sub('~', query)}{number_sign}{fragment}"
    # Unreserved everywhere, and allowed in no scheme, port or address of numbers.
    uri = _NON_ASCII_IRI.sub("~", uri)
    return bool(is_uri(uri))


def _is_relative_pointer(text: str, is_pointer: Callable[[object], Any]) -> bool:
    match = _RELATIVE_POINTER.fullmatch(text)
    return match is not None and (match[1] == "#" or bool(is_pointer(match[1])))


def _is_regex(text: str) -> bool:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return False
    return True
