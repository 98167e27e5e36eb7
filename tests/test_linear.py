"""Every regular expression of the package takes time that is linear in the text, which a model may have written."""

import importlib
import pkgutil
import re

import pytest
import regex
from hypothesis import given, strategies as st
from test_verdict import seconds

import toolkit
from toolkit.analysis.spans import _PATTERNS
from toolkit.analysis.text_diff import words
from toolkit.results import csv_table
from toolkit.structured.json_text import JSON_BEGINNING, fenced_json, loops, partial_json
from toolkit.widgets.base import visible

PIECES = (
    " ", "\n", " \n", "a", "1", "-", "_", ".", "!?", "'", '"', ".'", "a-", "a'", "1.", "(", "] ", "[", "{", "\\", "`",
    "```", "```\n", "```a\n", "\u0301", "a\u0301", "\u200d", "字", "。", "」", "I am ", "I can't ", "very ", "sorry ",
    "data:image/", ";base64,", "token", "_token", "api_", "key", "://", "@", "Error", "messages[", "tru", "0x", "%41",
    "~", "\ue000", "é",
)  # fmt: skip
"""Repeated, they are what the package's patterns look for, in part."""


def patterns():
    """(where, pattern) of all that modules of the package hold, each once."""
    seen = set()
    for module in pkgutil.walk_packages(toolkit.__path__, "toolkit."):
        if module.name.endswith(("__main__", "_main")):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            values = value.values() if isinstance(value, dict) else [value]
            for number, item in enumerate(values):
                if isinstance(item, (re.Pattern, regex.Pattern)) and item not in seen:
                    seen.add(item)
                    yield f"{module.name}.{name}.{number}", item


PATTERNS = dict(patterns())
TRIED_AT_THE_BEGINNING = {JSON_BEGINNING, csv_table._GUARDED}


def work(pattern, text):
    if isinstance(pattern.pattern, bytes):
        text = text.encode()
    pattern.match(text)
    pattern.fullmatch(text)
    if pattern not in TRIED_AT_THE_BEGINNING:
        for _ in pattern.finditer(text):
            pass


def is_linear(run, text):
    """Eight times the text may take 30 times as long, and not 64; 20 ms are not measured."""
    return seconds(lambda: run(text(16_000)), 1) < max(0.02, 30 * seconds(lambda: run(text(2000)), 1)) or (
        seconds(lambda: run(text(16_000))) < 30 * seconds(lambda: run(text(2000)))
    )


@pytest.mark.parametrize("name", PATTERNS)
def test_no_pattern_is_slow_on_a_piece_repeated(name):
    slow = [
        piece + end
        for piece in PIECES
        for end in ("", "x", "\n!")
        if not is_linear(lambda text: work(PATTERNS[name], text), lambda n: piece * (n // len(piece)) + end)  # noqa: B023
    ]
    assert slow == []


def test_the_patterns_are_found():
    names = {name.rpartition(".")[0].rpartition(".")[2] for name in PATTERNS}
    assert {"_REFUSAL", "JSON_BEGINNING", "OPEN_FENCE", "_INVISIBLE", "_WORD"} <= names
    assert len(PATTERNS) > 15


@pytest.mark.parametrize(
    "run", [words, visible, partial_json, fenced_json, loops], ids=lambda run: run.__name__
)
def test_what_reads_a_text_is_linear(run):
    pieces = (*PIECES, '{"a":', "[1,", '"a",', "\\u0061")
    assert [p for p in pieces if not is_linear(run, lambda n: p * (n // len(p)) + "x")] == []  # noqa: B023


LAZY = regex.compile(r"(?m)\S.*?(?:[.!?…]+[\"'”’»)]*(?=\s|$)|[。！？]+[」』”’）]*|$)")
"""What a sentence is, in a pattern that takes quadratic time."""


@given(st.text(st.sampled_from("ab .!?…\"'”)。！？」\n\r\t\u2028"), max_size=30))
def test_sentences_are_what_the_plain_pattern_finds(text):
    assert [m.span() for m in _PATTERNS["sentence"].finditer(text)] == [m.span() for m in LAZY.finditer(text)]
