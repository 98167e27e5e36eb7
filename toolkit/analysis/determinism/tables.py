"""The tables of a determinism report: columns, the summary of a system, curves by step, fingerprint differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from toolkit.analysis.determinism.repeats import Repeats, compare_modes, tokens_std, top1_std
from toolkit.analysis.determinism.statistics import (
    Doubles,
    agreement_between,
    bound,
    bound_of_mean,
    effect,
    exact_interval,
    interval_of_mean,
    mean,
    median,
    std,
    survival,
)
from toolkit.core.fingerprint import Fingerprint

if TYPE_CHECKING:
    import pandas as pd


PAIR_COLUMNS = [
    "a", "b", "requests", "forked", "share_forked", "low", "high", "bound", "agreement", "effect", "p", "first_fork",
    "fork_median", "margin", "drift", "bitwise", "near_ties", "k1", "k2", "k3", "differ",
]  # fmt: skip
SURVIVAL_COLUMNS = ["at_risk", "forked", "survival", "low", "high"]


def system_summary(rows: pd.DataFrame) -> dict[str, Any]:
    """The statistics of all requests (rows of `Determinism.requests`) of one setting and system."""
    repeated_rows = rows[rows["runs"] > 1]
    same, repeated, runs = int(repeated_rows["same"].sum()), len(repeated_rows), int(rows["runs"].sum())
    low, high = exact_interval(same, repeated)
    a_low, a_high = interval_of_mean(rows["agreement"])
    summary: dict[str, Any] = {
        "requests": len(rows),
        "repeated": repeated,
        "runs": runs,
        "same": same / repeated if repeated else np.nan,
        "same_low": low,
        "same_high": high,
        "agreement": mean(rows["agreement"]),
        "agreement_low": a_low,
        "agreement_high": a_high,
        "unique": int(rows["unique"].max()),
        "differ": int(rows["differ"].sum()),
        "bound": _bound_of_runs(repeated_rows),
        "bound_requests": bound(repeated - same, repeated),
        "fork": rows["fork"].min(),
        "fork_median": rows["fork"].median(),
        "drift": rows["drift"].max(),
        "bitwise": rows["bitwise"].mean(),
        "near_ties": rows["near_ties"].mean(),
        "tokens_std": rows["tokens_std"].mean(),
        "top1_std": rows["top1_std"].mean(),
    }
    if "accuracy" in rows:
        best, worst = (rows[n].mean() if repeated else np.nan for n in ("any_right", "all_right"))
        summary |= {"accuracy": rows["accuracy"].mean(), "best": best, "worst": worst, "spread": best - worst}
    if "same_answer" in rows:
        summary["same_answer"] = mean(repeated_rows["same_answer"])
    return summary


def _bound_of_runs(repeated_rows: pd.DataFrame) -> float:
    """The bound on the share of such runs that differ: of one request's further runs, or, since the runs of one
    request resemble each other, over requests where there are several."""
    if len(repeated_rows) == 1:
        return float(repeated_rows["bound"].iloc[0])
    return bound_of_mean(repeated_rows["differing_share"])


def pair_row(answered: list[Repeats], a: int, b: int) -> dict[str, Any]:
    """The numbers of two systems (indices) over the requests that both answered. See `Determinism.between`."""
    steps = np.array([_fork_step(r, a, b) for r in answered])
    forked = np.array([r.output[r.modes[a]] != r.output[r.modes[b]] for r in answered], bool)
    effect_size, p = effect([(r.counts[a], r.counts[b]) for r in answered])
    low, high = exact_interval(int(forked.sum()), len(answered))
    fork_steps = steps[~np.isnan(steps)]
    margins = [r.margin(int(r.modes[a]), step) for r, step in zip(answered, steps, strict=True)]
    return {
        "requests": len(answered),
        "forked": int(forked.sum()),
        "share_forked": float(forked.mean()) if answered else np.nan,
        "low": low,
        "high": high,
        "bound": bound(int(forked.sum()), len(answered)),
        "agreement": mean([agreement_between(r.counts[a], r.counts[b]) for r in answered]),
        "effect": effect_size,
        "p": p,
        "first_fork": fork_steps.min() if len(fork_steps) else np.nan,
        "fork_median": np.median(fork_steps) if len(fork_steps) else np.nan,
        "margin": median(margins),
        **compare_modes(answered, a, b),
    }


def _fork_step(r: Repeats, a: int, b: int) -> float:
    """The step at which the commonest outputs of two systems diverge; NaN if they are the same."""
    first, second = r.output[r.modes[a]], r.output[r.modes[b]]
    return float("nan") if first == second else float(r.fork[first, second])


def component_table(names: list[str], records: Sequence[Fingerprint]) -> pd.DataFrame:
    """A row for each fingerprint, a column for each component in which any two of them differ."""
    import pandas as pd

    differences = [records[0].diff(record) for record in records]
    # Components without a difference have the value of the first fingerprint.
    first = {name: pair[0] for difference in differences for name, pair in difference.items()}
    rows = [{**first, **{name: pair[1] for name, pair in difference.items()}} for difference in differences]
    return pd.DataFrame(rows, index=names, columns=list(first), dtype=object)


def survival_table(parts: Iterable[tuple[Repeats, Sequence[tuple[int, int]]]]) -> pd.DataFrame:
    """See `Determinism.survival`. parts: the runs of a request, and the pairs of systems (indices) between whose
    runs."""
    import pandas as pd

    # (2, T) for each request: the sum over pairs of systems, which answer the same request.
    counts = [np.sum([r.pairs(*pair) for pair in pairs], axis=0) for r, pairs in parts if r.ids.size]
    counts = [p for p in counts if p.any()]
    steps = max((p.shape[1] for p in counts), default=0)
    padded = np.array([np.pad(p, ((0, 0), (0, steps - p.shape[1]))) for p in counts])
    curve = survival(padded[:, 0], padded[:, 1]) if counts else {}
    return pd.DataFrame(curve, columns=SURVIVAL_COLUMNS, dtype=np.float64).rename_axis("step")


def drift_table(runs: Sequence[Repeats]) -> pd.DataFrame:
    """See `Determinism.drift`."""
    import pandas as pd

    parts = [drift for r in runs if (drift := _drift(r)) is not None]
    steps = max((p.shape[1] for p in parts), default=0)
    padded = [np.pad(p, ((0, 0), (0, steps - p.shape[1])), constant_values=np.nan) for p in parts]
    drifts = np.concatenate(padded) if padded else np.zeros((0, 0))
    rows = [_drift_summary(column[~np.isnan(column)]) for column in drifts.T]
    return pd.DataFrame(rows, columns=["pairs", "median", "high", "largest"]).rename_axis("step")


def spread_row(runs: Sequence[Repeats], accuracy: ArrayLike) -> pd.Series[Any]:
    """See `Determinism.spread`. accuracy: that of each system."""
    import pandas as pd

    firsts = np.array([r.first_fork() for r in runs])
    all_runs = [np.arange(len(r.rows)) for r in runs]
    return pd.Series(
        {
            "std_accuracy": std(accuracy),
            "std_tokens": mean([tokens_std(r.length) for r in runs]),
            "std_top1": mean([top1_std(r, e, f) for r, e, f in zip(runs, all_runs, firsts, strict=True)]),
            "fork": median(firsts),
            "forked": float(np.mean([r.counts.any(axis=0).sum() > 1 for r in runs])),
        }
    )


def _drift(r: Repeats) -> Doubles | None:
    mode = int(r.modes[r.system.min()])
    others = np.delete(np.arange(len(r.rows)), mode)
    compared = r.compared(others, np.full(len(others), mode)) if len(others) else None
    return None if compared is None else np.abs(compared.drift)


def _drift_summary(column: Doubles) -> tuple[int, float, float, float]:
    """The number of values, their median, 95 % quantile and maximum."""
    if not len(column):
        return 0, np.nan, np.nan, np.nan
    return len(column), float(np.median(column)), float(np.quantile(column, 0.95)), float(column.max())
