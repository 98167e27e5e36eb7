"""Drafts: the texts in the playground's editor, and the requests that they stand for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import regex

from toolkit._internal.text import short_repr
from toolkit._internal.validation import Real, Whole
from toolkit.core.request import Request
from toolkit.core.sampling import NEUTRAL, Sampling, rule
from toolkit.prompts.messages import Message, Messages, messages as checked
from toolkit.structured.json_text import loads
from toolkit.structured.response_format import ResponseFormat, response_format
from toolkit.widgets.base import visible

T = TypeVar("T")
Draft = Mapping[str, Any]
"""Messages (role, text, index of the original text), sampling (texts by name), form (kind and text of the response
format), model (index of the engine)."""
Errors = dict[str, str]
"""Error messages, by the place where each is shown."""
ROLES = ("system", "developer", "user", "assistant")
CONTROLS = (
    "temperature", "top_p", "frequency_penalty", "presence_penalty", "max_tokens", "seed", "n", "stop", "logprobs",
)  # fmt: skip
MAX_TEXT = 20_000
"""Characters of an answer, or of one message, that the frontend shows."""
_KINDS = {Real: "real", Whole: "whole"}


class Drafts:
    """Converts drafts to requests, and requests to drafts.

    fixed: settings without a control, which apply to every request.
    """

    def __init__(self, fixed: Mapping[str, Any]) -> None:
        self._fixed = fixed
        self._texts: list[str] = []

    def request(self, draft: Draft) -> tuple[Request | None, Errors]:
        """The request, or the errors, by the place where each is shown."""
        errors: Errors = {}

        def attempt(place: str, make: Callable[..., T], *args: Any, **kwargs: Any) -> T | None:
            try:
                return make(*args, **kwargs)
            except (TypeError, ValueError) as error:
                errors[place_of(str(error), place)] = visible(str(error), 600)
                return None

        turns = attempt("messages", checked, [self._original(turn) for turn in draft["messages"]])
        fields = {
            name: value
            for name in CONTROLS
            if (value := parse_setting(name, draft["sampling"].get(name))) is not None
        }
        for name, value in fields.items():
            attempt(name, Sampling, **{name: value})
        fmt = attempt("form", parse_response_format, **draft["form"])
        settings = None if errors else attempt("run", Sampling, **{**self._fixed, **fields})
        if errors:
            return None, errors
        return attempt("form", Request, turns, sampling=settings, response_format=fmt), errors

    def _original(self, turn: Draft) -> dict[str, Any]:
        """A message with its original text, unless it was edited in the frontend."""
        text = turn["text"] if turn.get("kept") is None else self._texts[turn["kept"]]
        return {"role": turn["role"], "content": text}

    def draft(
        self, turns: Sequence[Message], settings: Sampling, fmt: ResponseFormat | None, model: int = 0
    ) -> Any:
        """The draft of a request."""
        values = settings.given()
        return {
            "messages": [self.message(turn) for turn in turns],
            "sampling": {name: setting_text(name, values.get(name)) for name in CONTROLS},
            "form": response_format_text(fmt),
            "model": model,
        }

    def message(self, turn: Message) -> dict[str, Any]:
        """A message as the frontend may show it; where its text is changed for that, the original is kept here."""
        text = turn["content"]
        content = {"role": turn["role"], "text": visible(text, MAX_TEXT), "cut": len(text) > MAX_TEXT}
        if content["text"] == text:
            return content
        self._texts.append(text)
        return {**content, "kept": len(self._texts) - 1}


def require_editable(turns: Messages) -> Messages:
    """Raises ValueError for messages that the editor does not support."""
    for i, turn in enumerate(turns):
        if turn["role"] not in ROLES or not isinstance(turn["content"], str) or len(turn) > 2:
            raise ValueError(
                f"messages[{i}] is more than a text by {', '.join(ROLES)}: the playground edits these alone; ask "
                "with engine.chat"
            )
    return turns


def control(name: str) -> dict[str, Any]:
    """What the frontend needs to draw a control: its kind, range, and the value that an empty control stands for."""
    constraint = rule(name)
    kind = _KINDS.get(type(constraint), "lines" if name == "stop" else "flag")
    limits = {}
    if isinstance(constraint, Real):
        low, high = constraint.low, constraint.high
        step = (high - low) / 40
        limits = {"low": low + step * constraint.open_low, "high": high, "step": step}
    fix = constraint.fix if isinstance(constraint, Real | Whole) else ""
    return {"name": name, "kind": kind, "neutral": NEUTRAL.get(name), "fix": fix, **limits}


def parse_setting(name: str, typed: Any) -> Any:
    """A setting from the typed text; None if empty. A text that is not a number is kept: validation rejects it."""
    if isinstance(typed, bool):
        return typed or None
    if typed is None or not str(typed).strip("\r\n" if name == "stop" else None):
        return None
    if name == "stop":
        return [_unescaped(line) for line in str(typed).split("\n") if line]
    try:
        return int(typed) if isinstance(rule(name), Whole) else float(typed)
    except ValueError:
        return typed


def setting_text(name: str, value: Any) -> Any:
    """A setting as the text of its control."""
    if name == "logprobs":
        return bool(value)
    if name == "stop":
        return "\n".join(_escaped(text) for text in value or ())
    return "" if value is None else str(value).removesuffix(".0")


_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}


def _unescaped(line: str) -> str:
    r"""A stop string from the line that was typed: \n is a line feed."""
    return re.sub(r"\\([nrt\\])", lambda m: _ESCAPES[m[1]], line)


def _escaped(text: str) -> str:
    return re.sub(r"[\n\r\t\\]", lambda m: "\\" + next(k for k, v in _ESCAPES.items() if v == m[0]), text)


def parse_response_format(kind: str, text: str) -> ResponseFormat | None:
    """The response format from the typed text. Raises ValueError or TypeError."""
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
            raise ValueError(f"{short_repr(text)} is no regex: {error}") from None
    lines = [line for line in text.split("\n") if line.strip()]
    return response_format({"type": kind, kind: lines if kind == "choice" else text})


def response_format_text(fmt: ResponseFormat | None) -> dict[str, str]:
    """A response format as its kind and the text of its editor."""
    if fmt is None:
        return {"kind": "text", "text": ""}
    if fmt.kind == "json_schema":
        return {"kind": fmt.kind, "text": json.dumps(_json_schema(fmt), ensure_ascii=False, indent=2)}
    return {"kind": fmt.kind, "text": "\n".join(fmt.choices) or fmt.value}


def _json_schema(fmt: ResponseFormat) -> Any:
    """The JSON Schema alone, where it determines the response format; else OpenAI's object around it."""
    try:
        same = response_format(fmt.schema) == fmt
    except (TypeError, ValueError):  # a schema that is no JSON object needs OpenAI's
        same = False
    return fmt.schema if same else fmt.to_openai()


def place_of(error: str, default: str) -> str:
    """Where an error is shown: at the message or the control that it names."""
    match = re.match(r"messages\[\d+\]|\w+", error)
    name = match[0] if match else ""
    return name if name in CONTROLS or name.startswith("messages[") else default
