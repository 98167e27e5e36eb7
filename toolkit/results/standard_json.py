"""JSON that every parser reads: NaN and infinities, which JSON lacks, as MongoDB's Extended JSON writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from toolkit._internal.text import is_valid_unicode

_TAG = "$numberDouble"
_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def dump_standard(value: Any) -> str:
    """Plain data as one line of JSON, in valid Unicode: −inf is {"$numberDouble": "-Infinity"}, and lone surrogates
    are escaped."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:  # a number that JSON lacks
        value = _tagged(value)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text if is_valid_unicode(text) else json.dumps(value)


def load_standard(text: str) -> Any:
    """What `dump_standard` wrote, and any other JSON text."""
    return json.loads(text, object_hook=_untagged if _TAG in text else None)


def _tagged(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {_TAG: "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, Mapping):
        return {name: _tagged(item) for name, item in value.items()}
    return [_tagged(item) for item in value] if isinstance(value, list | tuple) else value


def _untagged(value: dict[str, Any]) -> Any:
    name = value.get(_TAG)
    return _NUMBERS[name] if len(value) == 1 and isinstance(name, str) and name in _NUMBERS else value
