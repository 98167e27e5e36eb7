"""MicroscopeView: the sampler's settings on sliders over a step of a completion, and other roads from there."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.choice import Choice
from toolkit.completion import Completion
from toolkit.microscope import FOLLOWED, REFUSED, Microscope, Step
from toolkit.sampling import NEUTRAL
from toolkit.widgets.view import View, assets, escaped, plain, said, visible

if TYPE_CHECKING:
    from toolkit.engine import Engine

SETTINGS = tuple(name for name in FOLLOWED if name != "logit_bias")
"""Those that have a slider; a logit_bias stays as the request had it."""
_NEUTRAL = {name: NEUTRAL[name] for name in SETTINGS}
_CREATIVE = {"temperature": 1.3, "top_p": 0.95, "min_p": 0.02, "presence_penalty": 0.6}
_ROWS = 30
"""Tokens in the table; with the top 20 stored, all that are known."""
_PAGE = 2000
"""Tokens of the text that are shown at once."""
_LABEL = 60
"""Characters of a token that are shown."""
_BEFORE = 160
"""Characters of the text before a fork that are shown with it."""
_ASKED = "MicroscopeView(tk.microscope(completion), engine)"


class MicroscopeView(View):
    """What temperature, top-p, top-k, min-p and the penalties make of a next-token distribution, on sliders; and,
    with an engine, how the text goes on after another token.

    microscope: `tk.microscope(completion)`; engine: the one that made the completion, or one of its tokenizer.
    It opens at the token that surprised the model most. `shown` is the `Step` on view, `branches` has what was
    branched as Completions, in the order in which they were finished.

    Raises ValueError for a text without tokens.

    >>> MicroscopeView(tk.microscope(completion), engine)  # doctest: +SKIP
    """

    _esm, _css = assets("microscope")

    def __init__(self, microscope: Microscope, engine: Engine | None = None) -> None:
        if not len(microscope):
            raise ValueError("the completion has no tokens: there is no step to look at")
        self.microscope, self.engine = microscope, engine
        self.branches: list[Completion] = []
        self.shown: Step | None = None
        """None where the step's distribution is not known."""
        own = microscope.sampling.given()
        self._own = {name: own[name] for name in SETTINGS}
        self._without = {n: NEUTRAL.get(n) for n in REFUSED if own.get(n) and own[n] != NEUTRAL.get(n)}
        self._lock = threading.Lock()
        step = _most_surprising(microscope.choice)
        super().__init__(
            {
                "total": len(microscope),
                "given": microscope.choice.given,
                "page": self.do_tokens(step),
                "step": step,
                "settings": self._own,
                "presets": self._presets(),
                "stored": 0 if microscope.choice.top_ids is None else microscope.choice.top_ids.shape[1],
                "notes": self._notes(),
                "lacks": self._lacks,
                "now": self._first(step),
                "branches": [],
            }
        )

    def do_at(self, step: int, settings: Mapping[str, float]) -> dict[str, Any]:
        """The distribution at a step, with the settings that have sliders, as the browser draws it."""
        self.shown = self.microscope.at(step, **{name: settings[name] for name in SETTINGS}, **self._without)
        return _drawn(self.shown)

    def do_tokens(self, step: int) -> dict[str, Any]:
        """The page of the text that has the step: its first step, and of each token the text and what is told."""
        choice, first = self.microscope.choice, step // _PAGE * _PAGE
        part = slice(first, first + _PAGE)
        assert choice.logprobs is not None
        texts = [_label(choice.token_bytes(i)) for i in choice.token_ids[part].tolist()]
        ranks = None if choice.ranks is None else choice.ranks[part]
        return {
            "first": first,
            "texts": texts,
            "p": np.exp(choice.logprobs[part], dtype=float),
            "ranks": ranks,
        }

    def do_branch(self, step: int, token: int, card: str) -> None:
        """Begins a branch in a thread of its own; when it is finished, `branch` is told, with the card of whoever
        asked."""
        if self._lacks:
            raise ValueError(self._lacks)
        threading.Thread(target=self._branch, args=(step, token, card), daemon=True).start()

    def _branch(self, step: int, token: int, card: str) -> None:
        completion = self.microscope.completion
        assert self.engine is not None
        assert completion is not None
        try:
            found = self.engine.branch(
                completion, step, token, completion.choices.index(self.microscope.choice)
            )
            told = self._fork(found)
        except Exception as error:  # noqa: BLE001  # a thread has nobody to raise it to: the browser shows it
            self.tell("branch", {"card": card, "error": visible(f"{error}" or type(error).__name__)})
            return
        with self._lock:
            self.branches.append(found)
            self.content = plain({**self.content, "branches": [*self.content["branches"], told]})
        self.tell("branch", {"card": card, **told})

    @property
    def _lacks(self) -> str | None:
        """What is needed for branching, where it is missing."""
        if self.microscope.completion is None:
            return f"Branching needs the completion that the choice is one of: {_ASKED}."
        if self.engine is None:
            return f"Branching needs an engine: {_ASKED}."
        return None

    def _presets(self) -> list[tuple[str, dict[str, Any]]]:
        greedy, creative = {**_NEUTRAL, "temperature": 0.0}, {**_NEUTRAL, **_CREATIVE}
        return [("As sampled", self._own), ("Neutral", _NEUTRAL), ("Greedy", greedy), ("Creative", creative)]

    def _notes(self) -> list[str]:
        own = self.microscope.sampling.given()
        found = [
            f"The request had {name}={visible(str(own[name]), 200)}, which is left out here: {REFUSED[name]}."
            for name in self._without
        ]
        if own.get("logit_bias"):
            found.append(f"The request's logit_bias of {len(own['logit_bias'])} token(s) is reckoned with.")
        return found

    def _first(self, step: int) -> dict[str, Any]:
        try:
            return self.do_at(step, self._own)
        except ValueError as error:
            return {"error": visible(str(error)), "step": step}

    def _fork(self, found: Completion) -> dict[str, Any]:
        """A branch beside the original, from the fork on."""
        note, choice, own = found.notes["branch"], self.microscope.choice, found.choices[0]
        at, anew = note["at"], note.get("counted anew")
        before = _text(choice, 0, at)
        return {
            "step": at,
            "before": visible(before if len(before) <= _BEFORE else f"… {before[-_BEFORE:]}"),
            "sides": [_side("Original", choice, at), _side("Branch", own, at)],
            "told": f"{len(own.token_ids) - at} tokens from the fork on, {own.finish_reason}",
            "notes": [f"Counted anew from the fork on: {', '.join(anew)}."] if anew else [],
        }

    def html(self) -> str:
        notes = "".join(f"<p><small>{escaped(note)}</small></p>" for note in self._notes())
        branches = "".join(_fork_html(told) for told in self.content["branches"])
        now = _table_html(self.shown) if self.shown else f"<p>{escaped(self.content['now'].get('error'))}</p>"
        return f"<div>{self._text_html()}{notes}{now}{branches}</div>"

    def _text_html(self) -> str:
        step = self.content["step"] if self.shown is None else self.shown.step
        page = self.do_tokens(step)
        shown = [
            f'<span style="{_HERE if i == step else _TOKEN}" title="step {i}">{escaped(text)}</span>'
            for i, text in enumerate(page["texts"], page["first"])
        ]
        more = len(self.microscope) - len(shown)
        rest = f"<small> … {more:,} more tokens</small>" if more else ""
        return f'<div style="{_STRIP}">{"".join(shown)}{rest}</div>'

    def text(self) -> str:
        if self.shown is None:
            return str(self.content["now"].get("error"))
        (low, high), (least, most) = self.shown.entropy_before, self.shown.entropy
        told = f"Entropy {_between(low, high)} nats before, {_between(least, most)} after."
        forks = [
            f"Branch at step {fork['step']}: "
            + " | ".join(f"{s['name']}: {s['token']}{s['rest']}" for s in fork["sides"])
            for fork in self.content["branches"]
        ]
        return "\n".join([*self._notes(), visible(repr(self.shown)), told, *forks])


