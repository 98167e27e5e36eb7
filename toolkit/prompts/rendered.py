"""Rendered: the conversation of one row, with a record of how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from toolkit._internal.field_docs import documented
from toolkit._internal.text import short_repr
from toolkit.display.markup import Markup
from toolkit.prompts.messages import Messages
from toolkit.prompts.messages_html import caption, view

_LONGEST = 1_000_000
"""Characters of a field in the repr."""


@documented
@dataclass(frozen=True)
class Rendered:
    """A prompt filled with a row: the messages, the examples in them, and what was left out."""

    messages: Messages
    """The conversation that is sent."""
    examples: tuple[Any, ...] | None = None
    """Ids (or positions in the pool) of the few-shot examples, in the order of the prompt; None without a pool."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """What `fit` left out: turns, examples, and characters of documents."""
    prompt_tokens: int | None = None
    """As counted by `fit`; else None."""
    error: str | None = None
    """Why the row could not be filled in; the messages then say so, and are never sent."""

    def __repr__(self) -> str:
        """The messages, and what else there is."""
        return fields_repr(self)

    @property
    def notes(self) -> dict[str, Any]:
        """What is recorded about the rendering: its examples, what was left out, and why it failed."""
        examples = None if self.examples is None else list(self.examples)
        notes = {"examples": examples, "dropped": dict(self.dropped) or None, "error": self.error}
        return {name: value for name, value in notes.items() if value is not None}

    def _repr_html_(self) -> Markup:
        notes = "".join(f"; {name}: {_note_text(value)}" for name, value in self.notes.items())
        return view(self.messages, caption(self.messages) + notes)


def _note_text(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def fields_repr(value: Any) -> str:
    """The repr of a dataclass, without the fields that have their default values."""
    present = {}
    for field_ in fields(value):
        content = getattr(value, field_.name)
        default = field_.default_factory() if callable(field_.default_factory) else field_.default
        if content != default:
            present[field_.name] = short_repr(content, _LONGEST)
    return f"{type(value).__name__}({', '.join(f'{name}={text}' for name, text in present.items())})"
