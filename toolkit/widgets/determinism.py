"""DeterminismView: how far systems agree, as a matrix; behind each cell the prompts that fork there, and behind each
of these both answers, side by side at the fork."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit import report
from toolkit.choice import Choice
from toolkit.determinism import FINGERPRINT, Determinism
from toolkit.fork import Fork
from toolkit.report import is_missing
from toolkit.widgets.view import View, assets, escaped, said, visible

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 10
"""Forks of a page, and forks that the static form tells in full."""
_PIECES = 1000
"""Pieces of an answer that are sent at a time."""
_NAME, _PROMPT, _TOKEN = 80, 400, 60
"""Characters of a system's name, of a prompt in a list, and of a token."""
_STEPS = 20
"""Steps of a survival curve that the static form tells."""
_ALIGNED = 3000
"""Tokens up to which what is the same again after a fork is looked for: it takes their square."""


class DeterminismView(View):
    """The agreement of every two systems as a matrix. A cell opens the prompts that fork there, in what the systems
    differ, and the share of pairs that are still equal after each token; a prompt opens both answers, aligned at the
    fork, with both lists of likely tokens.

    >>> DeterminismView(results.determinism())  # doctest: +SKIP
    """

    _esm, _css = assets("strip", "determinism")

    def __init__(self, determinism: Determinism) -> None:
        self.determinism = determinism
        size = len(determinism.systems)
        told = determinism.told_apart()
        super().__init__(
            {
                "across": visible(determinism.across, _NAME),
                "systems": [visible(str(name), _NAME) for name in determinism.systems],
                "told": [
                    [f"{name} {_short(value)}" for name, value in row.items()]
                    for row in told.to_dict("records")
                ]
                or [[]] * size,
                "sentences": [visible(sentence) for sentence in determinism.sentences()],
                "cells": determinism.agreements[["agreement", "requests", "forked"]].to_numpy().tolist(),
                "opened": self.do_cell(*self._first()),
            }
        )

    def _first(self) -> tuple[int, int]:
        """The cell to begin with: the two systems that agree least, or the only one."""
        pairs = np.array(np.triu_indices(len(self.determinism.systems))).T
        agreement = self.determinism.agreements["agreement"].to_numpy(np.float64)
        apart = np.where(pairs[:, 0] == pairs[:, 1], 2.0, np.nan_to_num(agreement, nan=1.5))
        return tuple(pairs[int(apart.argmin())].tolist())

    def do_cell(self, a: int, b: int) -> dict[str, Any]:
        """Of two systems, by their numbers: in what they differ, the survival of pairs of their runs as [step, share,
        low, high], the first forks."""
        names = self.determinism.systems
        survival = self.determinism.survival(names[a], names[b]).reset_index()
        difference = self.determinism.difference
        found: dict[str, Any] = {"a": a, "b": b, "words": "", "components": []}
        if a != b and difference is not None:
            found["words"] = visible(difference(names[a], names[b]))
        if a != b and self.determinism.across == FINGERPRINT:
            here, there = (self.determinism.store.fingerprint(str(names[i])) for i in (a, b))
            found["components"] = [
                [visible(part, _PROMPT) for part in row] for row in here.diff(there).told()
            ]
        found["survival"] = survival[["step", "survival", "low", "high"]].to_numpy().tolist()
        return {**found, **self.do_forks(a, b)}

    def do_forks(self, a: int, b: int, page: int = 0) -> dict[str, Any]:
        """One page of the forks of a cell."""
        names = self.determinism.systems
        every = self.determinism.forked(names[a], names[b])
        settings = [name for name in self.determinism.by if name in every and every[name].nunique() > 1]
        shown = every.iloc[page * _ROWS : (page + 1) * _ROWS]
        rows = [
            _listed(number, row, settings)
            for number, row in zip(shown.index, shown.to_dict("records"), strict=True)
        ]
        return {"forks": rows, "total": len(every), "page": page, "size": _ROWS}

    def do_fork(self, row: int) -> dict[str, Any]:
        """Both answers of a row of `Determinism.forks`: their pieces, and the tokens that each had to choose from."""
        try:
            fork = self.determinism.fork(row)
        except ValueError as error:
            return {
                "why": visible(str(error)),
                "texts": [visible(text) for text in self.determinism.texts(row)],
            }
        after = _same_after(fork)
        sides = [_pieces(one, fork.shared, same) for one, same in zip((fork.a, fork.b), after, strict=True)]
        return {
            "at": fork.at,
            "shared": sides[0][0][:_PIECES],
            "after": [pieces[:_PIECES] for _, pieces in sides],
            "totals": [len(sides[0][0]), *(len(pieces) for _, pieces in sides)],
            "margins": fork.margins,
            "drift": fork.largest_drift,
            "near_ties": fork.near_ties,
            "listed": [0 if one.top_ids is None else one.top_ids.shape[1] for one in (fork.a, fork.b)],
            "candidates": [
                {
                    "text": _token(one["text"]),
                    "logprobs": [one["logprob_a"], one["logprob_b"]],
                    "taken": one["taken"],
                }
                for one in fork.candidates().to_dict("records")
            ],
        }

    def do_pieces(self, row: int, side: int, first: int) -> list[dict[str, Any]]:
        """More of what is shared (side 0), or of what follows in a (1) or b (2)."""
        fork = self.determinism.fork(row)
        after = _same_after(fork)
        part, whose = (0, 0) if side == 0 else (1, side - 1)
        pieces = _pieces((fork.a, fork.b)[whose], fork.shared, after[whose])[part]
        return pieces[first : first + _PIECES]

    def html(self) -> str:
        # What this calls visible is markup too, of which nothing is spelt.
        page = self.determinism._repr_html_()
        told = "".join(self._told(row) for row in range(min(_ROWS, len(self.determinism.forks))))
        return f'<div style="overflow-wrap:anywhere">{visible(page, len(page))}{self._opened()}{told}</div>'

    def _opened(self) -> str:
        """The cell to begin with: in what the two differ, and how long pairs of their runs stay equal."""
        import pandas as pd

        cell, columns = self.content["opened"], ["component", "what it is", "here", "there"]
        parts = pd.DataFrame(cell["components"], columns=columns)
        curve = self._survival()
        lasting = f"<p>{_LASTING}</p>{report.table(report.short(curve))}" if len(curve) else ""
        words = f"<p>{escaped(cell['words'])}</p>" if cell["words"] else ""
        return (
            f"<p><b>{escaped(self._first_pair())}</b></p>{words}"
            f"{report.table(parts) if len(parts) else ''}{lasting}"
        )

    def _first_pair(self) -> str:
        return _pair(*(str(self.determinism.systems[self.content["opened"][side]]) for side in "ab"))

    def _survival(self) -> pd.DataFrame:
        """The survival curve of the cell to begin with: its first step, those at which it falls, its last."""
        import pandas as pd

        points = self.content["opened"]["survival"]
        ends = (0, len(points) - 1)
        kept = [p for i, p in enumerate(points) if i in ends or p[1] < points[i - 1][1]]
        kept = kept if len(kept) <= _STEPS else [*kept[: _STEPS - 1], kept[-1]]
        found = pd.DataFrame(kept, columns=["tokens", "still equal", "low", "high"], dtype=np.float64)
        return found.astype({"tokens": int})

    def _told(self, row: int) -> str:
        """A fork in full: both answers from where they part, and what each had to choose from."""
        it = self.determinism.forks.loc[row]
        prompt = self.determinism.forked(it["a"], it["b"]).at[row, "prompt"]
        pair = _pair(*(visible(str(it[side]), _NAME) for side in "ab"))
        head = f"<summary>{escaped(pair)}: {escaped(prompt, _PROMPT)}</summary>"
        try:
            page = self.determinism.fork(row)._repr_html_()
            shown = visible(page, len(page))
        except ValueError:
            shown = "<hr>".join(map(said, self.determinism.texts(row)))
        return f"<details>{head}{shown}</details>"

    def text(self) -> str:
        matrix = self.determinism.matrix().round(3)
        forks = self.determinism.forks.drop(columns="request").head(_ROWS)
        shown = [visible(repr(self.determinism)), "agreement", visible(matrix.to_string(na_rep="–"))]
        curve = self._survival().round(3)
        if len(curve):
            shown += [visible(f"{self._first_pair()}: {_LASTING}"), curve.to_string(index=False, na_rep="–")]
        rest = len(self.determinism.forks) - len(forks)
        if len(forks):
            shown += ["forks", visible(forks.to_string()), *([f"… and {rest:,} more"] if rest else [])]
        return "\n".join(shown)


