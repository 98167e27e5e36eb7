"""Determinism: whether the same request gives the same answer again, here and on other systems."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit import findings, plots, report
from toolkit.agreement import (
    Doubles,
    agreement,
    agreement_between,
    bound,
    effect,
    effective,
    holm,
    interval,
    interval_of_mean,
    mean,
    median,
    std,
    survival,
)
from toolkit.fork import Fork, fork
from toolkit.messages import plain_text
from toolkit.runs import Runs, beside_mode, between, gather, tokens_std, top1_std
from toolkit.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FINGERPRINT = "system_fingerprint"
_SHOWN = 10
"""Forks that a report shows."""
_LONG = 200
"""Characters of a prompt, or of a token, there."""


def determinism(
    table: pd.DataFrame,
    store: Store,
    by: Sequence[str] = (),
    across: str = FINGERPRINT,
    difference: Callable[[Any, Any], str] | None = None,
) -> Determinism:
    """The report on a results table (see `Results.determinism`), which may have the columns `correct` (0 to 1) and
    `answer` (what was parsed out of the text; missing where that failed).

    across: the column whose values are the systems that are compared. difference: says in words in what two of them
    differ. Raises ValueError when there is no answer in the table.
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
    every count comes with its bound. Answers are the same when their token ids are (which is stricter than equal
    texts), or their texts where the ids are not known or not comparable.
    """

    table: pd.DataFrame
    store: Store
    runs: tuple[Runs, ...]
    """One for each request (and choice), with all of its answers."""
    systems: tuple[Any, ...]
    across: str
    by: tuple[str, ...]
    difference: Callable[[Any, Any], str] | None

    @cached_property
    def requests(self) -> pd.DataFrame:
        """A row for each request and system: the columns that settings are told by, the system, request, choice,
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

        places = [(r, s) for r in self.runs for s in np.flatnonzero(r.counts.any(axis=1)).tolist()]
        firsts = self.table.iloc[[r.rows[r.modes[s]] for r, s in places]]
        random = (firsts["temperature"] != 0) & firsts["seed"].isna()
        labels = firsts[list(self.by)].assign(random=random).to_dict("records")
        return pd.DataFrame([self._request(*place, row) for place, row in zip(places, labels, strict=True)])

    def _request(self, r: Runs, s: int, labels: dict[Any, Any]) -> dict[str, Any]:
        counts, own = r.counts[s], np.flatnonzero(r.system == s)
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
            **beside_mode(r, own, mode),
            "tokens_std": tokens_std(r.length[own]),
            "top1_std": top1_std(r, own, first),
            **self._judged(r.rows[own]),
        }

    def _judged(self, rows: Any) -> dict[str, Any]:
        found = dict[str, Any]()
        if self._correct is not None:
            right = self._correct[rows]
            found |= {"accuracy": right.mean(), "any_right": right.max(), "all_right": right.min()}
        if self._answers is not None:
            known, answers = self._answers[0][rows], self._answers[1][rows]
            found["same_answer"] = bool(known.all()) and all(answer == answers[0] for answer in answers)
        return found

    @cached_property
    def _correct(self) -> Doubles | None:
        return self.table["correct"].to_numpy(np.float64) if "correct" in self.table else None

    @cached_property
    def _answers(self) -> tuple[Any, Any] | None:
        """Which are known, and all."""
        if "answer" not in self.table:
            return None
        column = self.table["answer"]
        return column.notna().to_numpy(), column.to_numpy(object)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row for each setting and system; columns as of `within`. What several settings ask alike is of the first
        of them."""
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

        found = {
            value: _summary(part)
            for value, part in self.requests.groupby(names, sort=False, dropna=False)
            if isinstance(value, tuple)
        }
        index = pd.MultiIndex.from_tuples(list(found), names=names)
        frame = pd.DataFrame(list(found.values()), index=index)
        return frame if len(names) > 1 else frame.set_axis(index.get_level_values(0))

    @cached_property
    def between(self) -> pd.DataFrame:
        """A row for each two systems a and b, over the requests that both answered: requests; forked (those whose
        commonest outputs differ), share_forked with its 95 % interval and bound; agreement (mean A between a run of
        one and one of the other), effect (how much less that is than within them: (A_aa + A_bb) / 2 − A_ab) and its p
        (a permutation test within requests, Holm's correction over the rows; NaN where requests have single runs:
        then a system cannot be told from chance); first_fork, fork_median, margin (median, in a, at the forks), drift
        (the largest before a fork), bitwise, near_ties; k1, k2, k3 (estimates of KL(a‖b) per token: Schulman 2020,
        for texts sampled at temperature 1; of the shared tokens alone, so that they are too low where answers fork,
        see `Fork.divergence`); differ (in what the systems differ, in words)."""
        import pandas as pd

        rows = [self._pair(a, b) for a, b in combinations(range(len(self.systems)), 2)]
        found = pd.DataFrame(rows, columns=_BETWEEN)
        return found.assign(p=holm(found["p"]))

    def _pair(self, a: int, b: int) -> dict[str, Any]:
        both = [r for r in self.runs if r.counts[a].any() and r.counts[b].any()]
        steps = np.array([self._parted(r, a, b) for r in both])
        forked = np.array([r.output[r.modes[a]] != r.output[r.modes[b]] for r in both], bool)
        seen, p = effect([(r.counts[a], r.counts[b]) for r in both])
        low, high = interval(int(forked.sum()), len(both))
        known = steps[~np.isnan(steps)]
        margins = [r.margin(int(r.modes[a]), step) for r, step in zip(both, steps, strict=True)]
        return {
            "a": self.systems[a],
            "b": self.systems[b],
            "requests": len(both),
            "forked": int(forked.sum()),
            "share_forked": float(forked.mean()) if len(both) else np.nan,
            "low": float(low),
            "high": float(high),
            "bound": bound(int(forked.sum()), len(both)),
            "agreement": mean([agreement_between(r.counts[a], r.counts[b]) for r in both]),
            "effect": seen,
            "p": p,
            "first_fork": known.min() if len(known) else np.nan,
            "fork_median": np.median(known) if len(known) else np.nan,
            "margin": median(margins),
            **between(both, a, b),
            "differ": self._difference(a, b),
        }

    def _difference(self, a: int, b: int) -> str:
        return "" if self.difference is None else self.difference(self.systems[a], self.systems[b])

    @staticmethod
    def _parted(r: Runs, a: int, b: int) -> float:
        """The step at which the commonest outputs of two systems part; NaN when they are the same."""
        one, other = r.output[r.modes[a]], r.output[r.modes[b]]
        return float("nan") if one == other else float(r.fork[one, other])

    @cached_property
    def forks(self) -> pd.DataFrame:
        """A row for each request whose commonest outputs differ: on two systems a and b, or on one (then b is a, and
        the second output its second commonest). request, choice, a, b, step, token_a and token_b (what each says
        there, None where it ends), margin_a and margin_b, drift (the largest before), runs_a and runs_b (how many
        gave these outputs). `fork(i)` gives the two answers of a row, with both lists of likely tokens."""
        import pandas as pd

        columns = [
            "request", "choice", "a", "b", "step", "token_a", "token_b", "margin_a", "margin_b", "drift", "runs_a",
            "runs_b",
        ]  # fmt: skip
        rows = [self._fork(r, a, b, i, j) for _, r, a, b, i, j in self._parting]
        return pd.DataFrame(rows, columns=columns)

    @cached_property
    def _parting(self) -> list[tuple[int, Runs, int, int, int, int]]:
        """(number of the request, its runs, two systems, a run of each) of each row of `forks`."""
        found = []
        for number, r in enumerate(self.runs):
            present = np.flatnonzero(r.counts.any(axis=1)).tolist()
            for a in present:
                if (r.counts[a] > 0).sum() > 1:
                    second = np.argsort(-r.counts[a], kind="stable")[1]
                    other = np.flatnonzero((r.system == a) & (r.output == second))[0]
                    found.append((number, r, a, a, int(r.modes[a]), int(other)))
            for a, b in combinations(present, 2):
                i, j = int(r.modes[a]), int(r.modes[b])
                if r.output[i] != r.output[j]:
                    found.append((number, r, a, b, i, j))
        return found

    def _fork(self, r: Runs, a: int, b: int, i: int, j: int) -> dict[str, Any]:
        step = float(r.fork[r.output[i], r.output[j]])
        compared = r.compared([i], [j])
        return {
            "request": r.request,
            "choice": r.choice,
            "a": self.systems[a],
            "b": self.systems[b],
            "step": step,
            "token_a": self._token(r, i, step),
            "token_b": self._token(r, j, step),
            "margin_a": r.margin(i, step),
            "margin_b": r.margin(j, step),
            "drift": compared.largest_drift if compared else np.nan,
            "runs_a": int(r.counts[a, r.output[i]]),
            "runs_b": int(r.counts[b, r.output[j]]),
        }

    def _token(self, r: Runs, run: int, step: float) -> str | None:
        """What a run says at a step: text, or the token's id where the vocabulary is not stored."""
        if np.isnan(step) or step >= r.length[run]:
            return None
        token = int(r.ids[run, int(step)])
        try:
            known = self.store.vocabulary(str(self.table.at[r.rows[run], FINGERPRINT]))
            return known[token].decode("utf-8", "replace")
        except LookupError:
            return f"token {token}"

    def texts(self, row: int) -> tuple[str, str]:
        """The two answers of a row of `forks` as texts. Raises IndexError past the end."""
        _, r, _, _, i, j = self._parting[row]
        one, other = (str(self.table.at[r.rows[run], "text"]) for run in (i, j))
        return one, other

    def forked(self, a: Any, b: Any = None) -> pd.DataFrame:
        """The rows of `forks` of two systems, in either order, or within one when b is left out: one cell of the
        matrix. Numbered as `fork` takes them, with prompt (what was asked, in words), the columns that settings are
        told by, and all_a and all_b (the runs that each system has of the request). Raises KeyError for a system that
        is not there."""
        cell = sorted(self._number(name) for name in (a, a if b is None else b))
        rows = [i for i, (_, _, *systems, _, _) in enumerate(self._parting) if systems == cell]
        runs = [self._parting[i][1] for i in rows]
        labels = self.table.iloc[[self._parting[i][1].rows[self._parting[i][4]] for i in rows]]
        found = self.forks.iloc[rows].assign(prompt=[self._asked(r.request) for r in runs])
        for side, system in zip("ab", cell, strict=True):
            found[f"all_{side}"] = [int(r.counts[system].sum()) for r in runs]
        told = [name for name in self.by if name not in found]  # the prompt is there, in full
        return found.join(labels[told].set_axis(found.index))

    def _asked(self, request: str) -> str:
        """The last message of a request, or its prompt."""
        asked = self.store.request(request)
        if asked.messages is not None:
            return plain_text(asked.messages[-1])
        return asked.prompt if isinstance(asked.prompt, str) else f"{len(asked.prompt or ())} token ids"

    def fork(self, row: int) -> Fork:
        """The two answers of a row of `forks`, token by token. Raises IndexError past the end, ValueError where the
        texts were compared since the token ids are not known, or not of one tokenizer."""
        _, r, _, _, i, j = self._parting[row]
        if not r.ids.size:
            raise ValueError("these answers have no token ids that can be compared: read their texts")
        found = [self.table.iloc[r.rows[run]] for run in (i, j)]
        a, b = (
            self.store.completion(one["request"], one[FINGERPRINT], int(one["repeat"])).choice(r.choice)
            for one in found
        )
        return fork(a, b)

    def matrix(self) -> pd.DataFrame:
        """(S, S) mean agreement over requests: of two runs of one system on the diagonal (NaN of single runs), of a
        run of each of two systems beside it."""
        import pandas as pd

        size = range(len(self.systems))
        found = [[self._agreement(a, b) for b in size] for a in size]
        return pd.DataFrame(found, index=list(self.systems), columns=list(self.systems))

    def _agreement(self, a: int, b: int) -> float:
        def one(r: Runs) -> float:
            return agreement(r.counts[a]) if a == b else agreement_between(r.counts[a], r.counts[b])

        return mean([one(r) for r in self.runs])

    @cached_property
    def agreements(self) -> pd.DataFrame:
        """A row for each cell of the matrix, its diagonal and what is above it: a, b, agreement (mean A), requests
        (those that both systems answered; on the diagonal those with several runs) and forked (those of them that
        have a row in `forks`)."""
        import pandas as pd

        cells = [(a, b) for a in range(len(self.systems)) for b in range(a, len(self.systems))]
        forked = Counter((a, b) for _, _, a, b, _, _ in self._parting)
        rows = [
            (self.systems[a], self.systems[b], self._agreement(a, b), self._answered(a, b), forked[a, b])
            for a, b in cells
        ]
        return pd.DataFrame(rows, columns=["a", "b", "agreement", "requests", "forked"])

    def _answered(self, a: int, b: int) -> int:
        least = 2 if a == b else 1
        return sum(bool(min(r.counts[a].sum(), r.counts[b].sum()) >= least) for r in self.runs)

    def told_apart(self) -> pd.DataFrame:
        """A row for each system, a column for each component of their fingerprints in which any two of them differ.
        No columns where systems are no fingerprints."""
        import pandas as pd

        names = list(map(str, self.systems))
        records = [self.store.fingerprint(name) for name in names] if self.across == FINGERPRINT else []
        found = [records[0].diff(one) for one in records]
        # What one does not differ from the first in, it has as the first has it.
        first = {name: pair[0] for one in found for name, pair in one.items()}
        rows = [{**first, **{name: pair[1] for name, pair in one.items()}} for one in found]
        return pd.DataFrame(rows, index=names, columns=list(first), dtype=object)

    def survival(self, a: Any = None, b: Any = None) -> pd.DataFrame:
        """The share of pairs of runs that have not forked before each step (Kaplan and Meier): of runs of a system a
        and of b, of a alone, or of all systems, each with itself. A row for each step; columns as of
        `agreement.survival`. The interval is over requests: pairs of one request are not independent. Empty where no
        token ids are known."""
        import pandas as pd

        if a is None and b is None:
            chosen = [(s, s) for s in range(len(self.systems))]
        else:
            one, other = (self._number(name) for name in (b if a is None else a, a if b is None else b))
            chosen = [(one, other)]
        known = [r for r in self.runs if r.ids.size]
        # (2, T) of each request: its systems together, since they answer the same.
        pairs = [np.sum([r.pairs(*systems) for systems in chosen], axis=0) for r in known]
        pairs = [p for p in pairs if p.any()]
        steps = max((p.shape[1] for p in pairs), default=0)
        wide = np.array([np.pad(p, ((0, 0), (0, steps - p.shape[1]))) for p in pairs])
        made = survival(wide[:, 0], wide[:, 1]) if pairs else {}
        return pd.DataFrame(made, columns=_SURVIVAL, dtype=np.float64).rename_axis("step")

    def drift(self) -> pd.DataFrame:
        """How far log probabilities of shared tokens lie apart, by step: of each run and the commonest output of its
        request on the first system that has it. A row for each step: pairs (those that share it and know it), median,
        high (95 %), largest, in nats."""
        import pandas as pd

        parts = [p for r in self.runs if (p := self._drift(r)) is not None]
        steps = max((p.shape[1] for p in parts), default=0)
        wide = [np.pad(p, ((0, 0), (0, steps - p.shape[1])), constant_values=np.nan) for p in parts]
        every = np.concatenate(wide) if wide else np.zeros((0, 0))
        rows = [_spread(column[~np.isnan(column)]) for column in every.T]
        return pd.DataFrame(rows, columns=["pairs", "median", "high", "largest"]).rename_axis("step")

    def _drift(self, r: Runs) -> Doubles | None:
        base = int(r.modes[r.system.min()])
        others = np.delete(np.arange(len(r.rows)), base)
        found = r.compared(others, np.full(len(others), base)) if len(others) else None
        return None if found is None else np.abs(found.drift)

    def spread(self) -> pd.Series[Any]:
        """What changing the system does to results (Yuan et al., arXiv 2506.09501): std_accuracy (Std@Acc, over
        systems), std_tokens (Avg_Std@Output_Length, over all runs of a request), std_top1 (Avg_Std@top1_prob), fork
        (Div_Index, the first step at which any two runs of a request differ: median), and forked (share of requests
        that have such a step)."""
        import pandas as pd

        firsts = np.array([r.first_fork() for r in self.runs])
        every = [np.arange(len(r.rows)) for r in self.runs]
        accuracy = self.within.get("accuracy", [np.nan])
        return pd.Series(
            {
                "std_accuracy": std(accuracy),
                "std_tokens": mean([tokens_std(r.length) for r in self.runs]),
                "std_top1": mean(
                    [top1_std(r, e, f) for r, e, f in zip(self.runs, every, firsts, strict=True)]
                ),
                "fork": median(firsts),
                "forked": float(np.mean([r.counts.any(axis=0).sum() > 1 for r in self.runs])),
            }
        )

    def sentences(self) -> list[str]:
        """Each finding in plain words."""
        kind = "fingerprint" if self.across == FINGERPRINT else self.across
        noun = "choice" if any(r.choice for r in self.runs) else "request"
        found = [findings.within(self._named(name), row, noun, kind) for name, row in self.within.iterrows()]
        for _, row in self.between.iterrows():
            pair = f"{self._named(row['a'])} and {self._named(row['b'])}"
            found.append(findings.between(pair, row, noun))
        drawn = int(self.requests.groupby(["request", "choice"])["random"].any().sum())
        found += [findings.drawn(drawn, len(self.runs), noun)] if drawn else []
        if self.across == FINGERPRINT:
            found += [
                findings.untold(str(s)) for s in self.systems if not self.store.fingerprint(str(s)).known
            ]
        return found

    def _named(self, name: Any) -> str:
        return str(name) if self.across == FINGERPRINT else f"{self.across} {name}"

    def _number(self, name: Any) -> int:
        names = [str(s) for s in self.systems]
        if str(name) not in names:
            raise KeyError(f"{self.across} {name!r} is not in these results: {', '.join(names)}")
        return names.index(str(name))

    def plot(self) -> Figure:
        """Agreement between systems, survival of pairs, drift by step, margins at forks (see `plots.determinism`)."""
        names = [str(s) for s in self.systems]
        curves = {"runs of one system": self.survival()}
        for a, b in list(combinations(self.systems, 2))[: len(plots.PALETTE) - 1]:
            curves[f"{a} and {b}"] = self.survival(a, b)
        return plots.determinism(
            self.matrix().to_numpy(), names, curves, self.drift(), self.forks["margin_a"]
        )

    def frame(self) -> pd.DataFrame:
        """`requests`, as a copy."""
        return self.requests.copy()

    def __repr__(self) -> str:
        return "\n".join(self.sentences())

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{html.escape(s)}</li>" for s in self.sentences())
        shown = self.within.reset_index()[
            [n for n in (self.across, *_COLUMNS) if n in (self.across, *self.within)]
        ]
        agreed = report.wide(report.table(report.short(shown)))
        parts = [f"<ul>{said}</ul>", report.wide(self._heat()), agreed]
        if len(self.forks):
            alone = [] if self.forks["choice"].any() else ["choice"]
            shown = self.forks.head(_SHOWN).drop(columns=["request", *alone])
            shown.insert(0, "prompt", [self._asked(r.request) for _, r, *_ in self._parting[:_SHOWN]])
            shown = shown.map(lambda value: report.cut(value, _LONG) if isinstance(value, str) else value)
            rest = len(self.forks) - len(shown)
            parts += [
                "<p>forks (step: tokens from 0; margin and drift: nats)</p>",
                # Prompts may break anywhere, so that a narrow page would leave them one letter wide.
                report.wide(f'<div style="min-width:72em">{report.table(report.short(shown))}</div>'),
                f"<p>… and {rest:,} more forks</p>" if rest else "",
            ]
        return '<div style="overflow-wrap:anywhere">' + "".join(parts) + "</div>"

    def _heat(self) -> str:
        """The matrix of several systems as HTML: the more of two runs agree, the darker."""
        if len(self.systems) < 2:
            return ""
        found: Any = self.agreements.itertuples(index=False)
        size = range(len(self.systems))
        cells = dict(zip(((a, b) for a in size for b in size if a <= b), found, strict=True))
        names = [html.escape(report.cut(str(name), _LONG)) for name in self.systems]
        rows = (
            f"<tr><th>{names[a]}</th>{''.join(_shaded(cells[min(a, b), max(a, b)], a == b) for b in size)}</tr>"
            for a in size
        )
        head = "".join(f"<th>{name}</th>" for name in names)
        what = (
            "how often two runs of a request agree, and how many requests fork; on the diagonal in one system"
        )
        return f"<table><caption>{what}</caption><tr><th></th>{head}</tr>{''.join(rows)}</table>"


