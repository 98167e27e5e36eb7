"""The tables of a determinism report: columns, the summary of a system, curves by step, fingerprint differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from toolkit.analysis.determinism.repeats import Repeats, tokens_std, top1_std
from toolkit.analysis.determinism.statistics import (
    Doubles,
    bound,
    interval,
    interval_of_mean,
    mean,
    median,
    std,
    survival,
)
from toolkit.core.fingerprint import Fingerprint

if TYPE_CHECKING:
    import pandas as pd


SYSTEM_COLUMNS = (
    "requests", "runs", "same", "agreement", "unique", "differ", "bound", "fork", "drift", "bitwise", "near_ties",
    "accuracy", "spread", "same_answer",
)  # fmt: skip
PAIR_COLUMNS = [
    "a", "b", "requests", "forked", "share_forked", "low", "high", "bound", "agreement", "effect", "p", "first_fork",
    "fork_median", "margin", "drift", "bitwise", "near_ties", "k1", "k2", "k3", "differ",
]  # fmt: skip
SURVIVAL_COLUMNS = ["at_risk", "forked", "survival", "low", "high"]


def system_summary(rows: pd.DataFrame) -> dict[str, Any]:
    """The statistics of all requests of one setting and system."""
    repeated_rows = rows[rows["runs"] > 1]
    same, repeated, runs = int(repeated_rows["same"].sum()), len(repeated_rows), int(rows["runs"].sum())
    low, high = interval(same, repeated)
    a_low, a_high = interval_of_mean(rows["agreement"])
    summary: dict[str, Any] = {
        "requests": len(rows),
        "repeated": repeated,
        "runs": runs,
        "same": same / repeated if repeated else np.nan,
        "same_low": float(low),
        "same_high": float(high),
        "agreement": mean(rows["agreement"]),
        "agreement_low": a_low,
        "agreement_high": a_high,
        "unique": int(rows["unique"].max()),
        "differ": int(rows["differ"].sum()),
        "bound": bound(int(rows["differ"].sum()), runs - len(rows)),
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


def component_table(names: list[str], records: Sequence[Fingerprint]) -> pd.DataFrame:
    """A row for each fingerprint, a column for each component in which any two of them differ."""
    import pandas as pd

    differences = [records[0].diff(record) for record in records]
    # Components without a difference have the value of the first fingerprint.
    first = {name: pair[0] for difference in differences for name, pair in difference.items()}
    rows = [{**first, **{name: pair[1] for name, pair in difference.items()}} for difference in differences]
    return pd.DataFrame(rows, index=names, columns=list(first), dtype=object)


def survival_table(runs: Sequence[Repeats], system_pairs: Sequence[tuple[int, int]]) -> pd.DataFrame:
    """See `Determinism.survival`. system_pairs: indices of two systems each."""
    import pandas as pd

    with_ids = [r for r in runs if r.ids.size]
    # (2, T) for each request: the sum over pairs of systems, which answer the same request.
    counts = [np.sum([r.pairs(*pair) for pair in system_pairs], axis=0) for r in with_ids]
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
