"""DeterminismView: the agreement of systems as a matrix; each cell opens the prompts that fork there, and each prompt
opens both answers, side by side at the fork."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.missing import is_missing
from toolkit._internal.text import MISSING
from toolkit.analysis.determinism.html import COLUMNS, summary_table, text_table
from toolkit.analysis.determinism.repeats import FINGERPRINT
from toolkit.analysis.determinism.report import Determinism
from toolkit.analysis.determinism.settings import has_several
from toolkit.analysis.fork import Fork
from toolkit.core.choice import Choice
from toolkit.display.html import html_table, three_digits
from toolkit.display.markup import Markup, joined, markup
from toolkit.widgets.base import View, assets, command, escaped, model_text_html, visible, visible_html

if TYPE_CHECKING:
    import pandas as pd


_ROWS = 10
"""Forks on a page, and forks that the static output shows in full."""
_PIECES = 1000
"""Pieces of an answer that are sent at a time."""
_MAX_NAME, _MAX_PROMPT, _MAX_TOKEN = 80, 400, 60
"""Characters of a system's name, of a prompt in a list, and of a token."""
_SETTING_COLUMNS = ("setting", "requests", "runs", "same", "agreement", "unique", "bound_requests", "bound")
"""Of the table by setting."""
_STEPS = 20
"""Steps of a survival curve in the static output."""
_MAX_ALIGNED = 3000
"""Tokens up to which the texts after a fork are aligned: the time is quadratic."""


