"""LogprobsView: texts token by token, with what the model gave to each token and to those beside it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from toolkit import report, strip
from toolkit.choice import Choice
from toolkit.logprobs import BY, Doubles, Logprobs
from toolkit.widgets.view import View, assets, escaped, visible

_PAGE = 300
"""Pieces of a text that are sent at once."""
_TEXTS = 200
"""Texts that can be picked by how they begin; of more, by their number."""
_FORBIDDEN = 3
"""Tokens that a grammar forbade which are shown where nothing tells how likely they were."""
_TOKEN = 80
"""Characters of one token that are shown."""
_BARS = 600
"""Bars of a text's surprisal: a longer text has the highest of several tokens in each."""
_ROWS = 100
"""Tokens that the static form tells in full."""
_LIKELY = 5
"""Of the most likely ones at each of them."""
_FREE = "LogprobsView(logprobs, free=tk.logprobs(engine.score(c.prompt_token_ids, [c.token_ids], top_logprobs=20)))"
_MODES = {
    "raw_logprobs": "before temperature and penalties",
    "processed_logprobs": "after temperature, penalties and cuts",
    "constrained_logprobs": "after the grammar: shared out again over the tokens that it allowed",
    None: "not known whether before or after temperature, penalties and a grammar",
}


class LogprobsView(View):
    """The tokens of one text or several, coloured by probability, rank, entropy or surprisal; the most likely tokens
    at each; the joint probability of a span; what a grammar struck out.

    free: of texts held to a form, the same tokens without it, which tell what the grammar struck out (`tk.logprobs`
    of `engine.score(c.prompt_token_ids, [c.token_ids], top_logprobs=20)`). Raises ValueError for other tokens.
    """

    _esm, _css = assets("strip", "logprobs")
    _esm += "\nexport default widget(logprobsView);"

    def __init__(self, logprobs: Logprobs, free: Logprobs | None = None) -> None:
        self._logprobs = logprobs
        self._texts = Texts(logprobs, free)
        super().__init__(self._texts.content())

    def do_text(self, number: int) -> dict[str, Any]:
        return self._texts.text(number)

    def do_pieces(self, number: int, first: int) -> list[dict[str, Any]]:
        return self._texts.pieces(number, first)

    def html(self) -> str:
        notice = f"<p>{escaped(self._texts.notice)}</p>" if self._texts.notice else ""
        summary = self._logprobs.summary().head(strip.TEXTS)
        numbered = summary.assign(text=range(1, len(summary) + 1))
        texts = report.wide(report.table(report.short(numbered)))
        mode = f"{self._logprobs.logprobs_mode or 'mode unknown'}; surprisal and entropy in nats, means over tokens"
        return notice + inside(f"{self._logprobs._repr_html_()}<p>{escaped(mode)}</p>{texts}{self._tokens()}")

    def _tokens(self) -> str:
        """What the pointer tells in the live view, of the first text."""
        import pandas as pd

        text = self.content["text"]
        rows = [_row(token) for piece in text["pieces"] for token in piece["tokens"]][:_ROWS]
        rest = (
            f"<p>… and {text['tokens'] - len(rows):,} more tokens</p>" if text["tokens"] > len(rows) else ""
        )
        shown = report.wide(report.table(report.short(pd.DataFrame(rows))))
        return f"<details><summary>tokens of the first text</summary>{shown}{rest}</details>"

    def text(self) -> str:
        shown = "\n".join(filter(None, [repr(self._logprobs), self._texts.notice]))
        return visible(shown, len(shown))


def _row(token: dict[str, Any]) -> dict[str, Any]:
    """A token of a page as a row of a table."""
    known = token["logprob"] is not None
    low, high = token["entropy_low"], token["entropy_high"]
    return {
        "token": token["text"],
        "id": token["id"],
        "bytes": token["bytes"],
        "probability": math.exp(token["logprob"]) if known else math.nan,
        "rank": token["rank"],
        "surprisal, nats": token["surprisal"],
        "entropy, nats": "" if low is None else f"{low:.2f} to {'?' if high is None else f'{high:.2f}'}",
        "missing mass": token["missing_mass"],
        "most likely": ", ".join(map(_likely, token["top"][:_LIKELY])),
    }


