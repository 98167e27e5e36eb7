"""Rows of data, documents and histories, converted for prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from toolkit._internal.jsonable import column_values, data_value
from toolkit._internal.missing import is_missing
from toolkit._internal.text import short_repr
from toolkit._internal.validation import limited_list
from toolkit.prompts.messages import Message
from toolkit.prompts.template import Template, written_value


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


def as_row(name: str, row: Any) -> Mapping[str, Any]:
    """A row as a mapping, also from a row of a data frame. Raises TypeError for anything else."""
    if not isinstance(row, Mapping):
        if not hasattr(row, "to_dict"):
            raise TypeError(f"{name} must be a dict of variable → value, got {short_repr(row)}")
        row = row.to_dict()
    return cast("Mapping[str, Any]", row)


def as_data(name: str, rows: Any) -> tuple[dict[str, Any], ...]:
    """Rows of a list or a data frame as a store keeps them: dicts of JSON data (see `data_value`). In a data frame,
    whole numbers that a gap in their column made floats are whole again.

    Raises TypeError for anything that is not a row, and ValueError, which names row and variable, for a value that is
    no data.
    """
    if rows is None:
        return ()
    if not isinstance(rows, Iterable):
        raise TypeError(f"{name} must be a list of dicts or a data frame, got {short_repr(rows)}")
    items = _frame_rows(name, rows) if _is_frame(rows) else rows
    return tuple(_row_data(f"{name}[{i}]", row) for i, row in enumerate(items))


def _row_data(where: str, row: Any) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, value in as_row(where, row).items():
        if str(name) in data:
            raise ValueError(f"{where} has two values for {short_repr(str(name))}: rename one")
        data[str(name)] = _named_value(where, str(name), value)
    return data


def _named_value(where: str, name: str, value: Any) -> Any:
    try:
        return data_value(value)
    except ValueError as error:
        raise ValueError(f"{where} has {short_repr(name)} that a store cannot keep: {error}") from None
    except TypeError:
        raise ValueError(
            f"{where} has {short_repr(name)} of type {type(value).__name__}, which a store cannot keep: make it "
            "text, a number, a list or a dict"
        ) from None


def _is_frame(value: Any) -> bool:
    """Whether a value is a pandas DataFrame; pandas need not be imported to know."""
    return hasattr(value, "iloc") and hasattr(value, "columns")


def _frame_rows(name: str, frame: Any) -> Iterator[dict[str, Any]]:
    names = [str(column) for column in frame.columns]
    if repeated := [n for n in dict.fromkeys(names) if names.count(n) > 1]:
        raise ValueError(f"{name} has several columns named {short_repr(repeated[0])}: rename all but one")
    columns = [column_values(frame.iloc[:, i]) for i in range(len(names))]
    return (dict(zip(names, (c[i] for c in columns), strict=True)) for i in range(len(frame)))


def as_documents(documents: Any) -> tuple[dict[str, Any], ...]:
    """Documents as dicts of JSON data; a text becomes {"text": …}. Raises TypeError and ValueError as `as_data` does,
    and ValueError for a document that is missing."""
    if documents is None or _is_frame(documents):
        return as_data("documents", documents)
    if not isinstance(documents, Iterable):
        raise TypeError(f"documents must be a list of texts or dicts, got {short_repr(documents)}")
    items = [documents] if isinstance(documents, str | Mapping) else limited_list("documents", documents)
    for i, document in enumerate(items):
        if is_missing(document):
            raise ValueError(f"documents[{i}] is missing, got {short_repr(document)}: leave it out")
    return as_data("documents", [{"text": d} if isinstance(d, str) else d for d in items])


def document_texts(documents: Any, template: Template) -> JoinedTexts:
    """Each document in the template, which may have its `number`, from 1. Raises ValueError that names a document."""
    try:
        items = as_documents(documents)
    except TypeError as error:
        raise ValueError(str(error)) from None
    texts = JoinedTexts()
    for i, document in enumerate(items):
        try:
            texts.append(template.fill({"number": i + 1, **document}))
        except ValueError as error:
            raise type(error)(f"documents[{i}]: {error}") from None
    return texts


def compared_text(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """The text by which rows are compared: the values of the template's variables."""
    return "\n".join(str(written_value(row[name])) for name in names if name in row)


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