def _most_surprising(choice: Choice) -> int:
    """The generated step whose token had the least probability; the first step where none is known."""
    assert choice.logprobs is not None
    own = choice.logprobs[choice.given :]
    return int(choice.given + np.nanargmin(own)) if np.isfinite(own).any() else 0


def _drawn(step: Step) -> dict[str, Any]:
    """A step as the browser draws it: the best tokens before the settings, the drawn one, and all others together."""
    shown = np.union1d(np.arange(min(_ROWS, len(step.ids))), [step.chosen])
    hidden = np.setdiff1d(np.arange(len(step.ids)), shown)
    entropy = (step.entropy_before, step.entropy)
    return {
        "step": step.step,
        "rows": [*(_token(step, i) for i in shown.tolist()), *_others(step, hidden)],
        "fates": {name: int(np.count_nonzero(step.fate == name)) for name in ("kept", "unknown", "cut")},
        "missing": [(step.missing, step.missing), (step.tail_low, step.tail_high)],
        "entropy": entropy,
        "candidates": [(math.exp(low), math.exp(high)) for low, high in entropy],
        "counted": max(0, step.step - step.choice.given),
        "greedy": step.settings.temperature == 0,
    }


def _token(step: Step, i: int) -> dict[str, Any]:
    fate, by = str(step.fate[i]), str(step.by[i]).replace("_", "-")
    told = {"kept": "kept", "unknown": f"unknown: {by}", "cut": f"cut by {by}" if by else "impossible"}
    return {
        "id": int(step.ids[i]),
        "text": _marked(_label(step.choice.token_bytes(int(step.ids[i])))),
        "drawn": i == step.chosen,
        "seen": step.seen[i],
        "before": step.raw[i],
        "low": step.low[i],
        "high": step.high[i],
        "fate": fate,
        "told": told[fate],
    }


