"""LogprobsView: texts token by token, with the log probabilities of each token and of its alternatives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from toolkit.analysis.entropy import Doubles
from toolkit.analysis.logprobs import BY, Logprobs
from toolkit.core.choice import Choice
from toolkit.display import colored_tokens
from toolkit.display.html import html_table, scrolling, three_digits
from toolkit.display.markup import Markup, joined, markup
from toolkit.widgets.base import View, assets, command, escaped, visible, visible_html

_PAGE = 300
"""Pieces of a text that are sent at once."""
_MAX_NAMES = 200
"""Texts that can be picked by their first words; of more texts, by number."""
_FORBIDDEN = 3
"""Tokens forbidden by the grammar that are shown where their unconstrained probability is unknown."""
_MAX_TOKEN = 80
"""Characters of one token that are shown."""
_BARS = 600
"""Bars of a text's surprisal: for a longer text each bar is the maximum over several tokens."""
_ROWS = 100
"""Tokens in the table of the static output."""
_TOP = 5
"""Most likely tokens in each row of that table."""
_FREE = (
    "tk.widgets.LogprobsView(logprobs, "
    "free=tk.logprobs(engine.score(c.prompt_token_ids, [c.token_ids], top_logprobs=20)))"
)
_MODES = {
    "raw_logprobs": "before temperature and penalties",
    "processed_logprobs": "after temperature, penalties and cuts",
    "constrained_logprobs": "after the grammar: renormalized over the tokens that it allowed",
    None: "not known whether before or after temperature, penalties and a grammar",
}


class LogprobsView(View):
    """The tokens of one text or several, coloured by probability, rank, entropy or surprisal; the most likely tokens
    at each; the joint probability of a span; the tokens that a grammar struck out.

    free: for texts constrained by a response format, the same tokens scored without it, which show what the grammar
    struck out (`tk.logprobs` of `engine.score(c.prompt_token_ids, [c.token_ids], top_logprobs=20)`). Raises
    ValueError for other tokens.
    """

    _esm, _css = assets("colored_tokens", "logprobs")
    _esm += "\nexport default widget(logprobsView);"

    def __init__(self, logprobs: Logprobs, free: Logprobs | None = None) -> None:
        self._logprobs = logprobs
        self._texts = Texts(logprobs, free)
        super().__init__(self._texts.content())

    @command
    def text_content(self, number: int) -> dict[str, Any]:
        return self._texts.text(number)

    @command
    def pieces(self, number: int, first: int) -> list[dict[str, Any]]:
        return self._texts.pieces(number, first)

    def html(self) -> Markup:
        notice = markup("<p>{}</p>", escaped(self._texts.notice)) if self._texts.notice else ""
        summary = self._logprobs.summary().head(colored_tokens.TEXTS)
        numbered = summary.assign(text=range(1, len(summary) + 1))
        texts = scrolling(html_table(three_digits(numbered)))
        mode = f"{self._logprobs.logprobs_mode or 'mode unknown'}; surprisal and entropy in nats, means over tokens"
        tokens = self._logprobs._repr_html_(), markup("<p>{}</p>", escaped(mode)), texts, self._tokens()
        return joined([notice, boxed_html(joined(tokens))])

    def _tokens(self) -> Markup:
        """The tokens of the first text as a table: what the tooltips of the live view show."""
        import pandas as pd

        text = self.content["text"]
        rows = [_row(token) for piece in text["pieces"] for token in piece["tokens"]][:_ROWS]
        hidden = text["tokens"] - len(rows)
        rest = markup("<p>… and {} more tokens</p>", f"{hidden:,}") if hidden > 0 else ""
        table = scrolling(html_table(three_digits(pd.DataFrame(rows))))
        return markup("<details><summary>tokens of the first text</summary>{}{}</details>", table, rest)

    def text(self) -> str:
        text = "\n".join(filter(None, [repr(self._logprobs), self._texts.notice]))
        return visible(text, len(text))


