"""How columns hold values: arrays and vocabularies as bytes, the rest as JSON."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from toolkit._internal.text import is_valid_unicode
from toolkit.core.choice import ARRAYS, Vocabulary, shaped


def unpack_arrays(blobs: Iterable[bytes | None]) -> dict[str, Any]:
    """The arrays of a choice from what `pack_array` made of each, in the order of `ARRAYS`."""
    pairs = zip(ARRAYS.items(), blobs, strict=True)
    return shaped({name: None if b is None else np.frombuffer(b, kind) for (name, kind), b in pairs})


def pack_array(array: Any) -> bytes | None:
    return None if array is None else array.tobytes()


def pack_vocabulary(vocabulary: Vocabulary) -> bytes:
    """Count, lengths and bytes of the tokens, compressed: 200 kB for 49,152 tokens."""
    lengths = np.array([len(token) for token in vocabulary], np.int32)
    return zlib.compress(struct.pack("<I", len(lengths)) + lengths.tobytes() + b"".join(vocabulary))


def unpack_vocabulary(body: bytes) -> Vocabulary:
    raw = zlib.decompress(body)
    (count,) = struct.unpack_from("<I", raw)
    ends = 4 + 4 * count + np.cumsum(np.frombuffer(raw, np.int32, count, offset=4))
    starts = [4 + 4 * count, *ends.tolist()][:count]
    return [raw[a:b] for a, b in zip(starts, ends.tolist(), strict=True)]


def is_json(text: object) -> bool:
    """Whether a column holds JSON as `dump_json` writes it: SQLite's json_valid refuses NaN and Infinity."""
    try:
        json.loads(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def dump_json(value: object) -> str:
    """Compact JSON, as columns hold it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Half of a surrogate pair needs an escape.
    return text if is_valid_unicode(text) else json.dumps(value, separators=(",", ":"))
