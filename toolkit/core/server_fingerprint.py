"""Fingerprints of servers: what a server reports decides what counts as its identity."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from toolkit.core.fingerprint import Fingerprint

_OUR_ID = re.compile(r"fp_[0-9a-f]{10}")
"""The form of our own IDs (see `Fingerprint.id`). `toolkit.serve` has vLLM send one; vLLM's own strings begin with
`vllm-`, and leave out the weights and the device."""


def server_fingerprint(
    reported: Mapping[str, Any],
    system_fingerprint: str | None,
    *,
    adapter: bool = False,
    notes: Mapping[str, Any] | None = None,
) -> Fingerprint:
    """The fingerprint of a server that reports these components (engine, url, model, owned_by, root, max_model_len,
    version) and this `system_fingerprint`.

    Where that string stands for the whole system, it and the model are the identity, and the rest goes into the
    notes: the same system at another address has the same ID. An adapter's weights are in no such string, so where
    they come from (root) counts too.
    """
    if not _stands_for_system(reported.get("owned_by"), system_fingerprint):
        return Fingerprint({**reported, "system_fingerprint": system_fingerprint}, notes or {})
    names = ("engine", "model", "root") if adapter else ("engine", "model")
    identity = {name: reported[name] for name in names}
    rest = {name: value for name, value in reported.items() if name not in identity}
    return Fingerprint({**identity, "system_fingerprint": system_fingerprint}, {**rest, **(notes or {})})


def same_system(a: Fingerprint, b: Fingerprint) -> bool:
    """Whether two records are of one system: they are equal, or they are of one server, which an earlier version of
    the toolkit recorded with its address, or with an alias of its model, as part of the ID."""
    if a == b:
        return True
    if not (a.is_server and b.is_server) or a.system_fingerprint != b.system_fingerprint:
        return False
    if _is_whole(a) and _is_whole(b):
        return _same_model(a, b)
    first, second = ({n: v for n, v in f.components.items() if n != "model"} for f in (a, b))
    return first == second and bool(first.get("root"))


def _stands_for_system(owner: Any, system_fingerprint: Any) -> bool:
    return (
        owner == "vllm"
        and isinstance(system_fingerprint, str)
        and _OUR_ID.fullmatch(system_fingerprint) is not None
    )


def _is_whole(record: Fingerprint) -> bool:
    """Whether a server's own string stands for its whole system; records without an address are of such servers."""
    owner = record.components.get("owned_by") if "url" in record.components else "vllm"
    return _stands_for_system(owner, record.system_fingerprint)


def _same_model(a: Fingerprint, b: Fingerprint) -> bool:
    """Whether two records of one system are of one model: it may have moved to another folder, or have an alias."""
    adapter = any("root" in f.components and "url" not in f.components for f in (a, b))
    first, second = (f.components.get("root") or f.notes.get("root") for f in (a, b))
    if first is not None and first == second:
        return True
    return not adapter and a.components.get("model") == b.components.get("model")
