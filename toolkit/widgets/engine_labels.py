"""What the views show of an engine or a model without starting it: its label and its context window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from toolkit import models
from toolkit.engines.base import Engine, reported_window
from toolkit.errors import ModelError, PriceError
from toolkit.pricing.prices import model_price
from toolkit.tokenizers.tiktoken import encoding_name
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


def window_of(model: Engine | str | None) -> int | None:
    """The context window of an engine, or of a model by name: an OpenAI model's by the price list, another one's by
    its config on this machine. None where it is not known yet, or not reported."""
    if isinstance(model, str):
        return _window_by_name(model)
    if model is not None and model.fingerprint_available:
        return reported_window(model)
    # An engine that has not started yet has what it was told.
    window = getattr(model, "spec", None) and model.spec.arguments.get("max_model_len")  # type: ignore[union-attr]
    return window if isinstance(window, int) and window > 0 else None


def _window_by_name(model: str) -> int | None:
    with suppress(PriceError):
        if encoding_name(model) is not None:
            return model_price(model).context_window
    with suppress(ModelError, OSError, ValueError):
        return models.context_window(Path(models.local(model)))
    return None
