"""Workload: requests with labels and repeats, which `experiments.plan` counts and `experiments.run` executes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit._internal.text import plural, short_repr
from toolkit._internal.validation import MAX_ITEMS
from toolkit.core.request import ResolvedRequest


@dataclass(frozen=True, eq=False)
class Workload:
    """Requests, each run `repeats` times, and what the store keeps of how they were made."""

    requests: Callable[[Mapping[str, Any]], Iterable[tuple[ResolvedRequest, Mapping[str, Any]]]]
    """From an engine's default sampling parameters to each request and its labels. A function, since the defaults may
    turn out to be others once the engine has started."""
    repeats: int = 1
    prompts: Sequence[Any] = ()
    """What the labels `prompt` number, as plain data."""
    rows: Sequence[Mapping[str, Any]] = ()
    """What the labels `row` number, as plain data."""
    reserved_sweep: str | None = None
    """The id of a sweep whose repeats are reserved: completions of other sweeps never count as its. When None, the id
    is a digest of the requests, and every completion of an equal request counts."""
    name: str = ""
    """Shown beside the progress of its run."""

    @property
    def body(self) -> dict[str, Any]:
        """Prompts and rows, as the store keeps them."""
        body = {"prompts": list(self.prompts), "rows": [dict(row) for row in self.rows]}
        return body if self.reserved_sweep else {**body, "repeats": self.repeats}


def check_number(requests: int, repeats: int) -> None:
    """Raises ValueError for more completions than a plan can list."""
    if requests * repeats > MAX_ITEMS:
        raise ValueError(
            f"at most {MAX_ITEMS:,} completions can be planned, and these are more: {plural(requests, 'request')} "
            f"with {short_repr(repeats)} repeats"
        )