def _likely(one: dict[str, Any]) -> str:
    if one.get("struck"):
        return f"{one['text']} struck out"
    return one["text"] if one["p"] is None else f"{one['text']} {100 * one['p']:.1f} %"


def inside(html: str) -> str:
    """The HTML of an analysis object with what is not seen spelt, in a box that none of its texts leaves."""
    style = "overflow-wrap:anywhere;unicode-bidi:isolate"
    return f'<div style="{style}">{visible(html, len(html))}</div>'


class Texts:
    """Texts as the browser's half shows them: each with its numbers, and its tokens page by page."""

    def __init__(self, logprobs: Logprobs, free: Logprobs | None = None) -> None:
        self._all = logprobs
        self._free = free
        self._removed = None if free is None else logprobs.removed_mass(free)
        self._forbidden = None if free is None else logprobs.forbidden(free)
        self._columns = {by: logprobs.column(by) for by in BY}
        self._columns["rank"] = np.where(logprobs.ranks > 0, logprobs.ranks, np.nan)
        self._pieces: dict[int, list[tuple[int, int, str]]] = {}

    def content(self) -> dict[str, Any]:
        """The names of the texts, and the first of them."""
        names = [visible(choice.text, 60) for choice in self._all.choices[:_TEXTS]]
        return {"names": names, "count": len(self._all.choices), "by": BY, "text": self.text(0)}

    def text(self, number: int) -> dict[str, Any]:
        """A text, and the first page of its tokens."""
        choice, part = self._choice(number)
        row = {name: getattr(self._all, name)[number] for name in ("sequence_logprob", "unknown")}
        raw = choice.logprobs_mode == "raw_logprobs"
        return {
            "number": number,
            "tokens": len(choice.token_ids),
            **row,
            "perplexity": self._all.perplexity[number] if raw else None,
            "mode": choice.logprobs_mode,
            "means": _MODES.get(choice.logprobs_mode, _MODES[None]),
            "constrained": _held(choice),
            "notice": self._notice(part) if _held(choice) else "",
            "total": len(self._cut(number)),
            "pieces": self.pieces(number, 0),
            "bars": _highest(self._all.surprisal[part]),
        }

    @property
    def notice(self) -> str:
        """What is known of the grammar to which texts were held, "" where none was."""
        held = [_held(choice) for choice in self._all.choices]
        return self._notice(np.repeat(held, np.diff(self._all.starts))) if any(held) else ""

    def _notice(self, tokens: Any) -> str:
        """tokens: which of all, as an index."""
        if self._removed is None:
            return (
                "Held to a form. What the grammar struck out, and how much probability it took away, is not stored; "
                f"the same tokens without it tell: {_FREE}"
            )
        removed = self._removed[tokens]
        known = removed[~np.isnan(removed)]
        mean = f"{100 * known.mean():.1f} %" if len(known) else "an unknown share"
        return f"Held to a form. The grammar took away {mean} of the probability, on average over the tokens."

    def pieces(self, number: int, first: int) -> list[dict[str, Any]]:
        """A page of a text's pieces: what they say, what they are coloured by (of several tokens the most
        surprising), and their tokens."""
        start = int(self._all.starts[number])
        return [
            {
                "text": visible(text, _TOKEN),
                "values": {by: self._strongest(by, start + a, start + b) for by in BY},
                "tokens": [self._token(number, i) for i in range(a, b)],
            }
            for a, b, text in self._cut(number)[first : first + _PAGE]
        ]

    def _choice(self, number: int) -> tuple[Choice, slice]:
        if number not in range(len(self._all.choices)):
            raise IndexError(f"text {number} is not among 0 to {len(self._all.choices) - 1}")
        return self._all.choices[number], slice(self._all.starts[number], self._all.starts[number + 1])

    def _cut(self, number: int) -> list[tuple[int, int, str]]:
        if number not in self._pieces:
            self._pieces[number] = self._choice(number)[0].pieces
        return self._pieces[number]

    def _strongest(self, by: str, first: int, end: int) -> float:
        values = self._columns[by][first:end]
        return float(values[strip.strength(values, by).argmax()])

    def _token(self, number: int, step: int) -> dict[str, Any]:
        choice, i = self._all.choices[number], int(self._all.starts[number]) + step
        own = int(choice.token_ids[step])
        raw = choice.token_bytes(own)
        columns = ("logprob", "surprisal", "margin", "missing_mass", "entropy_low", "entropy_high")
        values = {name: getattr(self._all, "logprobs" if name == "logprob" else name)[i] for name in columns}
        return {
            "at": step,
            "id": own,
            "text": _named(raw),
            "bytes": visible(str(raw), _TOKEN),
            "given": step < choice.given,
            "rank": int(self._all.ranks[i]) or None,
            **{name: round(float(value), 6) for name, value in values.items()},
            "top": self._top(choice, i),
            **(self._grammar(i) if _held(choice) else {}),
        }

    def _top(self, choice: Choice, i: int) -> list[dict[str, Any]]:
        """The most likely tokens, best first: their probability, what it is without the grammar where that is known,
        and whether the grammar struck them out (None: not known)."""
        found: dict[int, dict[str, Any]] = {
            token: {"p": _share(p), "struck": bool(np.isneginf(p))}
            for token, p in zip(self._all.top_ids[i].tolist(), self._all.top_logprobs[i], strict=True)
            if token >= 0
        }
        if not _held(choice):
            found = {token: {"p": one["p"]} for token, one in found.items()}
        elif self._free is None or self._forbidden is None:
            # Which of the forbidden ones stand among the top k is chance, so that a few of them are enough.
            struck = [token for token, one in found.items() if one["struck"]]
            found = {token: one for token, one in found.items() if token not in struck[_FORBIDDEN:]}
        else:
            free = zip(self._free.top_ids[i].tolist(), self._free.top_logprobs[i], strict=True)
            own = int(self._all.token_ids[i])
            for (token, p), state in zip(free, self._forbidden[i].tolist(), strict=True):
                one = found.setdefault(token, {"p": 0.0 if state == 1 else None, "struck": _STRUCK[state]})
                one["free"] = _share(p)
            found[own] = {
                "p": _share(self._all.logprobs[i]),
                "struck": False,
                "free": _share(self._free.logprobs[i]),
            }
            # What was forbidden, and not likely either, tells nothing.
            found = {token: one for token, one in found.items() if not one["struck"] or "free" in one}
        return [
            {"id": token, "text": _named(choice.token_bytes(token)), **one} for token, one in found.items()
        ]

    def _grammar(self, i: int) -> dict[str, Any]:
        """How many tokens the grammar allowed (None: all of the top k, and perhaps more), and the mass it removed."""
        told = self._all.top_logprobs[i]
        allowed = int(np.isfinite(told).sum())
        return {
            "allowed": allowed if allowed < len(told) else None,
            "removed": None if self._removed is None else float(self._removed[i]),
        }


_STRUCK = {1: True, 0: False, -1: None}


def _share(logprob: Any) -> float:
    return round(math.exp(logprob), 7)


def _held(choice: Choice) -> bool:
    return choice.logprobs_mode == "constrained_logprobs"


def _named(raw: bytes) -> str:
    """A token's text, its line ends and tabs spelt; the end of text has none."""
    text = raw.decode("utf-8", "replace").replace("\n", "⏎").replace("\t", "⇥")
    return visible(text, _TOKEN)


def _highest(surprisal: Doubles) -> list[float | None]:
    """At most `_BARS` numbers: the highest surprisal of each run of as many tokens."""
    each = -(-len(surprisal) // _BARS) or 1
    padded = np.pad(surprisal, (0, -len(surprisal) % each), constant_values=np.nan).reshape(-1, each)
    known = ~np.isnan(padded)
    return [float(row[k].max().round(3)) if k.any() else None for row, k in zip(padded, known, strict=True)]