def _shaded(cell: Any, alone: bool) -> str:
    """A cell of the matrix: the share, and of how many requests."""
    none = "single runs" if alone else "none asked of both"
    whole = f"{100 * cell.agreement:.1f} %"
    # What is not all does not round up to it.
    share = "> 99.9 %" if cell.agreement < 1 and whole == "100.0 %" else whole
    count = f"{cell.forked} of {cell.requests} fork" if cell.requests else none
    depth = 0.5 * (cell.agreement if cell.requests else 0)
    box = "text-align:right;white-space:nowrap;padding:3px 8px;border:1px solid rgba(128,128,128,.4)"
    style = f"{box};background:rgba(0,114,178,{depth:.2f})"
    return f'<td style="{style}"><b>{share if cell.requests else "–"}</b><br>{count}</td>'


_COLUMNS = (
    "requests", "runs", "same", "agreement", "unique", "differ", "bound", "fork", "drift", "bitwise", "near_ties",
    "accuracy", "spread", "same_answer",
)  # fmt: skip


_BETWEEN = [
    "a", "b", "requests", "forked", "share_forked", "low", "high", "bound", "agreement", "effect", "p", "first_fork",
    "fork_median", "margin", "drift", "bitwise", "near_ties", "k1", "k2", "k3", "differ",
]  # fmt: skip
_SURVIVAL = ["at_risk", "forked", "survival", "low", "high"]


