"""Determinism: whether the same request gives the same answer again, on one system and on others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.text import short_repr
from toolkit.analysis.determinism.forks import ForkTable
from toolkit.analysis.determinism.html import FORKS_SHOWN, report_html
from toolkit.analysis.determinism.repeats import (
    FINGERPRINT,
    Repeats,
    compare_modes,
    compare_with_mode,
    gather,
    tokens_std,
    top1_std,
)
from toolkit.analysis.determinism.sentences import (
    describe_pair,
    describe_system,
    describe_unknown,
    describe_unseeded,
)
from toolkit.analysis.determinism.statistics import (
    Doubles,
    agreement,
    agreement_between,
    bound,
    effect,
    effective,
    holm,
    interval,
    mean,
    median,
)
from toolkit.analysis.determinism.tables import (
    PAIR_COLUMNS,
    SYSTEM_COLUMNS,
    component_table,
    drift_table,
    spread_row,
    survival_table,
    system_summary,
)
from toolkit.analysis.fork import Fork
from toolkit.display.markup import Markup
from toolkit.display.plots.determinism import plot_determinism
from toolkit.display.plots.style import PALETTE
from toolkit.store.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def determinism(
    table: pd.DataFrame,
    store: Store,
    by: Sequence[str] = (),
    across: str = FINGERPRINT,
    difference: Callable[[Any, Any], str] | None = None,
) -> Determinism:
    """The report on a results table (see `Results.determinism`), which may have the columns `correct` (0 to 1) and
    `answer` (parsed from the text; missing where that failed).

    across: the column whose values are the systems to compare. difference: describes the difference of two of them.
    Raises ValueError if the table has no answer.
    """
    table = table.reset_index(drop=True)
    systems, runs = gather(table, store, across)
    if not runs:
        raise ValueError("no answer is in these results: run the sweep first, or filter less")
    return Determinism(table, store, tuple(runs), tuple(systems), across, tuple(by), difference)


@dataclass(frozen=True, eq=False)
class Determinism:
    """How far the answers to equal requests agree, within each system (a fingerprint) and between them. Made by
    `Results.determinism`. Steps are counted from 0; log probabilities and their differences are in nats.

    An equal fingerprint never proves equal answers, and no number of equal answers proves that the next one is equal:
    every count has its bound. Answers are the same if their token IDs are (which is stricter than equal texts), or
    their texts if the IDs are not known or not comparable.
    """

    table: pd.DataFrame
    store: Store
    runs: tuple[Repeats, ...]
    """One for each request (and choice), with all its answers."""
    systems: tuple[Any, ...]
    across: str
    by: tuple[str, ...]
    difference: Callable[[Any, Any], str] | None

    @cached_property
    def requests(self) -> pd.DataFrame:
        """A row for each request and system: the columns that identify settings (`by`), the system, request, choice,
        random (sampled without a seed, so that runs differ by design); runs (N), unique (U), modal_share, agreement
        (A), effective; same (all N the same), differ (runs that are not the commonest output) and bound (at 95 % no
        more than this share of other runs differs from it: of N − 1 trials, about 3 / N when none does, 1 of a single
        run); fork (the first step at which two runs differ), margin (of the best token over the second there, in the
        commonest output), drift (the largest difference of a chosen token's log probability before a fork), ulps,
        bitwise (share of shared steps whose stored log probabilities have the same bits as those of the commonest
        output), near_ties (share of steps whose margin is smaller than the drift), tokens_std, top1_std (of the best
        token's probability, mean over the steps before the first fork); and accuracy, any_right, all_right,
        same_answer where answers are scored or parsed."""
        import pandas as pd

        pairs = [(r, s) for r in self.runs for s in np.flatnonzero(r.counts.any(axis=1)).tolist()]
        firsts = self.table.iloc[[r.rows[r.modes[s]] for r, s in pairs]]
        random = (firsts["temperature"] != 0) & firsts["seed"].isna()
        labels = firsts[list(self.by)].assign(random=random).to_dict("records")
        return pd.DataFrame([self._request_row(*pair, row) for pair, row in zip(pairs, labels, strict=True)])

    def _request_row(self, r: Repeats, s: int, labels: dict[Any, Any]) -> dict[str, Any]:
        counts, runs = r.counts[s], np.flatnonzero(r.system == s)
        n, most = int(counts.sum()), int(counts.max())
        mode, first = int(r.modes[s]), r.first_fork(s)
        random = labels.pop("random")
        return {
            **labels,
            self.across: self.systems[s],
            "request": r.request,
            "choice": r.choice,
            "random": random,
            "runs": n,
            "unique": int((counts > 0).sum()),
            "modal_share": most / n,
            "agreement": agreement(counts),
            "effective": effective(counts),
            "same": most == n,
            "differ": n - most,
            "bound": bound(n - most, n - 1),
            "fork": first,
            "margin": r.margin(mode, first),
            **compare_with_mode(r, runs, mode),
            "tokens_std": tokens_std(r.length[runs]),
            "top1_std": top1_std(r, runs, first),
            **self._scores(r.rows[runs]),
        }

    def _scores(self, rows: Any) -> dict[str, Any]:
        scores = dict[str, Any]()
        if self._correct is not None:
            correct = self._correct[rows]
            scores |= {"accuracy": correct.mean(), "any_right": correct.max(), "all_right": correct.min()}
        if self._answers is not None:
            is_known, answers = self._answers[0][rows], self._answers[1][rows]
            scores["same_answer"] = bool(is_known.all()) and all(answer == answers[0] for answer in answers)
        return scores

    @cached_property
    def _correct(self) -> Doubles | None:
        return self.table["correct"].to_numpy(np.float64) if "correct" in self.table else None

    @cached_property
    def _answers(self) -> tuple[Any, Any] | None:
        """(n,) which parsed answers are known, and (n,) the answers."""
        if "answer" not in self.table:
            return None
        column = self.table["answer"]
        return column.notna().to_numpy(), column.to_numpy(object)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row for each setting and system; columns as in `within`. A request that several settings share counts for
        the first of them."""
        return self._grouped([*self.by, self.across])

    @cached_property
    def within(self) -> pd.DataFrame:
        """A row for each system: requests (and choices), repeated (those with more than one run), runs; same (share
        of repeated ones all of whose runs are the same: TARr@N of Atil et al., arXiv 2408.04667) with its 95 %
        interval; agreement (mean of A) with its interval; unique (the most of one request); differ (runs that are not
        the commonest of their request) and bound (at 95 % no more than this share of other runs: about 3 / N without
        any; the first run of a request is no trial); fork (the first step of all) and fork_median; drift (the
        largest), bitwise, near_ties (means); tokens_std and top1_std (means: Avg_Std@Output_Length and
        Avg_Std@top1_prob of Yuan et al., arXiv 2506.09501, over repeats); and where answers are scored or parsed
        accuracy, best and worst (possible accuracy: any run right, all runs right), spread, and same_answer (TARa@N),
        NaN where nothing is repeated."""
        return self._grouped([self.across])

    def _grouped(self, names: list[str]) -> pd.DataFrame:
        import pandas as pd

        summaries = {
            value: system_summary(rows)
            for value, rows in self.requests.groupby(names, sort=False, dropna=False)
            if isinstance(value, tuple)
        }
        index = pd.MultiIndex.from_tuples(list(summaries), names=names)
        frame = pd.DataFrame(list(summaries.values()), index=index)
        return frame if len(names) > 1 else frame.set_axis(index.get_level_values(0))

    @cached_property
    def between(self) -> pd.DataFrame:
        """A row for each two systems a and b, over the requests that both answered: requests; forked (those whose
        commonest outputs differ), share_forked with its 95 % interval and bound; agreement (mean A between a run of
        one and one of the other), effect (how much less that is than within them: (A_aa + A_bb) / 2 − A_ab) and its p
        (a permutation test within requests, Holm's correction over the rows; NaN if requests have single runs:
        then chance cannot be ruled out); first_fork, fork_median, margin (median, in a, at the forks), drift
        (the largest before a fork), bitwise, near_ties; k1, k2, k3 (estimates of KL(a‖b) per token: Schulman 2020,
        for texts sampled at temperature 1; of the shared tokens alone, so that they are too low where answers fork,
        see `Fork.divergence`); differ (a description of the systems' differences)."""
        import pandas as pd

        rows = [self._pair_row(a, b) for a, b in combinations(range(len(self.systems)), 2)]
        table = pd.DataFrame(rows, columns=PAIR_COLUMNS)
        return table.assign(p=holm(table["p"]))

    def _pair_row(self, a: int, b: int) -> dict[str, Any]:
        repeats = [r for r in self.runs if r.counts[a].any() and r.counts[b].any()]
        steps = np.array([self._fork_step(r, a, b) for r in repeats])
        forked = np.array([r.output[r.modes[a]] != r.output[r.modes[b]] for r in repeats], bool)
        effect_size, p = effect([(r.counts[a], r.counts[b]) for r in repeats])
        low, high = interval(int(forked.sum()), len(repeats))
        fork_steps = steps[~np.isnan(steps)]
        margins = [r.margin(int(r.modes[a]), step) for r, step in zip(repeats, steps, strict=True)]
        return {
            "a": self.systems[a],
            "b": self.systems[b],
            "requests": len(repeats),
            "forked": int(forked.sum()),
            "share_forked": float(forked.mean()) if len(repeats) else np.nan,
            "low": float(low),
            "high": float(high),
            "bound": bound(int(forked.sum()), len(repeats)),
            "agreement": mean([agreement_between(r.counts[a], r.counts[b]) for r in repeats]),
            "effect": effect_size,
            "p": p,
            "first_fork": fork_steps.min() if len(fork_steps) else np.nan,
            "fork_median": np.median(fork_steps) if len(fork_steps) else np.nan,
            "margin": median(margins),
            **compare_modes(repeats, a, b),
            "differ": self._difference(a, b),
        }

    def _difference(self, a: int, b: int) -> str:
        return "" if self.difference is None else self.difference(self.systems[a], self.systems[b])

    @staticmethod
    def _fork_step(r: Repeats, a: int, b: int) -> float:
        """The step at which the commonest outputs of two systems diverge; NaN if they are the same."""
        first, second = r.output[r.modes[a]], r.output[r.modes[b]]
        return float("nan") if first == second else float(r.fork[first, second])

    @cached_property
    def _fork_table(self) -> ForkTable:
        return ForkTable(self.table, self.store, self.runs, self.systems, self.by)

    @property
    def forks(self) -> pd.DataFrame:
        """A row for each request whose commonest outputs differ: on two systems a and b, or on one (then b is a, and
        the second output its second commonest). request, choice, a, b, step, token_a and token_b (of each there,
        None where it ends), margin_a and margin_b, drift (the largest before), runs_a and runs_b (how many
        gave these outputs). `fork(i)` gives the two answers of a row, with both lists of likely tokens."""
        return self._fork_table.frame

    def texts(self, row: int) -> tuple[str, str]:
        """The two answers of a row of `forks` as texts. Raises IndexError past the end."""
        return self._fork_table.texts(row)

    def forked(self, a: Any, b: Any = None) -> pd.DataFrame:
        """The rows of `forks` of two systems, in either order, or within one if b is omitted: one cell of the matrix.
        The index is that of `fork`; further columns are prompt (its text), those that identify settings, and all_a
        and all_b (the runs of the request on each system). Raises KeyError for an unknown system."""
        return self._fork_table.rows_between(sorted(self._index(name) for name in (a, a if b is None else b)))

    def fork(self, row: int) -> Fork:
        """The two answers of a row of `forks`, token by token. Raises IndexError past the end, ValueError if texts
        were compared because the token IDs are not known, or not of one tokenizer."""
        return self._fork_table.fork(row)

    def matrix(self) -> pd.DataFrame:
        """(S, S) mean agreement over requests: between two runs of one system on the diagonal (NaN for single runs),
        between a run of each of two systems elsewhere."""
        import pandas as pd

        indices = range(len(self.systems))
        values = [[self._agreement(a, b) for b in indices] for a in indices]
        return pd.DataFrame(values, index=list(self.systems), columns=list(self.systems))

    def _agreement(self, a: int, b: int) -> float:
        def of_request(r: Repeats) -> float:
            return agreement(r.counts[a]) if a == b else agreement_between(r.counts[a], r.counts[b])

        return mean([of_request(r) for r in self.runs])

    @cached_property
    def agreements(self) -> pd.DataFrame:
        """A row for each cell of the matrix on and above the diagonal: a, b, agreement (mean A), requests
        (those that both systems answered; on the diagonal those with several runs) and forked (those of them that
        have a row in `forks`)."""
        import pandas as pd

        cells = [(a, b) for a in range(len(self.systems)) for b in range(a, len(self.systems))]
        forked = Counter((a, b) for _, _, a, b, _, _ in self._fork_table.pairs)
        rows = [
            (self.systems[a], self.systems[b], self._agreement(a, b), self._overlap(a, b), forked[a, b])
            for a, b in cells
        ]
        return pd.DataFrame(rows, columns=["a", "b", "agreement", "requests", "forked"])

    def _overlap(self, a: int, b: int) -> int:
        least = 2 if a == b else 1
        return sum(bool(min(r.counts[a].sum(), r.counts[b].sum()) >= least) for r in self.runs)

    def fingerprint_differences(self) -> pd.DataFrame:
        """A row for each system, a column for each component in which any two of their fingerprints differ. No
        columns if systems are not fingerprints."""
        names = list(map(str, self.systems))
        records = [self.store.fingerprint(name) for name in names] if self.across == FINGERPRINT else []
        return component_table(names, records)

    def survival(self, a: Any = None, b: Any = None) -> pd.DataFrame:
        """The share of pairs of runs that have not forked before each step (Kaplan and Meier): between runs of
        systems a and b, within a alone, or within all systems. A row for each step; columns as in
        `statistics.survival`. The interval is over requests: pairs of one request are not independent. Empty if no
        token IDs are known."""
        if a is None and b is None:
            pairs = [(s, s) for s in range(len(self.systems))]
        else:
            first, second = (self._index(name) for name in (b if a is None else a, a if b is None else b))
            pairs = [(first, second)]
        return survival_table(self.runs, pairs)

    def drift(self) -> pd.DataFrame:
        """Differences of the log probabilities of shared tokens, by step: between each run and the commonest output
        of its request on the first system that has it. A row for each step: pairs (that share the step, with known
        log probabilities), median, high (95 %), largest, in nats."""
        return drift_table(self.runs)

    def spread(self) -> pd.Series[Any]:
        """The effect of changing the system on results (Yuan et al., arXiv 2506.09501): std_accuracy (Std@Acc, over
        systems), std_tokens (Avg_Std@Output_Length, over all runs of a request), std_top1 (Avg_Std@top1_prob), fork
        (Div_Index, the first step at which any two runs of a request differ: median), and forked (share of requests
        that have such a step)."""
        return spread_row(self.runs, self.within.get("accuracy", [np.nan]))

    def sentences(self) -> list[str]:
        """Each finding as a sentence."""
        kind = "fingerprint" if self.across == FINGERPRINT else self.across
        noun = "choice" if any(r.choice for r in self.runs) else "request"
        sentences = [
            describe_system(self._label(name), row, noun, kind) for name, row in self.within.iterrows()
        ]
        for _, row in self.between.iterrows():
            pair = f"{self._label(row['a'])} and {self._label(row['b'])}"
            sentences.append(describe_pair(pair, row, noun))
        unseeded = int(self.requests.groupby(["request", "choice"])["random"].any().sum())
        sentences += [describe_unseeded(unseeded, len(self.runs), noun)] if unseeded else []
        if self.across == FINGERPRINT:
            sentences += [
                describe_unknown(str(s)) for s in self.systems if not self.store.fingerprint(str(s)).known
            ]
        return sentences

    def _label(self, name: Any) -> str:
        return str(name) if self.across == FINGERPRINT else f"{self.across} {name}"

    def _index(self, name: Any) -> int:
        names = [str(s) for s in self.systems]
        if str(name) not in names:
            raise KeyError(f"{self.across} {short_repr(name)} is not in these results: {', '.join(names)}")
        return names.index(str(name))

    def plot(self) -> Figure:
        """Agreement between systems, survival of pairs, drift by step, margins at forks (see `plot_determinism`)."""
        names = [str(s) for s in self.systems]
        curves = {"runs of one system": self.survival()}
        for a, b in list(combinations(self.systems, 2))[: len(PALETTE) - 1]:
            curves[f"{a} and {b}"] = self.survival(a, b)
        return plot_determinism(self.matrix().to_numpy(), names, curves, self.drift(), self.forks["margin_a"])

    def frame(self) -> pd.DataFrame:
        """`requests`, as a copy."""
        return self.requests.copy()

    def __repr__(self) -> str:
        return "\n".join(self.sentences())

    def _repr_html_(self) -> Markup:
        prompts = [self._fork_table.prompt(r.request) for _, r, *_ in self._fork_table.pairs[:FORKS_SHOWN]]
        table = self.within.reset_index()[
            [n for n in (self.across, *SYSTEM_COLUMNS) if n in (self.across, *self.within)]
        ]
        return report_html(self.sentences(), self.systems, self.agreements, table, self.forks, prompts)
