"""Rows of data, documents and histories, converted for prompts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from toolkit._internal.jsonable import library_value, to_plain
from toolkit.prompts.messages import Message


class JoinedTexts(list[str]):
    """Texts that a template may loop over, or insert as one text."""

    def __str__(self) -> str:
        return "\n\n".join(self)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


class BlankValue(str):
    """A placeholder for a variable that is not filled; it accepts any format specification."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return str(self)


def as_row(row: Any) -> Mapping[str, Any]:
    """A row as a mapping, also from a row of a data frame. Raises TypeError for anything else."""
    if row is None:
        return {}
    if not isinstance(row, Mapping):
        if not hasattr(row, "to_dict"):
            raise TypeError(f"a row must be a dict of variable → value, got {row!r}")
        row = row.to_dict()
    return cast("Mapping[str, Any]", row)


def as_dicts(name: str, given: Any) -> tuple[dict[str, Any], ...]:
    """Rows of a list or a data frame as dicts. Raises TypeError for anything that is not a row."""
    rows: Any = () if given is None else given
    if hasattr(rows, "to_dict"):  # a DataFrame
        rows = rows.to_dict("records")
    for i, row in enumerate(rows := tuple(rows)):
        if not isinstance(row, Mapping):
            raise TypeError(f"{name}[{i}] must be a dict of variable → value, got {row!r}")
    return tuple(dict(row) for row in rows)


def as_data(name: str, rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Rows as a store keeps them (see `data_value`). Raises ValueError, which names row and variable."""
    return tuple(
        {str(n): _named_value(f"{name}[{i}]", n, v) for n, v in row.items()} for i, row in enumerate(rows)
    )


def _named_value(row: str, name: Any, value: Any) -> Any:
    try:
        return data_value(value)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(
            f"{row} has {name!r} of type {type(value).__name__}, which a store cannot keep: make it text, "
            "a number, a list or a dict"
        ) from None


def data_value(value: Any) -> Any:
    """A value that a person gave, as JSON data (see `library_value`). What JSON can hold stays as it is, a tuple too,
    since its text may be in a prompt. Raises TypeError for what is no data."""
    if not isinstance(value, np.generic):
        with contextlib.suppress(TypeError, ValueError):
            json.dumps(value)
            return value
    return to_plain(value, library_value)


def as_documents(documents: Any) -> tuple[dict[str, Any], ...]:
    """Documents as dicts; a text becomes {"text": …}."""
    if hasattr(documents, "to_dict") or documents is None:
        return as_dicts("documents", documents)
    documents = (documents,) if isinstance(documents, (str, Mapping)) else documents
    return as_dicts("documents", [{"text": d} if isinstance(d, str) else d for d in documents])


def compared_text(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """The text by which rows are compared: the values of the template's variables."""
    return "\n".join(str(row[name]) for name in names if name in row)


def split_exchanges(turns: Sequence[Message]) -> tuple[Sequence[Message], tuple[tuple[Message, ...], ...]]:
    """The leading system and developer messages, and the rest in groups that each begin with a user message, so
    that no answer loses its question."""
    start = next(
        (i for i, turn in enumerate(turns) if turn["role"] not in ("system", "developer")), len(turns)
    )
    groups: list[list[Message]] = []
    for turn in turns[start:]:
        if turn["role"] == "user" or not groups:
            groups.append([])
        groups[-1].append(turn)
    return turns[:start], tuple(tuple(group) for group in groups)
