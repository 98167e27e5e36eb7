"""Determinism: whether the same request gives the same answer again, here and on other systems."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit import plots, report
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
    percent,
    survival,
)
from toolkit.fork import Fork, fork
from toolkit.runs import Runs, gather
from toolkit.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FINGERPRINT = "system_fingerprint"
_SHOWN = 10
"""Forks that a report shows."""


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
        bitwise (share of shared steps whose stored log
        probabilities have the same bits as those of the commonest output), near_ties (share of steps whose margin is
        smaller than the drift), tokens_std, top1_std (of the best token's probability, mean over the steps before the
        first fork); and accuracy, any_right, all_right, same_answer where answers are scored or parsed."""
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
            **_numbers(r, own, mode),
            "tokens_std": _tokens_std(r.length[own]),
            "top1_std": _top1_std(r, own, first),
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
            "agreement": _mean([agreement_between(r.counts[a], r.counts[b]) for r in both]),
            "effect": seen,
            "p": p,
            "first_fork": known.min() if len(known) else np.nan,
            "fork_median": np.median(known) if len(known) else np.nan,
            "margin": _median(margins),
            **_across(both, a, b),
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

    def fork(self, row: int) -> Fork:
        """The two answers of a row of `forks`, token by token. Raises IndexError past the end, ValueError where the
        texts were compared since the token ids are not known, or not of one tokenizer."""
        _, r, _, _, i, j = self._parting[row]
        if not r.ids.size:
            raise ValueError("these answers have no token ids that can be compared: read their texts")
        found = [self.table.iloc[r.rows[run]] for run in (i, j)]
        a, b = (
            self.store.completion(one["request"], one[FINGERPRINT], int(one["repeat"])).choices[r.choice]
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

        return _mean([one(r) for r in self.runs])

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
                "std_accuracy": _std(accuracy),
                "std_tokens": _mean([_tokens_std(r.length) for r in self.runs]),
                "std_top1": _mean(
                    [_top1_std(r, e, f) for r, e, f in zip(self.runs, every, firsts, strict=True)]
                ),
                "fork": _median(firsts),
                "forked": float(np.mean([r.counts.any(axis=0).sum() > 1 for r in self.runs])),
            }
        )

    def sentences(self) -> list[str]:
        """Each finding in plain words."""
        found = [self._said_of(name, row) for name, row in self.within.iterrows()]
        found += [self._said_between(row) for _, row in self.between.iterrows()]
        drawn = int(self.requests.groupby(["request", "choice"])["random"].any().sum())
        if drawn:
            found.append(
                f"Sampled without a seed, so that runs differ by design: {drawn} of {self._many(len(self.runs))}. "
                "Give a seed, or temperature 0, to see what the system does."
            )
        return found

    @property
    def _noun(self) -> str:
        """What is counted: choices where requests have several."""
        return "choice" if any(r.choice for r in self.runs) else "request"

    def _many(self, number: int) -> str:
        return f"{number} {self._noun}" + ("" if number == 1 else "s")

    def _named(self, name: Any) -> str:
        return str(name) if self.across == FINGERPRINT else f"{self.across} {name}"

    def _said_of(self, name: Any, row: pd.Series[Any]) -> str:
        who, every, repeated = self._named(name), int(row["requests"]), int(row["repeated"])
        if not repeated:
            one = self._many(every)
            return f"{who}: one run of each of {one}, so that nothing is known of repeats: ask with repeats=."
        asked = self._many(repeated) + ("" if repeated == every else f" with several runs (of {every})")
        n = int(row["runs"]) - (every - repeated)
        if not row["differ"]:
            return (
                f"{who}: {asked}, {n} runs, none differs from the others of its {self._noun}{_bits(row)}. At 95 % "
                f"confidence less than {percent(row['bound'])} of such runs do (3/N)."
            )
        kind = "fingerprint" if self.across == FINGERPRINT else self.across
        where = "" if np.isnan(row["fork"]) else f", first at token {int(row['fork'])}"
        different = round(repeated * (1 - row["same"]))
        return (
            f"{who}: {different} of {asked} gave different outputs over {n} runs, up to {int(row['unique'])} of one "
            f"{self._noun}{where}. An equal {kind} does not prove equal output."
        )

    def _said_between(self, row: pd.Series[Any]) -> str:
        pair = f"{self._named(row['a'])} and {self._named(row['b'])}"
        head = f"{pair}: {row['differ']}" if row["differ"] else pair
        asked = int(row["requests"])
        if not asked:
            return f"{head}. No {self._noun} was asked of both."
        drift = _drifted(row, "; ")
        chance = "" if np.isnan(row["p"]) else f"; p = {row['p']:.2g} that runs of one system differ as much"
        if not row["forked"]:
            return (
                f"{head}. None of {self._many(asked)} forks: the commonest outputs are the same{drift}{chance}. At "
                f"95 % confidence less than {percent(row['bound'])} of such {self._noun}s fork (3/N)."
            )
        first = "" if np.isnan(row["first_fork"]) else f", first at token {int(row['first_fork'])}"
        margin = "" if np.isnan(row["margin"]) else f"; median margin there {row['margin']:.2g} nats"
        fork = "forks" if row["forked"] == 1 else "fork"
        return f"{head}. {row['forked']} of {self._many(asked)} {fork}{first}{margin}{drift}{chance}."

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
        parts = [f"<ul>{said}</ul>", report.table(report.short(shown))]
        if len(self.forks):
            parts += [
                "<p>forks</p>",
                report.table(report.short(self.forks.drop(columns="request")), rows=_SHOWN),
            ]
        return "<div>" + "".join(parts) + "</div>"


