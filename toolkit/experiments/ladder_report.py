"""The result of the determinism ladder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.field_docs import documented
from toolkit._internal.text import percent, plural
from toolkit.analysis.determinism.html import interval_text, legend, rounded
from toolkit.analysis.determinism.repeats import Repeats
from toolkit.analysis.determinism.report import Determinism
from toolkit.analysis.determinism.sentences import describe_drift, rare
from toolkit.analysis.determinism.statistics import (
    bound,
    bound_of_mean,
    bound_of_repeats,
    exact_interval,
    interval_of_mean,
    mean,
    median,
)
from toolkit.display.html import html_table, scrolling
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
        answered alone) and bound_requests (at 95 % confidence no more than this share of such requests is changed);
        differ (runs that are not), share (of them: mean over requests, of which one run answered alone is what the
        others are compared with) with low and high (its 95 % interval) and bound (at 95 % confidence no more than
        this share of such runs differs): over requests, since runs of one resemble each other, or of its further runs
        where there is one request; fork (the first step at which one differs), margin (median, alone, at those steps)
        and drift (the largest difference of a log probability before). Requests that are sampled without a seed are
        compared with each other."""
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
        trials = list[int]()
        for r, number, base in compared:
            alone = int(r.modes[base])
            runs = np.flatnonzero(r.system == number)
            differing = runs[r.output[runs] != r.output[alone]]
            fork_steps = r.fork[r.output[alone], r.output[differing]].tolist()
            comparison = r.compared(runs, np.full(len(runs), alone))
            differ.append(len(differing))
            # Compared with itself, a condition has one run fewer per request that can differ.
            trials.append(len(runs) - (number == base))
            steps += fork_steps
            margins += [r.margin(alone, step) for step in fork_steps]
            drifts.append(float("nan") if comparison is None else comparison.largest_drift)
        run_count = sum(int(r.counts[number].sum()) for r, number, _ in compared)
        rows = self.report.table
        return {
            "system_fingerprint": next(iter(rows.loc[rows["rung"] == rung.name, "system_fingerprint"]), None),
            "requests": len(compared),
            "runs": run_count,
            "unique": max((int((r.counts[number] > 0).sum()) for r, number, _ in compared), default=0),
            "changed": sum(count > 0 for count in differ),
            "bound_requests": bound(sum(count > 0 for count in differ), sum(n > 0 for n in trials)),
            "differ": sum(differ),
            **_share_of_runs(differ, trials, bool(compared) and compared[0][1] == compared[0][2]),
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
        if self.first is not None:
            cause = self.first.cause
            return f"The first condition that changes an answer is {self.first.name!r}. At work: {cause}."
        rows = self.table[[not r.sampled for r in self.rungs]]
        widest = rows.iloc[int(rows["bound"].to_numpy().argmax())]
        number = int(widest["requests"])
        reason = f"{widest['runs']} equal runs" if number == 1 else f"{number} requests without a change"
        return (
            f"No condition changed an answer; at 95 % confidence none changes more than {_bounds_text(widest)}: "
            f"{rare(reason)}."
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
        bounds = _bounds_text(row)
        if not row["changed"]:
            return f"{rung.name}, {runs}: all as alone{drift}. At 95 % confidence less than {bounds} differ."
        first = "" if np.isnan(row["fork"]) else f", first at token {int(row['fork'])}"
        margin = "" if np.isnan(row["margin"]) else f", median margin there {row['margin']:.2g} nats"
        return (
            f"{rung.name}, {runs}: {plural(row['changed'], 'request')} and {plural(row['differ'], 'run')} differ "
            f"from the answer alone{first}{margin}{drift}; up to {row['unique']} different answers to one request. "
            f"At 95 % confidence no more than {bounds} differ."
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
        table = self._displayed()
        parts = joined([scrolling(html_table(table)), legend(table, _COLUMNS)])
        return markup("<div><p><b>{}</b></p>{}<ul>{}</ul></div>", self._cause(), parts, notes)

    def _displayed(self) -> pd.DataFrame:
        """The table with its numbers as texts, and without what a rung's name says."""
        import pandas as pd

        rows = [{"rung": name, **_displayed_row(row)} for name, row in self.table.iterrows()]
        return pd.DataFrame(rows, dtype=object)


_COLUMNS = {
    "requests": "those that were also answered alone",
    "runs": "answers to them",
    "changed": "requests of which some run is not what is answered alone",
    "bound_requests": "at 95 % confidence no more than this share of such requests is changed",
    "differ": "runs that are not what is answered alone, with the 95 % interval of their share",
    "bound": "at 95 % confidence no more than this share of such runs differs",
    "unique": "the most different answers to one request",
    "fork": "the first token at which one differs, from 0",
    "margin": "of the best token over the second there, median, nats",
    "drift": "the largest difference of a log probability before, nats",
}
"""What each column of the table says."""


def _displayed_row(row: pd.Series[Any]) -> dict[str, Any]:
    return {
        "requests": int(row["requests"]),
        "runs": int(row["runs"]),
        "changed": int(row["changed"]),
        "bound_requests": percent(row["bound_requests"]),
        "differ": f"{int(row['differ'])}{interval_text(row['low'], row['high'])}",
        "bound": percent(row["bound"]),
        "unique": int(row["unique"]),
        "fork": None if np.isnan(row["fork"]) else int(row["fork"]),
        "margin": rounded(row["margin"]),
        "drift": rounded(row["drift"]),
    }


def _share_of_runs(differ: list[int], trials: list[int], compared_with_itself: bool) -> dict[str, float]:
    """The share of runs that differ, its 95 % interval and bound, given the runs of each request that differ and
    could."""
    known = [(count, n) for count, n in zip(differ, trials, strict=True) if n]
    shares = [count / n for count, n in known]
    if len(known) != 1:
        low, high = interval_of_mean(shares)
        return {"share": mean(shares), "low": low, "high": high, "bound": bound_of_mean(shares)}
    ((count, n),) = known
    low, high = exact_interval(count, n)
    of_runs = bound_of_repeats(count, n + 1) if compared_with_itself else bound(count, n)
    return {"share": count / n, "low": low, "high": high, "bound": of_runs}


def _bounds_text(row: pd.Series[Any]) -> str:
    """The bounds of a rung: of further runs of one request, or of such requests and of such runs."""
    requests, runs = percent(row["bound_requests"]), percent(row["bound"])
    if row["requests"] == 1:
        return f"{runs} of further runs of this request"
    if requests == runs:
        return f"{runs} of such requests and of such runs"
    return f"{requests} of such requests and {runs} of such runs"
