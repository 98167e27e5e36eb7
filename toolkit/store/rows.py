"""What a store holds: cells of sweeps, completions, grades."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit._internal.field_docs import documented
from toolkit._internal.text import short_repr
from toolkit._internal.validation import Real, encodable, finite_or_none, named_fields_only
from toolkit.core.choice import ARRAYS, PROMPT, Choice
from toolkit.core.completion import Completion
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import Request

PLACE = ("request", "system_fingerprint", "repeat", "choice")
"""Columns of a results table that identify a stored choice."""
Place = tuple[str, str, int, int]
"""Their values."""


@dataclass(frozen=True)
class Cell:
    """One request of a sweep, with the labels that tell it from the others."""

    request: str
    """The request's key."""
    repeats: int
    labels: Mapping[str, Any]
    """Axis → value, and the variables of the row."""
    first: int = 0
    """Its first repeat: not 0 where completions of other sweeps must not count (see
    `Store.define_with_reserved_repeats`)."""


@dataclass(frozen=True)
class StoredCompletion:
    """A completion with its repeat and its run."""

    completion: Completion
    repeat: int
    run: int | None = None


@documented
@named_fields_only("part of a grade")
@dataclass(frozen=True)
class Grade:
    """A person's grade of an answer. Raises ValueError for another thumb, a score that is no finite number, and a
    note that cannot be encoded; TypeError for a note that is no text."""

    thumb: int | None = None
    """1 is up, −1 down."""
    score: float | None = None
    """Any finite number."""
    note: str = ""
    """Any text."""
    created: float = 0.0
    """Unix time of the grade, in seconds."""

    def __post_init__(self) -> None:
        if self.thumb is not None:
            if finite_or_none(self.thumb) not in (1, -1):
                raise ValueError(f"thumb must be 1, -1 or None, got {short_repr(self.thumb)}")
            object.__setattr__(self, "thumb", int(self.thumb))  # SQLite would store NumPy's integers as bytes
        if self.score is not None:
            score = Real(-math.inf, math.inf, "None for no score")
            object.__setattr__(self, "score", score("score", self.score))
        if not isinstance(self.note, str):
            raise TypeError(f"note must be a text, got {short_repr(self.note)}")
        encodable("note", self.note)

    def __bool__(self) -> bool:
        """Whether it has a thumb, a score or a note."""
        return self.thumb is not None or self.score is not None or bool(self.note)


def tokenizer_name(fingerprint: Fingerprint) -> str | None:
    """The name of the vocabulary; None where not known. A server's is in the notes, since it is inferred here."""
    return fingerprint.components.get("tokenizer") or fingerprint.notes.get("tokenizer")


def choice_tokens(completion: Completion, choice: Choice) -> int | None:
    """Generated tokens of one choice; None where they are unknown. A server that returns no token IDs reports only
    the total: then each choice has an equal share, so that the sum is right."""
    if choice.index == PROMPT:
        return 0
    number, total = len(completion.choices), completion.usage.completion_tokens
    if number > 1 and any(len(c.token_ids) for c in completion.choices):
        return len(choice.token_ids) - choice.prefix_tokens
    if total is None:
        return None
    # Its place, not its index: an export may hold only some of the choices.
    place = [c.index for c in completion.choices].index(choice.index)
    return total // number + (place < total % number)


def prefix_tokens(row: Mapping[str, Any], request: Request) -> int:
    """Tokens of the prefix: those that were not generated."""
    if request.prefix is None or row["choice"] == PROMPT:
        return 0
    return len(row["token_ids"]) // np.dtype(ARRAYS["token_ids"]).itemsize - (row["completion_tokens"] or 0)
