"""Reply: an answer in the playground, while it comes and after, and all that is known of it, in words."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from toolkit.completion import Completion
from toolkit.diff import diff, words
from toolkit.engine import Engine
from toolkit.prices import LocalPrice, ModelPrice, dollars
from toolkit.request import Request
from toolkit.sampling import Sampling
from toolkit.schema import ResponseFormat
from toolkit.widgets.view import visible

BRIEF = 120
"""Characters of a value, or of an answer, on a line."""


@dataclass(eq=False)
class Reply:
    """An answer, while it comes and after."""

    number: int
    request: Request
    engine: Engine | None = None
    """That answers; None before it is loaded."""
    state: str = "running"
    """running, done, stopped or error."""
    texts: list[str] = field(default_factory=list)
    """Of each choice, so far."""
    completion: Completion | None = None
    """None until it is done: an engine tells no more of an answer that was stopped than its text."""
    model: str = ""
    """What the engine calls the model, once there is an engine."""
    fingerprint: str = ""
    """Of the engine, once the answer has ended; empty when it failed."""
    error: str = ""
    seconds: float = 0.0
    """Until it ended here, the engine's start included."""
    stop: threading.Event = field(default_factory=threading.Event, repr=False)
    told: list[int] = field(default_factory=list, repr=False)
    """Characters of each text that the browser was told."""

    @property
    def shown(self) -> list[str]:
        """The texts as the browser knows them: the rest of an answer that comes is yet to be told."""
        if self.state != "running":
            return self.texts
        return [text[:end] for text, end in zip(self.texts, self.told, strict=True)]


def facts(reply: Reply, price: ModelPrice | LocalPrice | None) -> list[tuple[str, str, str]]:
    """(name, value, what it means) of all that is known of an answer."""
    if reply.state == "running":
        return []
    seed = reply.request.sampling.seed
    found = _ended(reply) if reply.completion is None else _finished(reply.completion, price)
    found.append(("seed", "none" if seed is None else str(seed), "none: a fresh draw each time"))
    if reply.fingerprint:
        found.append(("fingerprint", reply.fingerprint, f"of the engine that answered, on {reply.model}"))
    if reply.completion:
        notes = reply.completion.notes.items()
        found += [(name, str(value), "how the request was sent") for name, value in notes]
    return [
        (visible(name, BRIEF), visible(value, 200), visible(meaning, 400)) for name, value, meaning in found
    ]


def _ended(reply: Reply) -> list[tuple[str, str, str]]:
    """Of an answer that was stopped, or failed."""
    why = [("finish_reason", "none", "it was stopped here, before the model ended")]
    seconds = ("seconds", f"{reply.seconds:.2f}", "until it ended")
    unknown = ("usage", "not told", "an engine tells it with the end of an answer")
    return [*why, unknown, seconds] if reply.state == "stopped" else [seconds]


def _finished(c: Completion, price: ModelPrice | LocalPrice | None) -> list[tuple[str, str, str]]:
    usage = c.usage
    stopped = [str(choice.stop_reason) for choice in c.choices if choice.stop_reason is not None]
    by = f", by {', '.join(map(repr, stopped))}" if stopped else ""
    reasons = ", ".join(dict.fromkeys(choice.finish_reason for choice in c.choices))
    why = "stop: the model ended, or a stop string; length: max_tokens was reached"
    cached = (
        f", {usage.cached_tokens:,} of the prompt's were in the prefix cache" if usage.cached_tokens else ""
    )
    tokens = f"{usage.prompt_tokens:,} + {usage.completion_tokens:,} tokens"
    found = [
        ("finish_reason", reasons + by, why),
        ("usage", tokens, f"of the prompt, and of the answer{cached}"),
    ]
    if c.seconds:
        after = c.first_token_seconds
        first = "" if after is None else f"; the first token after {after:.2f} s"
        rate = f"{usage.completion_tokens / c.seconds:.1f}"
        found.append(("seconds", f"{c.seconds:.2f}", f"from the request to its last token{first}"))
        found.append(("tokens/s", rate, "tokens of the answer in these seconds"))
    if (cost := paid(c, price)) is not None:
        found.append(("cost", cost, f"at {price}"))
    return found


def paid(c: Completion, price: ModelPrice | LocalPrice | None) -> str | None:
    """What an answer cost; None without a price."""
    usage = c.usage
    try:
        if isinstance(price, LocalPrice):
            return dollars(float(price.of(c.seconds or float("nan"))))
        if price is not None:
            spent = price.of(usage.prompt_tokens, usage.completion_tokens)
            return dollars(float(spent))
    except ValueError:  # what the device drew is told of runs alone
        return "not known"
    return None


def settings(sampling: Sampling, form: ResponseFormat | None) -> dict[str, Any]:
    """The settings that were given."""
    return {**sampling.given(), **({"response_format": form} if form else {})}


def line(given: Mapping[str, Any]) -> str:
    """Settings in words."""
    return " · ".join(f"{name} {brief(value)}" for name, value in given.items()) or "the model's own settings"


def brief(value: Any) -> str:
    if isinstance(value, ResponseFormat):
        return visible(f"{value} {value.value}".rstrip(), BRIEF)
    if isinstance(value, tuple):
        return visible(", ".join(map(repr, value)), BRIEF)
    return visible(f"{value:g}" if isinstance(value, float) else str(value), BRIEF)


def judged(reply: Reply) -> tuple[bool, str, str] | None:
    """Whether the answer has its form, in a word, and in a sentence."""
    found = reply.completion.schema_verdict if reply.completion else None
    return None if found is None else (found.valid, found.status, visible(str(found), 600))


def sides(first: str, second: str) -> list[list[tuple[bool, str]]]:
    """Two texts in pieces: (the other has it too, piece), by words."""
    found = diff(words(first), words(second))
    left = [(op == "equal", text) for op, text in found.ops if op in ("equal", "delete")]
    right = [(op != "insert", text) for op, text in found.ops if op != "delete"]
    rest = first[sum(len(text) for _, text in left) :]  # of what is too long to be compared
    return [[*left, *([(True, rest)] if rest else [])], right]