def _row(token: dict[str, Any]) -> dict[str, Any]:
    """A token of a page as a row of a table."""
    logprob = token["logprob"]
    low, high = token["entropy_low"], token["entropy_high"]
    return {
        "token": token["text"],
        "id": token["id"],
        "bytes": token["bytes"],
        "probability": math.nan if logprob is None else math.exp(logprob),
        "rank": token["rank"],
        "surprisal, nats": token["surprisal"],
        "entropy, nats": "" if low is None else f"{low:.2f} to {'?' if high is None else f'{high:.2f}'}",
        "missing mass": token["missing_mass"],
        "most likely": ", ".join(map(_candidate_text, token["top"][:_TOP])),
    }


def _candidate_text(candidate: dict[str, Any]) -> str:
    if candidate.get("struck"):
        return f"{candidate['text']} struck out"
    return (
        candidate["text"] if candidate["p"] is None else f"{candidate['text']} {100 * candidate['p']:.1f} %"
    )


def boxed_html(page: Markup) -> Markup:
    """The HTML of an analysis object, its invisible characters made visible, in a box that its texts cannot leave."""
    style = "overflow-wrap:anywhere;unicode-bidi:isolate"
    return markup('<div style="{}">{}</div>', style, visible_html(page))


class Texts:
    """Texts as the frontend shows them: each with its statistics, and its tokens page by page."""

    def __init__(self, logprobs: Logprobs, free: Logprobs | None = None) -> None:
        self._all = logprobs
        self._free = free
        self._removed = None if free is None else logprobs.removed_mass(free)
        self._forbidden = None if free is None else logprobs.forbidden(free)
        self._columns = {by: logprobs.column(by) for by in BY}
        self._columns["rank"] = np.where(logprobs.ranks > 0, logprobs.ranks, np.nan)
        self._pieces: dict[int, list[tuple[int, int, str]]] = {}

    def content(self) -> dict[str, Any]:
        """The names of the texts, and the first text."""
        names = [visible(choice.text, 60) for choice in self._all.choices[:_MAX_NAMES]]
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
            "constrained": _constrained(choice),
            "notice": self._notice(part) if _constrained(choice) else "",
            "total": len(self._pieces_of(number)),
            "pieces": self.pieces(number, 0),
            "bars": _bar_heights(self._all.surprisal[part]),
        }

    @property
    def notice(self) -> str:
        """The effect of the grammar that constrained the texts, "" where none did."""
        constrained = [_constrained(choice) for choice in self._all.choices]
        return self._notice(np.repeat(constrained, np.diff(self._all.starts))) if any(constrained) else ""

    def _notice(self, tokens: Any) -> str:
        """tokens: an index into all tokens."""
        if self._removed is None:
            return (
                "Constrained by a response format. What the grammar struck out, and how much probability it took "
                f"away, is not stored; scoring the same tokens without it shows that: {_FREE}"
            )
        removed = self._removed[tokens]
        removed = removed[~np.isnan(removed)]
        mean = f"{100 * removed.mean():.1f} %" if len(removed) else "an unknown share"
        average = f"The grammar took away {mean} of the probability, on average over the tokens."
        return f"Constrained by a response format. {average}"

    def pieces(self, number: int, first: int) -> list[dict[str, Any]]:
        """A page of a text's pieces: their text, the values that colour them (the most surprising of several tokens),
        and their tokens."""
        start = int(self._all.starts[number])
        return [
            {
                "text": visible(text, _MAX_TOKEN),
                "values": {by: self._strongest(by, start + a, start + b) for by in BY},
                "tokens": [self._token(number, i) for i in range(a, b)],
            }
            for a, b, text in self._pieces_of(number)[first : first + _PAGE]
        ]

    def _choice(self, number: int) -> tuple[Choice, slice]:
        if number not in range(len(self._all.choices)):
            raise IndexError(f"text {number} is not among 0 to {len(self._all.choices) - 1}")
        return self._all.choices[number], slice(self._all.starts[number], self._all.starts[number + 1])

    def _pieces_of(self, number: int) -> list[tuple[int, int, str]]:
        if number not in self._pieces:
            self._pieces[number] = self._choice(number)[0].pieces
        return self._pieces[number]

    def _strongest(self, by: str, first: int, end: int) -> float:
        values = self._columns[by][first:end]
        return float(values[colored_tokens.strength(values, by).argmax()])

    def _token(self, number: int, step: int) -> dict[str, Any]:
        choice, i = self._all.choices[number], int(self._all.starts[number]) + step
        token = int(choice.token_ids[step])
        raw = choice.token_bytes(token)
        columns = ("logprob", "surprisal", "margin", "missing_mass", "entropy_low", "entropy_high")
        values = {name: getattr(self._all, "logprobs" if name == "logprob" else name)[i] for name in columns}
        return {
            "at": step,
            "id": token,
            "text": _token_text(raw),
            "bytes": visible(str(raw), _MAX_TOKEN),
            "given": step < choice.prefix_tokens,
            "rank": int(self._all.ranks[i]) or None,
            **{name: round(float(value), 6) for name, value in values.items()},
            "top": self._top(choice, i),
            **(self._grammar(i) if _constrained(choice) else {}),
        }

    def _top(self, choice: Choice, i: int) -> list[dict[str, Any]]:
        """The most likely tokens, best first: their probability, the one without the grammar where that is known,
        and whether the grammar struck them out (None: not known)."""
        top: dict[int, dict[str, Any]] = {
            token: {"p": _probability(logprob), "struck": bool(np.isneginf(logprob))}
            for token, logprob in zip(self._all.top_ids[i].tolist(), self._all.top_logprobs[i], strict=True)
            if token >= 0
        }
        if not _constrained(choice):
            top = {token: {"p": entry["p"]} for token, entry in top.items()}
        elif self._free is None or self._forbidden is None:
            # Which forbidden tokens are among the top k is chance, so a few of them are enough.
            struck = [token for token, entry in top.items() if entry["struck"]]
            top = {token: entry for token, entry in top.items() if token not in struck[_FORBIDDEN:]}
        else:
            free = zip(self._free.top_ids[i].tolist(), self._free.top_logprobs[i], strict=True)
            chosen = int(self._all.token_ids[i])
            for (token, logprob), state in zip(free, self._forbidden[i].tolist(), strict=True):
                entry = top.setdefault(token, {"p": 0.0 if state == 1 else None, "struck": _STRUCK[state]})
                entry["free"] = _probability(logprob)
            top[chosen] = {
                "p": _probability(self._all.logprobs[i]),
                "struck": False,
                "free": _probability(self._free.logprobs[i]),
            }
            # A forbidden token that was unlikely anyway is of no interest.
            top = {token: entry for token, entry in top.items() if not entry["struck"] or "free" in entry}
        return [
            {"id": token, "text": _token_text(choice.token_bytes(token)), **entry}
            for token, entry in top.items()
        ]

    def _grammar(self, i: int) -> dict[str, Any]:
        """How many tokens the grammar allowed (None: all of the top k, and perhaps more), and the mass it removed."""
        logprobs = self._all.top_logprobs[i]
        allowed = int(np.isfinite(logprobs).sum())
        return {
            "allowed": allowed if allowed < len(logprobs) else None,
            "removed": None if self._removed is None else float(self._removed[i]),
        }


_STRUCK = {1: True, 0: False, -1: None}


def _probability(logprob: Any) -> float:
    return round(math.exp(logprob), 7)


def _constrained(choice: Choice) -> bool:
    return choice.logprobs_mode == "constrained_logprobs"


def _token_text(raw: bytes) -> str:
    """A token's text, its line ends and tabs made visible; empty for the end-of-text token."""
    text = raw.decode("utf-8", "replace").replace("\n", "⏎").replace("\t", "⇥")
    return visible(text, _MAX_TOKEN)


def _bar_heights(surprisal: Doubles) -> list[float | None]:
    """At most `_BARS` numbers: the highest surprisal in each run of equally many tokens."""
    each = -(-len(surprisal) // _BARS) or 1
    padded = np.pad(surprisal, (0, -len(surprisal) % each), constant_values=np.nan).reshape(-1, each)
    finite = ~np.isnan(padded)
    return [float(row[f].max().round(3)) if f.any() else None for row, f in zip(padded, finite, strict=True)]
