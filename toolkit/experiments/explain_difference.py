"""Explain: which of the settings of two engines is enough to make their answers differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit._internal.field_docs import documented
from toolkit._internal.secrets import hide_secrets
from toolkit.analysis.determinism.repeats import Repeats
from toolkit.analysis.determinism.report import Determinism
from toolkit.core.fingerprint import Fingerprint
from toolkit.display.html import html_table
from toolkit.display.markup import Markup, markup
from toolkit.engines.base import Engine
from toolkit.engines.variant import Variant
from toolkit.experiments.plan import STORE
from toolkit.experiments.sweep import Sweep, run_on_variants
from toolkit.results.results import Results
from toolkit.store.store import Store, open_store

if TYPE_CHECKING:
    import pandas as pd


def explain_difference(
    a: Variant | Engine | Fingerprint,
    b: Variant | Engine | Fingerprint,
    sweep: Sweep,
    store: Store | str | Path = STORE,
) -> Explanation:
    """Which setting makes b answer differently from a: makes engines that are a with one setting of b, runs the same
    sweep on each in a process of its own (what is stored is not asked again), and compares the answers.

    a, b: variants, engines, or fingerprints of engines that this machine can make. sweep: the requests; best are ones
    at temperature 0 that a and b answer differently, with top_logprobs for margins.

    Raises ValueError when nothing that can be set differs between the two, and what `Sweep.run_across` raises.

    >>> tk.explain_difference(engine, tk.variants(dtype="bfloat16")[0], sweep)  # doctest: +SKIP
    """
    first, second = (Variant.of(system).resolved() for system in (a, b))
    changes = _changes(first, second)
    if not changes:
        raise ValueError(
            "the two differ in nothing that can be set here (model, engine arguments, threads, environment): what is "
            "left is the machine or its software, which the diff of their fingerprints names"
        )
    alone = changes if len(changes) > 1 else {}  # with a single change, a with it is b
    first, second = first.with_("a"), second.with_("b")
    variants = [
        first,
        second,
        *(first.with_(f"a with {name} of b", **change) for name, change in alone.items()),
    ]
    opened_store = open_store(store)
    runs = run_on_variants(sweep, variants, opened_store.path)
    fingerprints = [fingerprint for _, fingerprint in runs]
    tried = dict(zip(alone or changes, fingerprints[2:] if alone else fingerprints[1:2], strict=True))
    return Explanation(
        fingerprints[0], fingerprints[1], tried, changes, Results.of(opened_store).on(runs).determinism()
    )


def _changes(a: Variant, b: Variant) -> dict[str, dict[str, Any]]:
    """Name of a setting → the change that gives a the value of b."""
    changes: dict[str, dict[str, Any]] = {}
    if a.model != b.model:
        changes["model"] = {"model": b.model}
    for name in dict.fromkeys([*a.arguments, *b.arguments]):
        if a.arguments.get(name) != b.arguments.get(name):
            changes[name] = {name: b.arguments.get(name)}
    if a.threads != b.threads:
        changes["threads"] = {"threads": b.threads}
    for name in dict.fromkeys([*a.env, *b.env]):
        if a.env.get(name) != b.env.get(name):
            changes[name] = {"env": {name: b.env.get(name)}}
    return changes


@documented
@dataclass(frozen=True, eq=False)
class Explanation:
    """What each setting alone does to the answers. Made by `explain_difference`."""

    a: str
    """Fingerprint ids of the two engines."""
    b: str
    """The fingerprint id of the second engine."""
    tried: Mapping[str, str]
    """Setting → the fingerprint of a with b's value of it."""
    changes: Mapping[str, Mapping[str, Any]]
    """Setting → b's value."""
    report: Determinism
    """The answers of all these engines."""

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each setting, over the requests that a and b answer differently (by their commonest outputs):
        value (b's), system_fingerprint, requests (that this engine answered), changed (no longer answered as by a),
        as_b (answered as by b), enough (all that a and b answer differently are answered as by b)."""
        import pandas as pd

        rows = {name: self._row(name, fingerprint) for name, fingerprint in self.tried.items()}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("setting")

    def _row(self, name: str, fingerprint: str) -> dict[str, Any]:
        outputs = {
            r: output for r in self._differing if (output := self._modal_output(r, fingerprint)) is not None
        }
        as_b = sum(output == self._modal_output(r, self.b) for r, output in outputs.items())
        change = hide_secrets(self.changes[name])
        return {
            "value": change["env"][name] if "env" in change else change[name],
            "system_fingerprint": fingerprint,
            "requests": len(outputs),
            "changed": sum(output != self._modal_output(r, self.a) for r, output in outputs.items()),
            "as_b": as_b,
            "enough": bool(self._differing) and as_b == len(self._differing),
        }

    @cached_property
    def _answered(self) -> list[Repeats]:
        """The requests that both a and b answered."""
        ends = self.a, self.b
        return [r for r in self.report.runs if None not in [self._modal_output(r, end) for end in ends]]

    @cached_property
    def _differing(self) -> list[Repeats]:
        """The requests that a and b answer differently."""
        return [r for r in self._answered if self._modal_output(r, self.a) != self._modal_output(r, self.b)]

    def _modal_output(self, r: Repeats, fingerprint: str) -> int | None:
        """The commonest output of an engine; None where it answered nothing."""
        if fingerprint not in self.report.systems:
            return None
        run = int(r.modes[self.report.systems.index(fingerprint)])
        return int(r.output[run]) if run >= 0 else None

    def sentence(self) -> str:
        """The finding, in words."""
        requests = len(self._answered)
        if not requests:
            return "No request was answered by both: the errors in the results say why."
        if not self._differing:
            return f"The two answer all of {requests} requests alike: ask others, or more of them."
        differ = f"The two answer {len(self._differing)} of {requests} requests differently. "
        enough = self.table[self.table["enough"]]
        if len(enough):
            settings = " and ".join(f"{name} ({value})" for name, value in enough["value"].items())
            predicate = " is enough" if len(enough) == 1 else ", each alone, is enough"
            return f"{differ}{settings}{predicate}: with it alone, a answers as b does."
        changing = self.table[self.table["changed"] > 0]
        if len(changing):
            return (
                f"{differ}No setting alone is enough; these change some answers: {', '.join(changing.index)}."
            )
        return f"{differ}No setting alone changes an answer: two or more act together."

    def frame(self) -> pd.DataFrame:
        return self.table.copy()

    def __repr__(self) -> str:
        from toolkit.display.tables import text_table

        return f"{self.sentence()}\n{text_table(self.table, 60, 60)}"

    def _repr_html_(self) -> Markup:
        return markup("<div><p>{}</p>{}</div>", self.sentence(), html_table(self.table.reset_index()))