class DeterminismView(View):
    """The agreement of every two systems as a matrix. A cell opens the prompts that fork there, how the systems
    differ, and the share of pairs still equal after each token; a prompt opens both answers, aligned at the fork,
    with both lists of likely tokens.

    >>> tk.widgets.DeterminismView(results.determinism())  # doctest: +SKIP
    """

    _esm, _css = assets("colored_tokens", "determinism")

    def __init__(self, determinism: Determinism) -> None:
        self.determinism = determinism
        size = len(determinism.systems)
        differences = determinism.fingerprint_differences()
        super().__init__(
            {
                "across": visible(determinism.across, _MAX_NAME),
                "systems": [self._system(name) for name in determinism.systems],
                "differences": [
                    [f"{name} {_value_text(value)}" for name, value in row.items()]
                    for row in differences.to_dict("records")
                ]
                or [[]] * size,
                "sentences": [visible(sentence) for sentence in determinism.sentences()],
                "settings": _settings(determinism),
                "cells": determinism.agreements[["agreement", "requests", "forked"]].to_numpy().tolist(),
                "opened": self.cell(*self._initial_cell()),
            }
        )

    def _initial_cell(self) -> tuple[int, int]:
        """The cell that is open at first: the two systems that agree least, or the only one."""
        pairs = np.array(np.triu_indices(len(self.determinism.systems))).T
        agreement = self.determinism.agreements["agreement"].to_numpy(np.float64)
        keys = np.where(pairs[:, 0] == pairs[:, 1], 2.0, np.nan_to_num(agreement, nan=1.5))
        return tuple(pairs[int(keys.argmin())].tolist())

    @command
    def cell(self, a: int, b: int) -> dict[str, Any]:
        """For two systems, by index: how they differ, the survival of pairs of their runs as [step, share, low,
        high], and the first page of forks."""
        names = self.determinism.systems
        survival = self.determinism.survival(names[a], names[b]).reset_index()
        difference = self.determinism.difference
        cell: dict[str, Any] = {"a": a, "b": b, "words": "", "components": []}
        if a != b and difference is not None:
            cell["words"] = visible(difference(names[a], names[b]))
        if a != b and self.determinism.across == FINGERPRINT:
            first, second = (self.determinism.store.fingerprint(str(names[i])) for i in (a, b))
            cell["components"] = [
                [visible(part, _MAX_PROMPT) for part in row] for row in first.diff(second).describe_changes()
            ]
        cell["survival"] = survival[["step", "survival", "low", "high"]].to_numpy().tolist()
        return {**cell, **self.forks(a, b)}

    @command
    def forks(self, a: int, b: int, page: int = 0) -> dict[str, Any]:
        """One page of the forks of a cell."""
        names = self.determinism.systems
        forks = self.determinism.forked(names[a], names[b])
        several = has_several(self.determinism.settings)
        on_page = forks.iloc[page * _ROWS : (page + 1) * _ROWS]
        rows = [
            _fork_row(number, row, several)
            for number, row in zip(on_page.index, on_page.to_dict("records"), strict=True)
        ]
        return {"forks": rows, "total": len(forks), "page": page, "size": _ROWS}

    @command
    def fork(self, row: int) -> dict[str, Any]:
        """Both answers of a row of `Determinism.forks`: their pieces, and each one's candidate tokens at the fork."""
        try:
            fork = self.determinism.fork(row)
        except ValueError as error:
            return {
                "why": visible(str(error)),
                "texts": [visible(text) for text in self.determinism.texts(row)],
            }
        equal_steps = _equal_after(fork)
        sides = [
            _pieces(choice, fork.shared, equal)
            for choice, equal in zip((fork.a, fork.b), equal_steps, strict=True)
        ]
        return {
            "at": fork.at,
            "shared": sides[0][0][:_PIECES],
            "after": [pieces[:_PIECES] for _, pieces in sides],
            "totals": [len(sides[0][0]), *(len(pieces) for _, pieces in sides)],
            "margins": fork.margins,
            "drift": fork.largest_drift,
            "near_ties": fork.near_ties,
            "listed": [0 if c.top_ids is None else c.top_ids.shape[1] for c in (fork.a, fork.b)],
            "candidates": [
                {
                    "text": _token(candidate["text"]),
                    "logprobs": [candidate["logprob_a"], candidate["logprob_b"]],
                    "taken": candidate["taken"],
                }
                for candidate in fork.candidates().to_dict("records")
            ],
        }

    @command
    def pieces(self, row: int, side: int, first: int) -> list[dict[str, Any]]:
        """More pieces of the shared part (side 0), or of what follows in a (1) or b (2)."""
        fork = self.determinism.fork(row)
        equal_steps = _equal_after(fork)
        part, index = (0, 0) if side == 0 else (1, side - 1)
        pieces = _pieces((fork.a, fork.b)[index], fork.shared, equal_steps[index])[part]
        return pieces[first : first + _PIECES]

    def html(self) -> Markup:
        page = visible_html(self.determinism._repr_html_())
        forks = [self._fork_html(row) for row in range(min(_ROWS, len(self.determinism.forks)))]
        parts = joined([page, self._cell_html(), *forks])
        return markup('<div style="overflow-wrap:anywhere">{}</div>', parts)

    def _cell_html(self) -> Markup:
        """The initial cell: how the two systems differ, and how long pairs of their runs stay equal."""
        import pandas as pd

        cell, columns = self.content["opened"], ["component", "what it is", "here", "there"]
        parts = pd.DataFrame(cell["components"], columns=columns)
        curve = self._survival()
        title = markup("<p><b>{}</b></p>", escaped(self._cell_title()))
        words = markup("<p>{}</p>", escaped(cell["words"])) if cell["words"] else ""
        table = html_table(parts) if len(parts) else ""
        rows = html_table(three_digits(curve))
        survival = markup("<p>{}</p>{}", _SURVIVAL_CAPTION, rows) if len(curve) else ""
        return joined([title, words, table, survival])

    def _cell_title(self) -> str:
        return _pair_title(*(self.content["systems"][self.content["opened"][side]] for side in "ab"))

    def _system(self, name: Any) -> str:
        """A system; what a single one is, too: of several the differences stand beside the matrix."""
        is_single = len(self.determinism.systems) == 1
        return visible(self.determinism.label(name) if is_single else str(name), _MAX_NAME)

    def _survival(self) -> pd.DataFrame:
        """The survival curve of the initial cell: its first step, the steps at which it falls, its last step."""
        import pandas as pd

        points = self.content["opened"]["survival"]
        ends = (0, len(points) - 1)
        kept = [p for i, p in enumerate(points) if i in ends or p[1] < points[i - 1][1]]
        kept = kept if len(kept) <= _STEPS else [*kept[: _STEPS - 1], kept[-1]]
        curve = pd.DataFrame(kept, columns=["tokens", "still equal", "low", "high"], dtype=np.float64)
        return curve.astype({"tokens": int})

    def _fork_html(self, row: int) -> Markup:
        """A fork in full: both answers from the fork on, and the candidate tokens of each."""
        fork = self.determinism.forks.loc[row]
        prompt = self.determinism.forked(fork["a"], fork["b"]).at[row, "prompt"]
        title = _pair_title(*(self._system(fork[side]) for side in "ab"))
        setting = f", {fork['setting']}" if has_several(self.determinism.settings) else ""
        head = markup(
            "<summary>{}{}: {}</summary>", escaped(title), escaped(setting), escaped(prompt, _MAX_PROMPT)
        )
        try:
            body = visible_html(self.determinism.fork(row)._repr_html_())
        except ValueError:
            body = joined(map(model_text_html, self.determinism.texts(row)), Markup("<hr>"))
        return markup("<details>{}{}</details>", head, body)

    def text(self) -> str:
        lines = [visible(repr(self.determinism))]
        if len(self.determinism.systems) > 1:
            lines += ["agreement", text_table(self.determinism.matrix().reset_index(names=""))]
        curve = self._survival()
        if len(curve):
            lines.append(visible(f"{self._cell_title()}: {_SURVIVAL_CAPTION}"))
            lines.append(text_table(curve))
        forks = self.determinism.first_forks(_ROWS)
        rest = len(self.determinism.forks) - len(forks)
        if len(forks):
            lines += ["forks", text_table(forks), *([f"… and {rest:,} more"] if rest else [])]
        return "\n".join(map(visible, lines))


