"""The requests whose commonest outputs differ, with the two answers of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.validation import position
from toolkit.analysis.determinism.repeats import FINGERPRINT, Repeats
from toolkit.analysis.fork import Fork, fork
from toolkit.prompts.messages import plain_text
from toolkit.store.store import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class ForkTable:
    """A row for each request whose outputs fork, on two systems or within one."""

    table: pd.DataFrame
    store: Store
    runs: tuple[Repeats, ...]
    systems: tuple[Any, ...]
    by: tuple[str, ...]
    setting: Callable[[Repeats, int, int], str]
    """Of a request on two systems (indices), in words."""

    @cached_property
    def frame(self) -> pd.DataFrame:
        """See `Determinism.forks`."""
        import pandas as pd

        columns = [
            "request", "choice", "setting", "a", "b", "step", "token_a", "token_b", "margin_a", "margin_b", "drift",
            "runs_a", "runs_b",
        ]  # fmt: skip
        rows = [self._row(r, a, b, i, j) for _, r, a, b, i, j in self.pairs]
        return pd.DataFrame(rows, columns=columns)

    @cached_property
    def pairs(self) -> list[tuple[int, Repeats, int, int, int, int]]:
        """(index of the request, its runs, two systems, a run of each) for each row."""
        pairs = []
        for number, r in enumerate(self.runs):
            present = np.flatnonzero(r.counts.any(axis=1)).tolist()
            for a in present:
                if (r.counts[a] > 0).sum() > 1:
                    second = np.argsort(-r.counts[a], kind="stable")[1]
                    other = np.flatnonzero((r.system == a) & (r.output == second))[0]
                    pairs.append((number, r, a, a, int(r.modes[a]), int(other)))
            for a, b in combinations(present, 2):
                i, j = int(r.modes[a]), int(r.modes[b])
                if r.output[i] != r.output[j]:
                    pairs.append((number, r, a, b, i, j))
        return pairs

    def first(self, number: int, label: Callable[[Any], str], has_several_settings: bool) -> pd.DataFrame:
        """The first rows as they are displayed: with prompts and labels of systems, and without the columns that
        identify nothing: the only choice, setting or system."""
        frame = self.frame
        unused = ["request", *([] if frame["choice"].any() else ["choice"])]
        unused += [] if has_several_settings else ["setting"]
        unused += ["a", "b"] if len(self.systems) == 1 else []
        rows = frame.head(number)
        prompts = [self.prompt(r.request) for _, r, *_ in self.pairs[:number]]
        systems = {side: rows[side].map(label) for side in "ab"}
        return rows.assign(prompt=prompts, **systems)[["prompt", *rows.columns]].drop(columns=unused)

    def _row(self, r: Repeats, a: int, b: int, i: int, j: int) -> dict[str, Any]:
        step = float(r.fork[r.output[i], r.output[j]])
        compared = r.compared([i], [j])
        return {
            "request": r.request,
            "choice": r.choice,
            "setting": self.setting(r, a, b),
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

    def _token(self, r: Repeats, run: int, step: float) -> str | None:
        """The text of a run's token at a step, or its ID if the vocabulary is not stored."""
        if np.isnan(step) or step >= r.length[run]:
            return None
        token = int(r.ids[run, int(step)])
        try:
            vocabulary = self.store.vocabulary(str(self.table.at[r.rows[run], FINGERPRINT]))
            return vocabulary[token].decode("utf-8", "replace")
        except LookupError:
            return f"token {token}"

    def texts(self, row: int) -> tuple[str, str]:
        """The two answers of a row as texts. Raises IndexError past the end."""
        _, r, _, _, i, j = self.pairs[position("row", row, len(self.pairs))]
        first, second = (str(self.table.at[r.rows[run], "text"]) for run in (i, j))
        return first, second

    def rows_between(self, system_pair: Sequence[int]) -> pd.DataFrame:
        """The rows of two systems, given their indices (see `Determinism.forked`)."""
        rows = [i for i, (_, _, *systems, _, _) in enumerate(self.pairs) if systems == list(system_pair)]
        runs = [self.pairs[i][1] for i in rows]
        labels = self.table.iloc[[self.pairs[i][1].rows[self.pairs[i][4]] for i in rows]]
        frame = self.frame.iloc[rows].assign(prompt=[self.prompt(r.request) for r in runs])
        for side, system in zip("ab", system_pair, strict=True):
            frame[f"all_{side}"] = [int(r.counts[system].sum()) for r in runs]
        label_columns = [name for name in self.by if name not in frame]  # the column prompt has it in full
        return frame.join(labels[label_columns].set_axis(frame.index))

    def prompt(self, key: str) -> str:
        """The text of a request's last message, or its prompt."""
        request = self.store.request(key)
        if request.messages is not None:
            return plain_text(request.messages[-1])
        return request.prompt if isinstance(request.prompt, str) else f"{len(request.prompt or ())} token ids"

    def fork(self, row: int) -> Fork:
        """See `Determinism.fork`."""
        _, r, _, _, i, j = self.pairs[position("row", row, len(self.pairs))]
        if not r.ids.size:
            raise ValueError("these answers have no token ids that can be compared: read their texts")
        records = [self.table.iloc[r.rows[run]] for run in (i, j)]
        a, b = (
            self.store.completion(record["request"], record[FINGERPRINT], int(record["repeat"])).choice(
                r.choice
            )
            for record in records
        )
        return fork(a, b)
