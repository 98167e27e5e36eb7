"""MicroscopeView: the sampling parameters as sliders over a step of a completion, and branches from there."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from toolkit.analysis.microscope import FOLLOWED, REFUSED, Microscope, Step
from toolkit.core.choice import Choice
from toolkit.core.completion import Completion
from toolkit.core.sampling import NEUTRAL
from toolkit.display.markup import Markup, joined, markup
from toolkit.engines.loading import loaded_engine
from toolkit.widgets.base import View, assets, command, escaped, plain, visible
from toolkit.widgets.microscope_html import CURRENT, STRIP, TOKEN, fork_html, range_text, table_html

if TYPE_CHECKING:
    from toolkit.engines.base import Engine


SETTINGS = tuple(name for name in FOLLOWED if name != "logit_bias")
"""The sampling parameters with a slider; the request's logit_bias is applied or not."""
_NEUTRAL = {name: NEUTRAL[name] for name in SETTINGS}
_CREATIVE = {"temperature": 1.3, "top_p": 0.95, "min_p": 0.02, "presence_penalty": 0.6}
_ROWS = 30
"""Tokens in the table; with the top 20 stored, all known tokens."""
_PAGE = 2000
"""Tokens of the text that are shown at once."""
_MAX_LABEL = 60
"""Characters of a token that are shown."""
_CONTEXT = 160
"""Characters of the text before a fork that are shown with it."""
_EXAMPLE = "tk.widgets.MicroscopeView(tk.microscope(completion), engine)"


