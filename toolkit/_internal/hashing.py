"""Content hashes of plain data."""

from __future__ import annotations

import hashlib
import json


def digest(value: object, size: int = 16) -> str:
    """A content hash of plain data: the same for equal data on every machine. 2 × size hex digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()