_SURVIVAL_CAPTION = "share of pairs of runs that are still equal after so many tokens, and its 95 % interval"


def _pair_title(a: str, b: str) -> str:
    return f"within {a}" if a == b else f"{a} and {b}"


def _settings(determinism: Determinism) -> dict[str, list[Any]]:
    """The table by setting: its columns, what they say, and its rows as texts. Empty for one setting."""
    if not has_several(determinism.settings):
        return {}
    table = summary_table(determinism.summaries)
    shown = [name for name in _SETTING_COLUMNS if name in table]
    texts = table[shown].map(lambda value: MISSING if is_missing(value) else str(value))
    rows = [[visible(value, _MAX_PROMPT) for value in row] for row in texts.itertuples(index=False)]
    return {"columns": shown, "meanings": [COLUMNS.get(name, "") for name in shown], "rows": rows}


def _fork_row(number: int, row: dict[Any, Any], has_several_settings: bool) -> dict[str, Any]:
    """A row in the list of forks."""
    setting = [visible(row["setting"], _MAX_PROMPT)] if has_several_settings else []
    choice = [f"choice {row['choice']}"] if row["choice"] else []
    return {
        "row": number,
        "prompt": visible(row["prompt"], _MAX_PROMPT),
        "settings": ", ".join([*setting, *choice]),
        "step": row["step"],
        "tokens": [None if is_missing(row[name]) else _token(row[name]) for name in ("token_a", "token_b")],
        "margins": [row["margin_a"], row["margin_b"]],
        "runs": [[row["runs_a"], row["all_a"]], [row["runs_b"], row["all_b"]]],
    }


def _value_text(value: Any) -> str:
    return visible(f"{value:g}" if isinstance(value, float) else str(value), _MAX_TOKEN)


def _token(text: str) -> str:
    """A token on one line."""
    return visible(text, _MAX_TOKEN).replace("\n", "⏎").replace("\t", "⇥")


def _equal_after(fork: Fork) -> list[set[int]]:
    """The steps of a and of b after the fork whose tokens are in the other answer too, in the same order."""
    steps: list[set[int]] = [set(), set()]
    if max(len(choice.token_ids) for choice in (fork.a, fork.b)) > _MAX_ALIGNED:
        return steps
    table = fork.alignment()
    for row in table[table["what"] == "equal"].to_dict("records"):
        for side, name in enumerate("ab"):
            steps[side] |= set(range(row[f"first_{name}"], row[f"last_{name}"]))
    return steps


def _pieces(
    choice: Choice, shared: int, equal: set[int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The pieces of an answer: those before a fork, and those from it on. A character that the fork splits counts as
    after it."""
    logprobs = choice.logprobs
    pieces = [
        {
            "text": visible(text),
            "step": first,
            "values": {"probability": None if logprobs is None else float(np.exp(logprobs[first:end].sum()))},
            "rank": None if choice.ranks is None or end > first + 1 else int(choice.ranks[first]) or None,
            "same": first >= shared and equal.issuperset(range(first, end)),
        }
        for first, end, text in choice.pieces
    ]
    before = sum(end <= shared for _, end, _ in choice.pieces)
    return pieces[:before], pieces[before:]