_LASTING = "share of pairs of runs that are still equal after so many tokens, and its 95 % interval"


def _pair(a: str, b: str) -> str:
    return f"within {a}" if a == b else f"{a} and {b}"


def _listed(number: int, row: dict[Any, Any], settings: list[str]) -> dict[str, Any]:
    """A fork in a list."""
    several = [f"choice {row['choice']}"] if row["choice"] else []
    return {
        "row": number,
        "prompt": visible(row["prompt"], _PROMPT),
        "settings": ", ".join([*(f"{name} {_short(row[name])}" for name in settings), *several]),
        "step": row["step"],
        "tokens": [None if is_missing(row[name]) else _token(row[name]) for name in ("token_a", "token_b")],
        "margins": [row["margin_a"], row["margin_b"]],
        "runs": [[row["runs_a"], row["all_a"]], [row["runs_b"], row["all_b"]]],
    }


def _short(value: Any) -> str:
    return visible(f"{value:g}" if isinstance(value, float) else str(value), _TOKEN)


def _token(text: str) -> str:
    """A token on one line."""
    return visible(text, _TOKEN).replace("\n", "⏎").replace("\t", "⇥")


def _same_after(fork: Fork) -> list[set[int]]:
    """The steps of a and of b after the fork whose tokens are in the other answer too, in the same order."""
    same: list[set[int]] = [set(), set()]
    if max(len(one.token_ids) for one in (fork.a, fork.b)) > _ALIGNED:
        return same
    table = fork.alignment()
    for row in table[table["what"] == "equal"].to_dict("records"):
        for side, name in enumerate("ab"):
            same[side] |= set(range(row[f"first_{name}"], row[f"last_{name}"]))
    return same


def _pieces(choice: Choice, shared: int, same: set[int]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The pieces of an answer: those before a fork, and those from it on. A character whose bytes the fork divides is
    after it."""
    known = choice.logprobs
    found = [
        {
            "text": visible(text),
            "step": first,
            "values": {"probability": None if known is None else float(np.exp(known[first:end].sum()))},
            "rank": None if choice.ranks is None or end > first + 1 else int(choice.ranks[first]) or None,
            "same": first >= shared and same.issuperset(range(first, end)),
        }
        for first, end, text in choice.pieces
    ]
    before = sum(end <= shared for _, end, _ in choice.pieces)
    return found[:before], found[before:]
