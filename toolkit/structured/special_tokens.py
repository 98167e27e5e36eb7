"""Names of special tokens in a response format: a constrained answer cannot contain them. A grammar is a rule for
text, and vLLM takes the name for the token, which is no text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from toolkit.structured.json_schema import subschemas
from toolkit.structured.response_format import ResponseFormat


def check_special_tokens(form: ResponseFormat, names: Iterable[str]) -> None:
    """Raises ValueError for a response format in which an answer may have to write one of these names."""
    literals, patterns = list(_literals(form)), list(_patterns(form))
    inside = [
        repr(name)
        for name in names
        if any(name in text for text in literals) or any(re.escape(name) in text for text in patterns)
    ]
    if inside:
        raise ValueError(
            f"the response_format {str(form)!r} has {', '.join(inside)}, the name of a special token of this model, "
            "which a constrained answer cannot contain: write the choice, value or pattern differently"
        )


def _literals(form: ResponseFormat) -> Iterator[str]:
    """Texts that an answer has word for word. Titles and descriptions are in no answer."""
    yield from form.choices
    if form.kind == "grammar":
        yield form.value
    for _, part in subschemas(form.schema):
        yield from part.get("properties") or ()
        yield from _texts([part.get("enum"), part.get("const")])


def _patterns(form: ResponseFormat) -> Iterator[str]:
    if form.kind == "regex":
        yield form.value
    for _, part in subschemas(form.schema):
        yield from filter(None, [part.get("pattern"), *(part.get("patternProperties") or ())])


def _texts(value: Any) -> Iterator[str]:
    """The texts in plain data, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        yield from _texts(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
