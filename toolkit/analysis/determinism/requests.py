"""The table of a determinism report with a row for each request and system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.analysis.determinism.repeats import Repeats, compare_with_mode, tokens_std, top1_std
from toolkit.analysis.determinism.settings import UNSEEDED, sampling_of, setting_labels
from toolkit.analysis.determinism.statistics import agreement, bound_of_repeats, differing_share, effective

if TYPE_CHECKING:
    import pandas as pd


def requests_table(
    table: pd.DataFrame, runs: Sequence[Repeats], systems: Sequence[Any], by: Sequence[str], across: str
) -> pd.DataFrame:
    """See `Determinism.requests`."""
    import pandas as pd

    pairs = [(r, s) for r in runs for s in np.flatnonzero(r.counts.any(axis=1)).tolist()]
    firsts = table.iloc[[r.rows[r.modes[s]] for r, s in pairs]]
    kinds = sampling_of(firsts)
    labels = firsts[list(by)].to_dict("records")
    words = zip(setting_labels(firsts, by, kinds), kinds, strict=True)
    scores = _scores(table)
    rows = [
        {
            **columns,
            across: systems[s],
            "request": r.request,
            "choice": r.choice,
            "setting": setting,
            "sampling": sampling,
            "random": sampling == UNSEEDED,
            **_repeats_row(r, s),
            **scores(r.rows[r.system == s]),
        }
        for (r, s), columns, (setting, sampling) in zip(pairs, labels, words, strict=True)
    ]
    return pd.DataFrame(rows)


def _repeats_row(r: Repeats, s: int) -> dict[str, Any]:
    """The numbers of the runs of a request on one system (its index)."""
    counts, runs = r.counts[s], np.flatnonzero(r.system == s)
    n, most = int(counts.sum()), int(counts.max())
    mode, first = int(r.modes[s]), r.first_fork(s)
    return {
        "runs": n,
        "unique": int((counts > 0).sum()),
        "modal_share": most / n,
        "agreement": agreement(counts),
        "effective": effective(counts),
        "same": most == n,
        "differ": n - most,
        "bound": bound_of_repeats(n - most, n),
        "differing_share": differing_share(counts),
        "fork": first,
        "margin": r.margin(mode, first),
        **compare_with_mode(r, runs, mode),
        "tokens_std": tokens_std(r.length[runs]),
        "top1_std": top1_std(r, runs, first),
    }


def _scores(table: pd.DataFrame) -> Callable[[Any], dict[str, Any]]:
    """A function from positions of rows to the numbers of their scores and parsed answers."""
    correct = table["correct"].to_numpy(np.float64) if "correct" in table else None
    answers = table["answer"].to_numpy(object) if "answer" in table else None
    is_known = table["answer"].notna().to_numpy() if "answer" in table else None

    def of_rows(rows: Any) -> dict[str, Any]:
        scores = dict[str, Any]()
        if correct is not None:
            values = correct[rows]
            scores |= {"accuracy": values.mean(), "any_right": values.max(), "all_right": values.min()}
        if answers is not None and is_known is not None:
            parsed = answers[rows]
            scores["same_answer"] = bool(is_known[rows].all()) and all(one == parsed[0] for one in parsed)
        return scores

    return of_rows
