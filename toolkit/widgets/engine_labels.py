"""Engines: what the views tell of an engine without starting it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from toolkit.engine import Engine, NotTold
from toolkit.widgets.view import visible

_NAME = 120
"""Characters of a model's name, or of an address."""


def labels(engines: Sequence[Engine]) -> tuple[str, ...]:
    """Each by its model; those of one name by address or fingerprint too, and what is still the same by number."""
    names = [visible(str(engine.model), _NAME) for engine in engines]
    told = [_told_apart(names, i, f" ({_own(engine)})") for i, engine in enumerate(engines)]
    return tuple(_told_apart(told, i, f" #{i + 1}") for i in range(len(told)))


def _told_apart(names: Sequence[str], i: int, more: str) -> str:
    return names[i] + (more if Counter(names)[names[i]] > 1 else "")


def _own(engine: Any) -> str:
    """What it has of its own beside its model's name."""
    if hasattr(engine, "url"):
        return visible(engine.url.partition("://")[2], _NAME)
    return str(engine.fingerprint.id) if _known(engine) else "not loaded yet"


def _known(engine: Any) -> bool:
    """What it is can be told without starting it."""
    return getattr(engine, "running", True) or engine.spec.remembered() is not None


def window_of(engine: Engine | None) -> int | None:
    """The context window; None where it is not known yet, or not told."""
    if engine is None or not _known(engine):
        return None
    try:
        return int(engine.window)
    except NotTold:
        return None