def _others(step: Step, hidden: Any) -> list[dict[str, Any]]:
    """The row of all tokens that have none."""
    number = step.unseen + len(hidden)
    row = {
        "text": f"all {number:,} others",
        "before": step.missing + step.raw[hidden].sum(),
        "low": step.tail_low + step.low[hidden].sum(),
        "high": min(1.0, step.tail_high + step.high[hidden].sum()),
        "fate": "others",
        "told": "together",
    }
    return [row] if number else []


def _label(raw: bytes) -> str:
    """A token's text; the bytes of one that is only a part of a character."""
    try:
        return visible(raw.decode(), _LABEL)
    except UnicodeDecodeError:
        return f"⟨{raw[:_LABEL].hex(' ').upper()}⟩"


def _marked(label: str) -> str:
    """A token as it stands by itself: spaces at its ends, line feeds and tabs are seen."""
    inner = label.strip(" ")
    ahead = len(label) - len(label.lstrip(" "))
    behind = len(label) - len(inner) - ahead if inner else 0
    marked = "␣" * ahead + inner + "␣" * behind
    return marked.replace("\n", "⏎").replace("\t", "⇥") or "(no text)"


def _text(choice: Choice, first: int, end: int) -> str:
    return b"".join(map(choice.token_bytes, choice.token_ids[first:end].tolist())).decode("utf-8", "replace")


def _side(name: str, choice: Choice, at: int) -> dict[str, str]:
    """The token that was taken at the fork, and what came after it."""
    here = at < len(choice.token_ids)
    token = _marked(_label(choice.token_bytes(int(choice.token_ids[at])))) if here else ""
    return {"name": name, "token": token, "rest": visible(_text(choice, at + 1, len(choice.token_ids)))}


# The form that notebooks keep: styles inline, colours that serve a light and a dark ground.

_STRIP = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.7;margin:0 0 8px 0"
_TOKEN = "border-bottom:1px solid rgba(128,128,128,0.5)"
_HERE = "border:2px solid #0072b2;border-radius:3px;font-weight:bold"
_CELL = "text-align:left;padding:2px 8px;white-space:nowrap"
_WIDE = 120
"""Pixels of a bar."""
_TRACK = (
    f"display:inline-block;width:{_WIDE}px;height:12px;background:rgba(128,128,128,0.15);vertical-align:middle;"
    "line-height:0"
)
_PART = "display:inline-block;height:12px;vertical-align:top"


def _between(low: float, high: float) -> str:
    """Two bounds in two digits, as one number where they are the same."""
    least, most = (f"{x:,.0f}" if x >= 100 else f"{x:.2f}" for x in (low, high))
    return least if least == most else f"{least}–{most}"


def _share(low: float, high: float) -> str:
    return "0 %" if high == 0 else f"{_between(100 * low, 100 * high)} %"


def _bar(low: float, high: float, solid: str, light: str) -> str:
    """From 0 to 1: solid what is sure, light what may be more."""
    ends = round(_WIDE * low), round(_WIDE * high)
    parts = ((ends[0], solid), (ends[1] - ends[0], light))
    shown = "".join(
        f'<span style="{_PART};width:{w}px;background:{colour}"></span>' for w, colour in parts if w
    )
    return f'<span style="{_TRACK}">{shown}</span>'


def _table_html(step: Step) -> str:
    drawn = _drawn(step)
    settings = ", ".join(f"{name}={getattr(step.settings, name):g}" for name in SETTINGS)
    (before, after), (fewer, more) = drawn["entropy"], drawn["candidates"]
    head = "".join(
        f'<th style="{_CELL}">{name}</th>' for name in ("token", "before", "", "after", "", "fate")
    )
    return (
        f"<p>Step {step.step}, {escaped(settings)}. Entropy {_between(*before)} nats before, {_between(*after)} "
        f"after; effective candidates {_between(*fewer)} before, {_between(*more)} after.</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(_row, drawn['rows']))}</tbody></table>"
        "<p><small>Bars from 0 to 100 %: solid is sure, light may be more. Bold: the token that was drawn.</small>"
        "</p>"
    )


def _row(row: Mapping[str, Any]) -> str:
    shown = f"<del>{escaped(row['text'])}</del>" if row["fate"] == "cut" else escaped(row["text"])
    before, low, high = row["before"], row["low"], row["high"]
    cells = (
        f"<code>{f'<b>{shown}</b>' if row.get('drawn') else shown}</code>",
        _bar(before, before, "rgba(128,128,128,0.7)", ""),
        _share(before, before),
        _bar(low, high, "#0072b2", "rgba(86,180,233,0.5)"),
        _share(low, high),
        escaped(row["told"]),
    )
    return "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"


def _fork_html(told: Mapping[str, Any]) -> str:
    sides = "".join(
        f'<td style="text-align:left;vertical-align:top;white-space:normal;width:50%"><b>{escaped(side["name"])}</b>'
        f"<br><code><b>{escaped(side['token'])}</b></code>{said(side['rest'])}</td>"
        for side in told["sides"]
    )
    return (
        f"<p>Branch at step {told['step']}: {escaped(told['told'])}</p>"
        f'<table style="width:100%;table-layout:fixed"><tbody><tr>{sides}</tr></tbody></table>'
    )
