"""How fast an engine has been so far: in a store, or else in the last run of its fingerprint on this machine."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from toolkit._internal.files import read_cache, toolkit_home, write_atomically
from toolkit._internal.validation import finite_or_none
from toolkit.core.fingerprint import Fingerprint
from toolkit.errors import StoreError
from toolkit.pricing.machine_time import machine_seconds
from toolkit.store.store import Store


def tokens_per_second(store: Store, fingerprint: Fingerprint) -> float | None:
    """Tokens processed (generated, and of prompts where not cached) per second of engine time; None where nothing has
    been measured."""
    return _measured(store, fingerprint) or _remembered(fingerprint)


def remember_rate(store: Store, fingerprint: Fingerprint) -> None:
    """Keeps the rate of an engine for plans with other stores, where it can be read and written."""
    with contextlib.suppress(OSError, StoreError):
        if rate := _measured(store, fingerprint):
            write_atomically(_file(fingerprint), json.dumps(rate))


def _measured(store: Store, fingerprint: Fingerprint) -> float | None:
    timings = store.completion_timings(store.ids_of_system(fingerprint))
    timings = timings[timings["seconds"].notna()]
    tokens = timings["prompt_tokens"] - timings["cached_tokens"] + timings["completion_tokens"]
    is_counted = tokens.notna().to_numpy()
    seconds = float(machine_seconds(timings)[is_counted].sum()) if len(timings) else 0.0
    return float(tokens.sum()) / seconds if seconds > 0 else None


def _remembered(fingerprint: Fingerprint) -> float | None:
    rate = finite_or_none(read_cache(_file(fingerprint)))
    return rate if rate and rate > 0 else None


def _file(fingerprint: Fingerprint) -> Path:
    return toolkit_home() / "rates" / f"{fingerprint.id}.json"
