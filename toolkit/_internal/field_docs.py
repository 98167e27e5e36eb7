"""Documentation of fields: the texts below a dataclass's fields, in its `help`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
from typing import Any, TypeVar

T = TypeVar("T")


def documented(cls: type[T]) -> type[T]:
    """Decorator of a dataclass: `help` and a notebook's `?` list its fields, each with its type and the text below it
    in the source, which Python itself does not keep."""
    if cls.__doc__:
        cls.__doc__ = _FieldDocs(cls.__doc__)  # type: ignore[assignment]
    return cls


class _FieldDocs:
    """The docstring of a class with those of its fields, read from the source when it is first asked for."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __get__(self, instance: object, cls: type) -> str:
        # A subclass has a docstring of its own, or None: this is asked by its own class alone.
        cls.__doc__ = f"{inspect.cleandoc(self._text)}\n\nFields:\n{_fields_text(cls)}"
        return cls.__doc__


def _fields_text(cls: Any) -> str:
    """A line for each field: name (type): what it is."""
    texts = field_docs(cls)
    lines = [
        textwrap.fill(
            f"{field.name} ({_type_text(field.type)}): {' '.join(texts.get(field.name, '').split())}".rstrip(
                ": "
            ),
            width=110,
            initial_indent="    ",
            subsequent_indent="        ",
            break_long_words=False,
        )
        for field in dataclasses.fields(cls)
    ]
    return "\n".join(lines)


def _type_text(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def field_docs(cls: type) -> dict[str, str]:
    """Field → the text below it, of a class and its bases; without any where there is no source."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        try:
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError, SyntaxError, ValueError):
            continue
        body = getattr(definition, "body", [])
        for statement, below in itertools.pairwise(body):
            if isinstance(statement, ast.AnnAssign) and isinstance(below, ast.Expr):
                value = getattr(below.value, "value", None)
                if isinstance(value, str) and isinstance(statement.target, ast.Name):
                    texts[statement.target.id] = value
    return texts