class MicroscopeView(View):
    """The effect of temperature, top-p, top-k, min-p and the penalties on a next-token distribution, with sliders;
    and, with an engine, how the text continues after another token.

    microscope: `tk.microscope(completion)`; engine: the one that made the completion, or one with its tokenizer.
    It opens at the most surprising token. `shown` is the displayed `Step`; `branches` are the branches as
    Completions, in the order in which they finished.

    Raises ValueError for a text without tokens.

    >>> tk.widgets.MicroscopeView(tk.microscope(completion), engine)  # doctest: +SKIP
    """

    live_only = "its sliders and branches"
    _esm, _css = assets("microscope")

    def __init__(self, microscope: Microscope, engine: Engine | None = None) -> None:
        if not len(microscope):
            raise ValueError("the completion has no tokens: there is no step to look at")
        self.microscope, self.engine = microscope, engine
        self.branches: list[Completion] = []
        self.displayed_step: Step | None = None
        """None where the step's distribution is not known."""
        sampling = microscope.sampling.given()
        self._has_bias = bool(sampling.get("logit_bias"))
        self._requested = {**{name: sampling[name] for name in SETTINGS}, **self._bias_applied(True)}
        self._neutralized = {
            n: NEUTRAL.get(n) for n in REFUSED if sampling.get(n) and sampling[n] != NEUTRAL.get(n)
        }
        self._lock = threading.Lock()
        step = _most_surprising(microscope.choice)
        super().__init__(
            {
                "total": len(microscope),
                "given": microscope.choice.prefix_tokens,
                "page": self.tokens(step),
                "step": step,
                "settings": self._requested,
                "presets": self._presets(),
                "stored": 0 if microscope.choice.top_ids is None else microscope.choice.top_ids.shape[1],
                "notes": self._notes(),
                "bias": self._bias_note(),
                "branching_problem": self._branching_problem,
                "now": self._initial(step),
                "branches": [],
            }
        )

    @command
    def at(self, step: int, settings: Mapping[str, float]) -> dict[str, Any]:
        """The distribution at a step under the sliders' settings, as the frontend draws it. A logit_bias of the
        request is applied unless settings["logit_bias"] is False."""
        values: dict[str, Any] = {name: settings[name] for name in SETTINGS}
        if not settings.get("logit_bias", True):
            values["logit_bias"] = None
        self.displayed_step = self.microscope.at(step, **values, **self._neutralized)
        return _step_content(self.displayed_step)

    @command
    def tokens(self, step: int) -> dict[str, Any]:
        """The page of the text that has the step: its first step, and each token's text, probability and rank."""
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

    @command
    def branch(self, step: int, token: int, card: str) -> None:
        """Starts a branch in its own thread; when it has finished, the frontend is notified of `branch_finished`
        with the card of the request."""
        if self._branching_problem:
            raise ValueError(self._branching_problem)
        threading.Thread(target=self._branch, args=(step, token, card), daemon=True).start()

    def _branch(self, step: int, token: int, card: str) -> None:
        completion = self.microscope.completion
        assert self.engine is not None
        assert completion is not None
        try:
            branch = self.engine.branch(
                completion, step, token, completion.choices.index(self.microscope.choice)
            )
            fork = self._fork(branch)
        except Exception as error:  # noqa: BLE001  # a thread has no caller: the frontend shows it
            self.notify(
                "branch_finished", {"card": card, "error": visible(f"{error}" or type(error).__name__)}
            )
            return
        with self._lock:
            self.branches.append(branch)
            self.content = plain({**self.content, "branches": [*self.content["branches"], fork]})
        self.notify("branch_finished", {"card": card, **fork})

    @classmethod
    def opened(cls, target: Microscope) -> Self:
        """With the engine that made the completion, while it is loaded: then it can be branched."""
        completion = target.completion
        return cls(target, loaded_engine(completion.system_fingerprint) if completion else None)

    @property
    def _branching_problem(self) -> str | None:
        """What is missing for branching; None if nothing is."""
        if self.microscope.completion is None:
            return f"Branching needs the completion that the choice is one of: {_EXAMPLE}."
        if self.engine is None:
            return f"Branching needs an engine: {_EXAMPLE}."
        return None

    def _presets(self) -> list[tuple[str, dict[str, Any]]]:
        """Names and settings. The request's own are listed once, whichever of the others they equal."""
        presets = {"neutral": {}, "greedy": {"temperature": 0.0}, "creative": _CREATIVE}
        settings = {n: {**_NEUTRAL, **v, **self._bias_applied(False)} for n, v in presets.items()}
        same = "".join(f" ({name})" for name, values in settings.items() if values == self._requested)
        others = [(name.capitalize(), v) for name, v in settings.items() if v != self._requested]
        return [(f"As sampled{same}", self._requested), *others]

    def _bias_applied(self, applied: bool) -> dict[str, bool]:
        """The setting of the request's logit_bias, if it has one."""
        return {"logit_bias": applied} if self._has_bias else {}

    def _notes(self) -> list[str]:
        sampling = self.microscope.sampling.given()
        notes = [
            f"The request had {name}={visible(str(sampling[name]), 200)}, which is left out here: {REFUSED[name]}."
            for name in self._neutralized
        ]
        return [*notes, *filter(None, [self._bias_note()])]

    def _bias_note(self) -> str | None:
        """Whether the request's logit_bias is applied; None without one."""
        if not self._has_bias:
            return None
        size = len(self.microscope.sampling.given()["logit_bias"])
        left_out = self.displayed_step is not None and not self.displayed_step.settings.logit_bias
        return f"The request's logit_bias of {size} token(s) is {'left out' if left_out else 'applied'}."

    def _initial(self, step: int) -> dict[str, Any]:
        try:
            return self.at(step, self._requested)
        except ValueError as error:
            return {"error": visible(str(error)), "step": step}

    def _fork(self, completion: Completion) -> dict[str, Any]:
        """A branch beside the original, from the fork on."""
        note, original, branch = completion.notes["branch"], self.microscope.choice, completion.choices[0]
        at, restarted = note["at"], note.get("counted anew")
        before = _text(original, 0, at)
        return {
            "step": at,
            "before": visible(before if len(before) <= _CONTEXT else f"… {before[-_CONTEXT:]}"),
            "sides": [_side("Original", original, at), _side("Branch", branch, at)],
            "summary": f"{len(branch.token_ids) - at} tokens from the fork on, {branch.finish_reason}",
            "notes": [f"Counted anew from the fork on: {', '.join(restarted)}."] if restarted else [],
        }

    def html(self) -> Markup:
        notes = [markup("<p><small>{}</small></p>", escaped(note)) for note in self._notes()]
        branches = [fork_html(fork) for fork in self.content["branches"]]
        error = self.content["now"].get("error")
        step = (
            table_html(self.displayed_step, _step_content(self.displayed_step), SETTINGS)
            if self.displayed_step
            else markup("<p>{}</p>", escaped(error))
        )
        return markup("<div>{}</div>", joined([self._text_html(), *notes, step, *branches]))

    def _text_html(self) -> Markup:
        step = self.content["step"] if self.displayed_step is None else self.displayed_step.step
        page = self.tokens(step)
        spans = [
            markup(
                '<span style="{}" title="step {}">{}</span>',
                CURRENT if i == step else TOKEN,
                i,
                escaped(text),
            )
            for i, text in enumerate(page["texts"], page["first"])
        ]
        hidden = len(self.microscope) - len(spans)
        rest = markup("<small> … {} more tokens</small>", f"{hidden:,}") if hidden else ""
        return markup('<div style="{}">{}{}</div>', STRIP, joined(spans), rest)

    def text(self) -> str:
        if self.displayed_step is None:
            return str(self.content["now"].get("error"))
        before, after = self.displayed_step.entropy_before, self.displayed_step.entropy
        entropy = f"Entropy {range_text(*before)} nats before, {range_text(*after)} after."
        forks = [
            f"Branch at step {fork['step']}: "
            + " | ".join(f"{s['name']}: {s['token']}{s['rest']}" for s in fork["sides"])
            for fork in self.content["branches"]
        ]
        return "\n".join([*self._notes(), visible(repr(self.displayed_step)), entropy, *forks])