def _summary(part: pd.DataFrame) -> dict[str, Any]:
    """Requests of one setting and system, taken together."""
    several = part[part["runs"] > 1]
    same, repeated, runs = int(several["same"].sum()), len(several), int(part["runs"].sum())
    low, high = interval(same, repeated)
    a_low, a_high = interval_of_mean(part["agreement"])
    found: dict[str, Any] = {
        "requests": len(part),
        "repeated": repeated,
        "runs": runs,
        "same": same / repeated if repeated else np.nan,
        "same_low": float(low),
        "same_high": float(high),
        "agreement": mean(part["agreement"]),
        "agreement_low": a_low,
        "agreement_high": a_high,
        "unique": int(part["unique"].max()),
        "differ": int(part["differ"].sum()),
        "bound": bound(int(part["differ"].sum()), runs - len(part)),
        "fork": part["fork"].min(),
        "fork_median": part["fork"].median(),
        "drift": part["drift"].max(),
        "bitwise": part["bitwise"].mean(),
        "near_ties": part["near_ties"].mean(),
        "tokens_std": part["tokens_std"].mean(),
        "top1_std": part["top1_std"].mean(),
    }
    if "accuracy" in part:
        best, worst = (part[n].mean() if repeated else np.nan for n in ("any_right", "all_right"))
        found |= {"accuracy": part["accuracy"].mean(), "best": best, "worst": worst, "spread": best - worst}
    if "same_answer" in part:
        found["same_answer"] = mean(several["same_answer"])
    return found


def _spread(column: Doubles) -> tuple[int, float, float, float]:
    if not len(column):
        return 0, np.nan, np.nan, np.nan
    return len(column), float(np.median(column)), float(np.quantile(column, 0.95)), float(column.max())
