"""The result of the determinism ladder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.field_docs import documented
from toolkit._internal.text import percent, plural
from toolkit.analysis.determinism.repeats import Repeats
from toolkit.analysis.determinism.report import Determinism
from toolkit.analysis.determinism.sentences import describe_drift
from toolkit.analysis.determinism.statistics import bound, interval, median
from toolkit.display.html import html_table, three_digits
from toolkit.display.markup import Markup, joined, markup
from toolkit.display.plots.determinism import plot_ladder
from toolkit.engines.variant import Variant

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Rung:
    """A condition under which requests are run."""

    name: str
    cause: str = ""
    """The cause, when this is the first condition that changes an answer."""
    size: int = 1
    """Batch size: requests that start together."""
    cold: bool = False
    """The prefix cache is emptied before each batch."""
    warm: bool = False
    """Every prompt is in the prefix cache."""
    shuffled: bool = False
    traffic: bool = False
    """Beside other requests, of all lengths."""
    sampled: bool = False
    """At temperature 1 without a seed: answers must differ."""
    variant: Variant | None = None
    """The engine that runs it, in a process of its own; None: the engine of the call."""


@documented
@dataclass(frozen=True, eq=False)
class Ladder:
    """What each condition did to the answers. Made by `determinism_ladder`."""

    report: Determinism
    """The same answers as a report across rungs: forks, survival, drift and all other numbers."""
    rungs: tuple[Rung, ...]
    """The conditions, in the order in which they were tried."""
    notes: tuple[str, ...]
    """Conditions that could not be tried, and why."""

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each rung: system_fingerprint; requests and runs (of requests that were also answered alone);
        unique (the most different answers of one request); changed (requests of which some run is not what is
        answered alone), differ (such runs) with low and high (95 % interval of their share) and bound (at 95 % no
        more than this share of such runs differs); fork (the first step at which one differs), margin (median, alone,
        at those steps) and drift (the largest difference of a log probability before). Requests that are sampled
        without a seed are compared with each other."""
        import pandas as pd

        rows = {rung.name: self._row(rung) for rung in self.rungs}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("rung")

    def _number(self, rung: Rung) -> int | None:
        """The index of a rung in the report; None when none of its requests was answered."""
        return self.report.systems.index(rung.name) if rung.name in self.report.systems else None

    def _baselines(self, rung: Rung) -> list[tuple[Repeats, int, int]]:
        """For each request that a rung and the one it is compared with answered: itself, and their indices. Requests
        that are sampled without a seed are compared with each other."""
        number = self._number(rung)
        base = number if rung.sampled else self._number(self.rungs[0])
        if number is None or base is None:
            return []
        answered = (r for r in self.report.runs if r.counts[number].any() and r.counts[base].any())
        return [(r, number, base) for r in answered]

    def _row(self, rung: Rung) -> dict[str, Any]:
        compared = self._baselines(rung)
        steps, margins, drifts, differ = list[float](), list[float](), list[float](), list[int]()
        for r, number, base in compared:
            alone = int(r.modes[base])
            runs = np.flatnonzero(r.system == number)
            differing = runs[r.output[runs] != r.output[alone]]
            fork_steps = r.fork[r.output[alone], r.output[differing]].tolist()
            comparison = r.compared(runs, np.full(len(runs), alone))
            differ.append(len(differing))
            steps += fork_steps
            margins += [r.margin(alone, step) for step in fork_steps]
            drifts.append(float("nan") if comparison is None else comparison.largest_drift)
        run_count = sum(int(r.counts[number].sum()) for r, number, _ in compared)
        low, high = interval(sum(differ), run_count)
        rows = self.report.table
        # Compared with itself, a condition has one run fewer per request that can differ.
        trials = run_count - sum(number == base for _, number, base in compared)
        return {
            "system_fingerprint": next(iter(rows.loc[rows["rung"] == rung.name, "system_fingerprint"]), None),
            "requests": len(compared),
            "runs": run_count,
            "unique": max((int((r.counts[number] > 0).sum()) for r, number, _ in compared), default=0),
            "changed": sum(count > 0 for count in differ),
            "differ": sum(differ),
            "low": float(low),
            "high": float(high),
            "bound": bound(sum(differ), trials),
            "fork": min((step for step in steps if not np.isnan(step)), default=np.nan),
            "margin": median(margins),
            "drift": max((drift for drift in drifts if not np.isnan(drift)), default=np.nan),
        }

    @property
    def first(self) -> Rung | None:
        """The first condition that changed an answer; None when none did."""
        changed_rungs = [r for r in self.rungs if not r.sampled and self.table.at[r.name, "changed"]]
        return changed_rungs[0] if changed_rungs else None

    def sentences(self) -> list[str]:
        """The findings, in plain words."""
        rows = zip(self.rungs, self.table.iterrows(), strict=True)
        return [self._cause(), *(self._sentence(rung, row) for rung, (_, row) in rows), *self.notes]

    def _cause(self) -> str:
        if self.first is None:
            largest_bound = self.table[[not r.sampled for r in self.rungs]]["bound"].max()
            return (
                "No condition changed an answer; at 95 % confidence none changes more than "
                f"{percent(largest_bound)} of such runs (3/N)."
            )
        return (
            f"The first condition that changes an answer is {self.first.name!r}. At work: {self.first.cause}."
        )

    def _sentence(self, rung: Rung, row: pd.Series[Any]) -> str:
        if not row["requests"]:
            return f"{rung.name}: no answer that could be compared, so nothing is known (see the errors)."
        runs = f"{plural(row['requests'], 'request')}, {plural(row['runs'], 'run')}"
        if rung.sampled:
            expectation = (
                "as they must" if row["changed"] else "though they must: nothing here tells answers apart"
            )
            finding = f"{plural(row['changed'], 'request')} gave several answers"
            return f"{rung.name} (negative control), {runs}: {finding}, {expectation}."
        drift = describe_drift(row["drift"], "; ", "; the same log probabilities")
        if not row["changed"]:
            upper = percent(row["bound"])
            return f"{rung.name}, {runs}: all as alone{drift}. At 95 % confidence less than {upper} differ (3/N)."
        first = "" if np.isnan(row["fork"]) else f", first at token {int(row['fork'])}"
        margin = "" if np.isnan(row["margin"]) else f", median margin there {row['margin']:.2g} nats"
        return (
            f"{rung.name}, {runs}: {plural(row['changed'], 'request')} and {plural(row['differ'], 'run')} differ "
            f"from the answer alone{first}{margin}{drift}; up to {row['unique']} different answers to one request."
        )

    def frame(self) -> pd.DataFrame:
        return self.table.copy()

    def plot(self) -> Figure:
        """Runs that differ from the answer alone, and the largest drift, by rung (see `plot_ladder`)."""
        return plot_ladder(self.table)

    def __repr__(self) -> str:
        return "\n".join(self.sentences())

    def _repr_html_(self) -> Markup:
        notes = joined(markup("<li>{}</li>", note) for note in self.notes)
        table = html_table(three_digits(self.table.reset_index()))
        return markup("<div><p><b>{}</b></p>{}<ul>{}</ul></div>", self._cause(), table, notes)
