"""What the views show of an engine without starting it: its label and its context window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from toolkit.engines.base import Engine, reported_window
from toolkit.widgets.base import visible

_MAX_NAME = 120
"""Characters of a model's name, or of an address."""


def labels(engines: Sequence[Engine]) -> tuple[str, ...]:
    """A unique label for each: its model; for equal names also address or fingerprint; if still equal, a number."""
    names = [visible(str(engine.model), _MAX_NAME) for engine in engines]
    detailed = [
        _disambiguated(names, i, f" ({_address_or_fingerprint(engine)})") for i, engine in enumerate(engines)
    ]
    return tuple(_disambiguated(detailed, i, f" #{i + 1}") for i in range(len(detailed)))


def _disambiguated(names: Sequence[str], i: int, suffix: str) -> str:
    """A name, with the suffix where it is not unique."""
    return names[i] + (suffix if Counter(names)[names[i]] > 1 else "")


def _address_or_fingerprint(engine: Any) -> str:
    if hasattr(engine, "url"):
        return visible(engine.url.partition("://")[2], _MAX_NAME)
    return str(engine.fingerprint.id) if engine.fingerprint_available else "not loaded yet"


def window_of(engine: Engine | None) -> int | None:
    """The context window; None where it is not known yet, or not reported."""
    if engine is None or not engine.fingerprint_available:
        return None
    return reported_window(engine)