def _most_surprising(choice: Choice) -> int:
    """The generated step whose token had the lowest probability; the first step where none is known."""
    assert choice.logprobs is not None
    generated = choice.logprobs[choice.prefix_tokens :]
    return int(choice.prefix_tokens + np.nanargmin(generated)) if np.isfinite(generated).any() else 0


def _step_content(step: Step) -> dict[str, Any]:
    """A step as the frontend draws it: the most likely tokens before the settings, the sampled token, and all others
    together."""
    listed = np.union1d(np.arange(min(_ROWS, len(step.ids))), [step.chosen])
    hidden = np.setdiff1d(np.arange(len(step.ids)), listed)
    entropy = (step.entropy_before, step.entropy)
    return {
        "step": step.step,
        "rows": [*(_token_row(step, i) for i in listed.tolist()), *_others_row(step, hidden)],
        "fates": {name: int(np.count_nonzero(step.fate == name)) for name in ("kept", "unknown", "cut")},
        "missing": [(step.missing, step.missing), (step.tail_low, step.tail_high)],
        "entropy": entropy,
        "candidates": [(math.exp(low), math.exp(high)) for low, high in entropy],
        "counted": max(0, step.step - step.choice.prefix_tokens),
        "greedy": step.settings.temperature == 0,
    }


def _token_row(step: Step, i: int) -> dict[str, Any]:
    fate, by = str(step.fate[i]), str(step.by[i]).replace("_", "-")
    explanations = {
        "kept": "kept",
        "unknown": f"unknown: {by}",
        "cut": f"cut by {by}" if by else "impossible",
    }
    return {
        "id": int(step.ids[i]),
        "text": _mark_whitespace(_label(step.choice.token_bytes(int(step.ids[i])))),
        "drawn": i == step.chosen,
        "seen": step.seen[i],
        "before": step.raw[i],
        "low": step.low[i],
        "high": step.high[i],
        "fate": fate,
        "explanation": explanations[fate],
    }


def _others_row(step: Step, hidden: Any) -> list[dict[str, Any]]:
    """The row that sums up all tokens without their own row."""
    number = step.unseen + len(hidden)
    row = {
        "text": f"all {number:,} others",
        "before": step.missing + step.raw[hidden].sum(),
        "low": step.tail_low + step.low[hidden].sum(),
        "high": min(1.0, step.tail_high + step.high[hidden].sum()),
        "fate": "others",
        "explanation": "together",
    }
    return [row] if number else []


def _label(raw: bytes) -> str:
    """A token's text, or its bytes if it is only part of a character."""
    try:
        return visible(raw.decode(), _MAX_LABEL)
    except UnicodeDecodeError:
        return f"⟨{raw[:_MAX_LABEL].hex(' ').upper()}⟩"


def _mark_whitespace(label: str) -> str:
    """A token shown by itself: spaces at its ends, line feeds and tabs are visible."""
    inner = label.strip(" ")
    ahead = len(label) - len(label.lstrip(" "))
    behind = len(label) - len(inner) - ahead if inner else 0
    marked = "␣" * ahead + inner + "␣" * behind
    return marked.replace("\n", "⏎").replace("\t", "⇥") or "(no text)"


def _text(choice: Choice, first: int, end: int) -> str:
    return b"".join(map(choice.token_bytes, choice.token_ids[first:end].tolist())).decode("utf-8", "replace")


def _side(name: str, choice: Choice, at: int) -> dict[str, str]:
    """The token at the fork, and the text after it."""
    exists = at < len(choice.token_ids)
    token = _mark_whitespace(_label(choice.token_bytes(int(choice.token_ids[at])))) if exists else ""
    return {"name": name, "token": token, "rest": visible(_text(choice, at + 1, len(choice.token_ids)))}
