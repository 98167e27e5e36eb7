"""Draft: what the playground's editor holds, as texts, and the request that it means."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import regex

from toolkit.messages import Message, Messages
from toolkit.messages import messages as checked
from toolkit.request import Request
from toolkit.sampling import NEUTRAL, Real, Sampling, Whole, rule
from toolkit.schema import ResponseFormat, response_format
from toolkit.verdict import loads
from toolkit.widgets.view import visible

T = TypeVar("T")
Draft = Mapping[str, Any]
"""Messages (role, text, and where the text came from), sampling (texts by name), form (kind, text), model (a number
among the engines)."""
Errors = dict[str, str]
"""What is wrong, by the place where it is shown."""

ROLES = ("system", "developer", "user", "assistant")
CONTROLS = (
    "temperature", "top_p", "frequency_penalty", "presence_penalty", "max_tokens", "seed", "n", "stop", "logprobs",
)  # fmt: skip
SHOWN = 20_000
"""Characters of an answer, or of one message, that the browser's half shows."""
_UNIT = {Real: "real", Whole: "whole"}


class Drafts:
    """Makes requests of drafts, and drafts of requests.

    fixed: settings that have no control, and hold for every request.
    """

    def __init__(self, fixed: Mapping[str, Any]) -> None:
        self._fixed = fixed
        self._texts: list[str] = []

    def request(self, draft: Draft) -> tuple[Request | None, Errors]:
        """What is to be asked, or what is wrong with it, by the place where it is to be shown."""
        errors: Errors = {}

        def tried(place: str, make: Callable[..., T], *given: Any, **named: Any) -> T | None:
            try:
                return make(*given, **named)
            except (TypeError, ValueError) as error:
                errors[place_of(str(error), place)] = visible(str(error), 600)
                return None

        turns = tried("messages", checked, [self._turn(turn) for turn in draft["messages"]])
        fields = {
            name: value
            for name in CONTROLS
            if (value := value_of(name, draft["sampling"].get(name))) is not None
        }
        for name, value in fields.items():
            tried(name, Sampling, **{name: value})
        form = tried("form", form_of, **draft["form"])
        settings = None if errors else tried("run", Sampling, **{**self._fixed, **fields})
        if errors:
            return None, errors
        return tried("form", Request, turns, sampling=settings, response_format=form), errors

    def _turn(self, turn: Draft) -> dict[str, Any]:
        """A message as it was given, unless its text was changed in the browser."""
        text = turn["text"] if turn.get("kept") is None else self._texts[turn["kept"]]
        return {"role": turn["role"], "content": text}

    def of(
        self, turns: Sequence[Message], settings: Sampling, form: ResponseFormat | None, model: int = 0
    ) -> Any:
        """The draft that means this."""
        given = settings.given()
        return {
            "messages": [self.shown(turn) for turn in turns],
            "sampling": {name: typed(name, given.get(name)) for name in CONTROLS},
            "form": form_text(form),
            "model": model,
        }

    def shown(self, turn: Message) -> dict[str, Any]:
        """A message as the browser may show it; where that is another text, the given one is kept here."""
        text = turn["content"]
        shown = {"role": turn["role"], "text": visible(text, SHOWN), "cut": len(text) > SHOWN}
        if shown["text"] == text:
            return shown
        self._texts.append(text)
        return {**shown, "kept": len(self._texts) - 1}


def editable(turns: Messages) -> Messages:
    """Raises ValueError for messages that the editor has no place for."""
    for i, turn in enumerate(turns):
        if turn["role"] not in ROLES or not isinstance(turn["content"], str) or len(turn) > 2:
            raise ValueError(
                f"messages[{i}] is more than a text by {', '.join(ROLES)}: the playground edits these alone; ask "
                "with engine.chat"
            )
    return turns


def control(name: str) -> dict[str, Any]:
    """What the browser needs to draw a control: its kind, range, and what it means when it is left empty."""
    own = rule(name)
    kind = _UNIT.get(type(own), "lines" if name == "stop" else "flag")
    limits = {}
    if isinstance(own, Real):
        step = (own.high - own.low) / 40
        limits = {"low": own.low + step * own.open_low, "high": own.high, "step": step}
    fix = own.fix if isinstance(own, Real | Whole) else ""
    return {"name": name, "kind": kind, "neutral": NEUTRAL.get(name), "fix": fix, **limits}


def value_of(name: str, typed: Any) -> Any:
    """A setting from what was typed; None where nothing was. What is no number stays text, which the rule refuses."""
    own = rule(name)
    if isinstance(typed, bool):
        return typed or None
    if typed is None or not str(typed).strip("\r\n" if name == "stop" else None):
        return None
    if name == "stop":
        return [_unescaped(line) for line in str(typed).split("\n") if line]
    try:
        return int(typed) if isinstance(own, Whole) else float(typed)
    except ValueError:
        return typed


def typed(name: str, value: Any) -> Any:
    """A setting as it would be typed."""
    if name == "logprobs":
        return bool(value)
    if name == "stop":
        return "\n".join(_escaped(text) for text in value or ())
    return "" if value is None else str(value).removesuffix(".0")


_ENDS = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}


def _unescaped(line: str) -> str:
    r"""A stop string as it is typed on one line: \n is a line's end."""
    return re.sub(r"\\([nrt\\])", lambda found: _ENDS[found[1]], line)


def _escaped(text: str) -> str:
    return re.sub(r"[\n\r\t\\]", lambda f: "\\" + next(k for k, v in _ENDS.items() if v == f[0]), text)


def form_of(kind: str, text: str) -> ResponseFormat | None:
    """The form of the answer from what was typed. Raises ValueError or TypeError."""
    if kind in ("text", "json_object"):
        return response_format({"type": kind})
    if kind == "json_schema":
        try:
            return response_format(loads(text))
        except ValueError as error:
            raise ValueError(f"JSON Schema: {error}") from None
    if kind == "regex":
        try:
            regex.compile(text)
        except regex.error as error:
            raise ValueError(f"{text!r} is no regex: {error}") from None
    lines = [line for line in text.split("\n") if line.strip()]
    return response_format({"type": kind, kind: lines if kind == "choice" else text})


def form_text(form: ResponseFormat | None) -> dict[str, str]:
    """A form as it would be typed."""
    if form is None:
        return {"kind": "text", "text": ""}
    if form.kind == "json_schema":
        return {"kind": form.kind, "text": json.dumps(_schema(form), ensure_ascii=False, indent=2)}
    return {"kind": form.kind, "text": "\n".join(form.choices) or form.value}


def _schema(form: ResponseFormat) -> Any:
    """The schema alone, where it says the name too; else as OpenAI's request has it."""
    try:
        same = response_format(form.schema) == form
    except (TypeError, ValueError):  # a schema that is no object needs its frame
        same = False
    return form.schema if same else form.to_openai()


def place_of(error: str, usual: str) -> str:
    """Where an error is shown: at the message or the control that it names."""
    found = re.match(r"messages\[\d+\]|\w+", error)
    name = found[0] if found else ""
    return name if name in CONTROLS or name.startswith("messages[") else usual