_COLUMNS = (
    "requests", "runs", "same", "agreement", "unique", "differ", "bound", "fork", "drift", "bitwise", "near_ties",
    "accuracy", "spread", "same_answer",
)  # fmt: skip


_BETWEEN = [
    "a", "b", "requests", "forked", "share_forked", "low", "high", "bound", "agreement", "effect", "p", "first_fork",
    "fork_median", "margin", "drift", "bitwise", "near_ties", "k1", "k2", "k3", "differ",
]  # fmt: skip
_SURVIVAL = ["at_risk", "forked", "survival", "low", "high"]


def _numbers(r: Runs, own: Any, mode: int) -> dict[str, float]:
    """Of a system's runs beside its commonest output."""
    others = own[own != mode]
    found = r.compared(others, np.full(len(others), mode)) if len(others) else None
    if found is None or not found.within.any():
        return dict.fromkeys(("drift", "ulps", "bitwise", "near_ties"), float("nan"))
    return {
        "drift": found.largest_drift,
        "ulps": float(found.ulps.max()),
        "bitwise": float(found.same.sum() / found.within.sum()),
        "near_ties": _near(found.margin, found.largest_drift),
    }


def _across(both: list[Runs], a: int, b: int) -> dict[str, float]:
    """Of the commonest outputs of two systems, over all requests."""
    found = [c for r in both if (c := r.compared([r.modes[a]], [r.modes[b]])) is not None]
    drift = np.concatenate([c.drift.ravel() for c in found]) if found else np.zeros(0)
    margin = np.concatenate([c.margin.ravel() for c in found]) if found else np.zeros(0)
    log_r = drift[~np.isnan(drift)]
    largest = float(np.abs(log_r).max()) if len(log_r) else float("nan")
    steps = sum(int(c.within.sum()) for c in found)
    return {
        "drift": largest,
        "bitwise": sum(int(c.same.sum()) for c in found) / steps if steps else np.nan,
        "near_ties": _near(margin, largest),
        "k1": _mean(-log_r),
        "k2": _mean(log_r**2 / 2),
        "k3": _mean(np.expm1(log_r) - log_r),
    }


def _near(margin: Doubles, drift: float) -> float:
    known = margin[~np.isnan(margin)]
    return float((known < drift).mean()) if len(known) and not np.isnan(drift) else float("nan")


def _top1_std(r: Runs, own: Any, first: float) -> float:
    """Mean over the steps before the first fork of the standard deviation, over runs, of the best token's
    probability."""
    if r.top_logprobs is None or not r.top_logprobs.shape[2] or len(own) < 2:
        return float("nan")
    end = int(r.length[own].min() if np.isnan(first) else first)
    best = np.exp(r.top_logprobs[own, :end, 0].astype(np.float64))
    # Without what is not known: a prefix that was given may have no log probabilities.
    return _mean(best.std(axis=0, ddof=1))


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
        "agreement": _mean(part["agreement"]),
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
        found["same_answer"] = _mean(several["same_answer"])
    return found


def _bits(row: pd.Series[Any]) -> str:
    if row["bitwise"] == 1:
        return ", and all stored log probabilities have the same bits"
    return _drifted(row, ", though ")


def _drifted(row: pd.Series[Any], head: str) -> str:
    """How far log probabilities lie apart; nothing where they are not known."""
    if np.isnan(row["drift"]):
        return ""
    if row["drift"]:
        return f"{head}log probabilities differ by up to {row['drift']:.2g} nats"
    return "" if row["bitwise"] == 1 else f"{head}log probabilities of other tokens are not all the same"


def _mean(values: Any) -> float:
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else float("nan")


def _median(values: Any) -> float:
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    return float(np.median(known)) if len(known) else float("nan")


def _tokens_std(length: Any) -> float:
    """NaN also where no answer's length is known."""
    return _std(length) if length.any() else float("nan")


def _std(values: Any) -> float:
    """Sample standard deviation; NaN of fewer than two."""
    known = np.asarray(values, np.float64)
    return float(known.std(ddof=1)) if len(known) > 1 else float("nan")


def _spread(column: Doubles) -> tuple[int, float, float, float]:
    if not len(column):
        return 0, np.nan, np.nan, np.nan
    return len(column), float(np.median(column)), float(np.quantile(column, 0.95)), float(column.max())
