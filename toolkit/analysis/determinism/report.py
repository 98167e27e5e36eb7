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
    gather,
)
from toolkit.analysis.determinism.requests import requests_table
from toolkit.analysis.determinism.sentences import (
    describe_pair,
    describe_summaries,
    describe_unknown,
    describe_unseeded,
)
from toolkit.analysis.determinism.settings import (
    Summary,
    has_several,
    settings_table,
    summaries,
    summary_by,
)
from toolkit.analysis.determinism.statistics import (
    agreement,
    agreement_between,
    holm,
    mean,
)
from toolkit.analysis.determinism.tables import (
    PAIR_COLUMNS,
    component_table,
    drift_table,
    pair_row,
    spread_row,
    survival_table,
)
from toolkit.analysis.fork import Fork
from toolkit.core.fingerprint import system_names
from toolkit.display.markup import Markup
from toolkit.display.plots.determinism import plot_determinism
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
        setting (in words), sampling (greedy, seeded, or sampled without a seed), random (the last, so that runs
        differ by design); runs (N), unique (U), modal_share, agreement (A), effective; same (all N the same), differ
        (runs that are not the commonest output), bound (see `bound_of_repeats`) and differing_share (see there); fork
        (the first step at which two runs differ), margin (of the best token over the second there, in the commonest
        output), drift (the largest difference of a chosen token's log probability before a fork), ulps, bitwise
        (share of shared steps whose stored log probabilities have the same bits as those of the commonest output),
        near_ties (share of steps whose margin is smaller than the drift), tokens_std, top1_std (of the best token's
        probability, mean over the steps before the first fork); and accuracy, any_right, all_right, same_answer where
        answers are scored or parsed."""
        return requests_table(self.table, self.runs, self.systems, self.by, self.across)

    @cached_property
    def settings(self) -> pd.DataFrame:
        """A row for each setting, kind of sampling and system; greedy ones first, those sampled without a seed last,
        and of each kind those that were asked once last. setting (in words), and columns as in `within`."""
        return settings_table(self.requests, self.by, self.across)

    @cached_property
    def summaries(self) -> list[Summary]:
        """What is shown of each setting and system, and then of all settings of a system."""
        return summaries(self.settings, self.within, self.label)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row for each setting and system, however it was sampled; columns as in `within`. A request that several
        settings share counts for the first of them."""
        return summary_by(self.requests, [*self.by, self.across])

    @cached_property
    def within(self) -> pd.DataFrame:
        """A row for each system: requests (and choices), repeated (those with more than one run), runs; same (share
        of repeated ones all of whose runs are the same: TARr@N of Atil et al., arXiv 2408.04667) with its 95 %
        interval; agreement (mean of A) with its interval; unique (the most of one request); differ (runs that are not
        the commonest of their request); bound (at 95 % no more than this share of such runs differs from the
        commonest output: over requests, since runs of one resemble each other; of its further runs where one request
        alone is repeated) and bound_requests (no more than this share of such requests has runs that differ): both
        1 − 0.05^(1 / repeated) where none of several does; fork (the first step of all) and fork_median; drift (the
        largest), bitwise, near_ties (means); tokens_std and top1_std (means: Avg_Std@Output_Length and
        Avg_Std@top1_prob of Yuan et al., arXiv 2506.09501, over repeats); and where answers are scored or parsed
        accuracy, best and worst (possible accuracy: any run right, all runs right), spread, and same_answer (TARa@N),
        NaN where nothing is repeated."""
        return summary_by(self.requests, [self.across])

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
        first, second = self.systems[a], self.systems[b]
        differ = "" if self.difference is None else self.difference(first, second)
        return {"a": first, "b": second, **pair_row(self._answered(a, b), a, b), "differ": differ}

    def _answered(self, a: int, b: int) -> list[Repeats]:
        """The requests that two systems answered."""
        return [r for r in self.runs if r.counts[a].any() and r.counts[b].any()]

    @cached_property
    def _fork_table(self) -> ForkTable:
        return ForkTable(self.table, self.store, self.runs, self.systems, self.by, self.setting)

    @property
    def forks(self) -> pd.DataFrame:
        """A row for each request whose commonest outputs differ: on two systems a and b, or on one (then b is a, and
        the second output its second commonest). request, choice, setting (in words), a, b, step, token_a and token_b
        (of each there, None where it ends), margin_a and margin_b, drift (the largest before), runs_a and runs_b (how
        many gave these outputs). `fork(i)` gives the two answers of a row, with both lists of likely tokens."""
        return self._fork_table.frame

    def texts(self, row: int) -> tuple[str, str]:
        """The two answers of a row of `forks` as texts. Raises IndexError past the end."""
        return self._fork_table.texts(row)

    def first_forks(self, number: int) -> pd.DataFrame:
        """The first rows of `forks` as they are displayed: with prompts, without columns that identify nothing."""
        return self._fork_table.first(number, self.label, has_several(self.settings))

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
        return survival_table((r, pairs) for r in self.runs)

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
        """Each finding as a sentence: on each setting, greedy ones first, on all settings together, and on each two
        systems."""
        kind = "fingerprint" if self.across == FINGERPRINT else self.across
        noun = "choice" if any(r.choice for r in self.runs) else "request"
        sentences = describe_summaries(self.summaries, noun, kind)
        for row in self.between.to_dict("records"):
            pair = f"{self._name(row['a'])} and {self._name(row['b'])}"
            sentences.append(describe_pair(pair, row, noun, self._forked_by_setting(row["a"], row["b"])))
        unseeded = int(self.requests.groupby(["request", "choice"])["random"].any().sum())
        sentences += [describe_unseeded(unseeded, len(self.runs), noun)] if unseeded else []
        if self.across == FINGERPRINT:
            sentences += [
                describe_unknown(str(s)) for s in self.systems if not self.store.fingerprint(str(s)).known
            ]
        return sentences

    def _name(self, name: Any) -> str:
        return str(name) if self.across == FINGERPRINT else f"{self.across} {name}"

    def label(self, system: Any) -> str:
        """A system, and what it is: the model of a single fingerprint, or what tells it from the others."""
        return self._labels[self._index(system)]

    @cached_property
    def _labels(self) -> list[str]:
        names = self._system_names
        return [f"{id} ({names[id]})" if id in names else id for id in map(self._name, self.systems)]

    @cached_property
    def _system_names(self) -> dict[str, str]:
        """Fingerprint → its name; empty for systems that are no fingerprints."""
        if self.across != FINGERPRINT:
            return {}
        return system_names({str(id): self.store.fingerprint(id) for id in self.systems})

    @cached_property
    def _setting_of(self) -> dict[tuple[str, int, Any], str]:
        """(request, choice, system) → its setting in words."""
        names = ("request", "choice", self.across, "setting")
        return {
            (request, choice, system): setting
            for request, choice, system, setting in self.requests[list(names)].itertuples(index=False)
        }

    def setting(self, r: Repeats, *systems: int) -> str:
        """The setting of a request in words; of two systems (indices) for which it is not the same, both."""
        labels = [self._setting_of[r.request, r.choice, self.systems[s]] for s in systems]
        return " and ".join(dict.fromkeys(labels))

    def _forked_by_setting(self, a: Any, b: Any) -> list[tuple[str, int, int]]:
        """(setting, forked requests, requests) of two systems; empty if they have one setting in common."""
        first, second = self._index(a), self._index(b)
        total = Counter(self.setting(r, first, second) for r in self._answered(first, second))
        forks = self.forks[(self.forks["a"] == a) & (self.forks["b"] == b)]
        forked = Counter(forks["setting"])
        rank = {label: i for i, label in enumerate(self.settings["setting"])}
        order = sorted(total, key=lambda label: rank.get(label, len(rank)))
        return [(label, forked[label], total[label]) for label in order] if len(order) > 1 else []

    def _index(self, name: Any) -> int:
        names = [str(s) for s in self.systems]
        if str(name) not in names:
            raise KeyError(f"{self.across} {short_repr(name)} is not in these results: {', '.join(names)}")
        return names.index(str(name))

    def plot(self) -> Figure:
        """Agreement by setting, if there are several, and between systems; survival of pairs, drift by step, margins
        at forks (see `plot_determinism`)."""
        curves = self._survival_by_setting()
        for a, b in combinations(self.systems, 2):
            curves[" and ".join(self._without_id(self.label(s)) for s in (a, b))] = self.survival(a, b)
        settings = [s for s in self.summaries if s.sampling] if has_several(self.settings) else []
        agreements = [[s.row[n] for n in ("agreement", "agreement_low", "agreement_high")] for s in settings]
        return plot_determinism(
            self.matrix().to_numpy(),
            [self._without_id(label) for label in self._labels],
            curves,
            self.drift(),
            self.forks["margin_a"],
            {self._without_id(s.label): row for s, row in zip(settings, agreements, strict=True)},
        )

    def _without_id(self, label: str) -> str:
        """A label with the name of a system alone, which a plot has no room to explain."""
        for id, name in self._system_names.items():
            label = label.replace(f"{id} ({name})", name)
        return label

    def _survival_by_setting(self) -> dict[str, pd.DataFrame]:
        """The survival of pairs of runs within systems, for each setting if there are several."""
        if not has_several(self.settings):
            return {"runs of one system": self.survival()}
        parts = {label: list[tuple[Repeats, list[tuple[int, int]]]]() for label in self.settings["setting"]}
        for r in self.runs:
            pairs: dict[str, list[tuple[int, int]]] = {}
            for s in np.flatnonzero(r.counts.any(axis=1)).tolist():
                pairs.setdefault(self.setting(r, s), []).append((s, s))
            for label, own in pairs.items():
                parts[label].append((r, own))
        return {label: survival_table(part) for label, part in parts.items()}

    def frame(self) -> pd.DataFrame:
        """`requests`, as a copy."""
        return self.requests.copy()

    def __repr__(self) -> str:
        return "\n".join(self.sentences())

    def _repr_html_(self) -> Markup:
        forks = self.first_forks(FORKS_SHOWN)
        return report_html(
            self.sentences(), self._labels, self.agreements, self.summaries, forks, len(self.forks)
        )
