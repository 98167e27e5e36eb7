"""Explain: two engines that answer differently, and which of their settings is enough for that."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import report
from toolkit.determinism import Determinism
from toolkit.engine import Engine
from toolkit.fingerprint import Fingerprint
from toolkit.plan import STORE
from toolkit.results import Results
from toolkit.runs import Runs
from toolkit.store import Store, opened
from toolkit.sweep import Sweep, across
from toolkit.variant import Variant

if TYPE_CHECKING:
    import pandas as pd


def explain_difference(
    a: Variant | Engine | Fingerprint,
    b: Variant | Engine | Fingerprint,
    sweep: Sweep,
    store: Store | str | Path = STORE,
) -> Explanation:
    """Which setting makes b answer otherwise than a: makes engines that are a but for one setting of b, asks each the
    same in a process of its own (what is stored is not asked again), and compares the answers.

    a, b: variants, engines, or fingerprints of engines that this machine can make. sweep: what to ask; best are
    requests at temperature 0 that a and b answer differently, with top_logprobs for margins.

    Raises ValueError when nothing that can be set differs between the two, and what `Sweep.run_across` raises.

    >>> tk.explain_difference(engine, tk.variants(dtype="bfloat16")[0], sweep)  # doctest: +SKIP
    """
    first, second = (Variant.of(one).resolved() for one in (a, b))
    changes = _changes(first, second)
    if not changes:
        raise ValueError(
            "the two differ in nothing that can be set here (model, engine arguments, threads, environment): what is "
            "left is the machine or its software, which the diff of their fingerprints names"
        )
    alone = changes if len(changes) > 1 else {}  # a with the only change is b
    first, second = first.with_("a"), second.with_("b")
    tried = [first, second, *(first.with_(f"a with {name} of b", **change) for name, change in alone.items())]
    kept = opened(store)
    asked = across(sweep, tried, kept.path)
    names = [fingerprint for _, fingerprint in asked]
    found = dict(zip(alone or changes, names[2:] if alone else names[1:2], strict=True))
    return Explanation(names[0], names[1], found, changes, Results.of(kept).on(asked).determinism())


def _changes(a: Variant, b: Variant) -> dict[str, dict[str, Any]]:
    """Name of a setting → what makes a like b in it."""
    found: dict[str, dict[str, Any]] = {}
    if a.model != b.model:
        found["model"] = {"model": b.model}
    for name in dict.fromkeys([*a.arguments, *b.arguments]):
        if a.arguments.get(name) != b.arguments.get(name):
            found[name] = {name: b.arguments.get(name)}
    if a.threads != b.threads:
        found["threads"] = {"threads": b.threads}
    for name in dict.fromkeys([*a.env, *b.env]):
        if a.env.get(name) != b.env.get(name):
            found[name] = {"env": {name: b.env.get(name)}}
    return found


@dataclass(frozen=True, eq=False)
class Explanation:
    """What each setting alone does to the answers. Made by `explain_difference`."""

    a: str
    """Fingerprint ids of the two engines."""
    b: str
    tried: Mapping[str, str]
    """Setting → the fingerprint of a with b's value of it."""
    changes: Mapping[str, Mapping[str, Any]]
    """Setting → b's value."""
    report: Determinism
    """The answers of all of these engines."""

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each setting, over the requests that a and b answer differently (by their commonest outputs):
        value (b's), system_fingerprint, requests, changed (no longer answered as by a), as_b (answered as by b),
        enough (all of them are)."""
        import pandas as pd

        rows = {name: self._row(name, fingerprint) for name, fingerprint in self.tried.items()}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("setting")

    def _row(self, name: str, fingerprint: str) -> dict[str, Any]:
        apart = [r for r in self.report.runs if self._output(r, self.a) != self._output(r, self.b)]
        here = [self._output(r, fingerprint) for r in apart]
        as_b = sum(output == self._output(r, self.b) for r, output in zip(apart, here, strict=True))
        (value,) = self.changes[name].values()
        return {
            "value": next(iter(value.values())) if isinstance(value, Mapping) else value,
            "system_fingerprint": fingerprint,
            "requests": len(apart),
            "changed": sum(o != self._output(r, self.a) for r, o in zip(apart, here, strict=True)),
            "as_b": as_b,
            "enough": bool(apart) and as_b == len(apart),
        }

    def _output(self, r: Runs, fingerprint: str) -> int:
        return int(r.output[r.modes[self.report.systems.index(fingerprint)]])

    def sentence(self) -> str:
        """What was found, in words."""
        requests = len(self.report.runs)
        if not self.table["requests"].iloc[0]:
            return f"The two answer all of {requests} requests alike: ask others, or more of them."
        differ = f"The two answer {self.table['requests'].iloc[0]} of {requests} requests differently. "
        enough = self.table[self.table["enough"]]
        if len(enough):
            which = " and ".join(f"{name} ({value})" for name, value in enough["value"].items())
            each = " is enough" if len(enough) == 1 else ", each alone, is enough"
            return f"{differ}{which}{each}: with it alone, a answers as b does."
        some = self.table[self.table["changed"] > 0]
        if len(some):
            return f"{differ}No setting alone is enough; these change some answers: {', '.join(some.index)}."
        return f"{differ}No setting alone changes an answer: two or more act together."

    def frame(self) -> pd.DataFrame:
        return self.table.copy()

    def __repr__(self) -> str:
        return f"{self.sentence()}\n{self.table.to_string()}"

    def _repr_html_(self) -> str:
        return f"<div><p>{html.escape(self.sentence())}</p>{report.table(self.table.reset_index())}</div>"
