"""The texts typed into the few-shot builder as values."""

from __future__ import annotations

import contextlib
import json
from typing import Any


def as_type_of(value: Any, text: str) -> Any:
    """The typed text: as it is in place of a string or None, else parsed as JSON where it can be."""
    if value is None or isinstance(value, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def as_number(typed: Any) -> Any:
    """A number if the text is one; else the text, which validation rejects."""
    for kind in (int, float):
        with contextlib.suppress(TypeError, ValueError):
            return kind(typed)
    return typed


def positive_int(name: str, typed: Any) -> int:
    number = as_number(typed)
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"{name} must be a whole number of tokens from 1 up, got {typed!r}")
    return number
