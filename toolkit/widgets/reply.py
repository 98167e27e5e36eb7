"""Reply: an answer in the playground, while it comes and after, and all that is known of it, in words."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import Any

from toolkit.completion import Completion
from toolkit.diff import diff, words
from toolkit.prices import LocalPrice, ModelPrice
from toolkit.request import Request
from toolkit.widgets.view import visible

BRIEF = 120
"""Characters of a value, or of an answer, on a line."""


@dataclass(eq=False)
class Reply:
    """An answer, while it comes and after."""

    number: int
    request: Request
    state: str = "running"
    """running, done, stopped or error."""
    texts: list[str] = field(default_factory=list)
    """Of each choice, so far."""
    completion: Completion | None = None
    """None until it is done: an engine tells no more of an answer that was stopped than its text."""
    error: str = ""
    seconds: float = 0.0
    """Until it ended here, the engine's start included."""
    stop: threading.Event = field(default_factory=threading.Event, repr=False)
    told: list[int] = field(default_factory=list, repr=False)
    """Characters of each text that the browser was told."""


def facts(reply: Reply, price: ModelPrice | LocalPrice | None) -> list[tuple[str, str, str]]:
    """(name, value, what it means) of all that is known of an answer."""
    c = reply.completion
    if c is None:
        return [] if reply.state == "running" else [("seconds", f"{reply.seconds:.2f}", "until it ended")]
    stopped = [str(choice.stop_reason) for choice in c.choices if choice.stop_reason is not None]
    by = f", by {', '.join(map(repr, stopped))}" if stopped else ""
    reasons = ", ".join(dict.fromkeys(choice.finish_reason for choice in c.choices))
    cached = (
        f", {c.usage.cached_tokens:,} of the prompt's were in the prefix cache"
        if c.usage.cached_tokens
        else ""
    )
    tokens = f"{c.usage.prompt_tokens:,} + {c.usage.completion_tokens:,}"
    seed = c.request.sampling.seed
    found = [
        (
            "finish_reason",
            reasons + by,
            "stop: the model ended, or a stop string; length: max_tokens was reached",
        ),
        ("usage", f"{tokens} tokens", f"of the prompt, and of the answer{cached}"),
    ]
    if c.seconds:
        rate = c.usage.completion_tokens / c.seconds
        first = (
            "" if c.first_token_seconds is None else f"; the first token after {c.first_token_seconds:.2f} s"
        )
        found.append(("seconds", f"{c.seconds:.2f}", f"from the request to its last token{first}"))
        found.append(("tokens/s", f"{rate:.1f}", "tokens of the answer in these seconds"))
    if (cost := paid(c, price)) is not None:
        found.append(("cost", cost, f"at {price}"))
    found.append(("seed", "none" if seed is None else str(seed), "none: a fresh draw each time"))
    found.append(("fingerprint", c.system_fingerprint, f"of the engine that answered, on {c.model}"))
    found += [(name, str(value), "how the request was sent") for name, value in c.notes.items()]
    return [(name, visible(value, 200), visible(meaning, 400)) for name, value, meaning in found]


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


def settings(request: Request) -> dict[str, str]:
    """The settings that were given, in words."""
    found = {name: brief(value) for name, value in request.sampling.given().items()}
    form = (
        {"response_format": visible(str(request.response_format), BRIEF)} if request.response_format else {}
    )
    return {**found, **form}


def line(request: Request) -> str:
    return (
        " · ".join(f"{name} {value}" for name, value in settings(request).items())
        or "the model's own settings"
    )


def brief(value: Any) -> str:
    shown = (
        ", ".join(map(repr, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else value
    )
    return visible(str(shown), BRIEF)


def judged(reply: Reply) -> tuple[bool, str, str] | None:
    """Whether the answer has its form, in a word, and in a sentence."""
    found = reply.completion.schema_verdict if reply.completion else None
    return None if found is None else (found.valid, found.status, visible(str(found), 600))


def dollars(amount: float) -> str:
    """With two digits that tell something: $0.0000095."""
    if math.isnan(amount):
        return "not known"
    return f"${amount:,.{max(2, 1 - math.floor(math.log10(amount))) if amount else 0}f}"


def sides(first: str, second: str) -> list[list[tuple[bool, str]]]:
    """Two texts in pieces: (the other has it too, piece), by words."""
    found = diff(words(first), words(second))
    left = [(op == "equal", text) for op, text in found.ops if op in ("equal", "delete")]
    right = [(op != "insert", text) for op, text in found.ops if op != "delete"]
    rest = first[sum(len(text) for _, text in left) :]  # of what is too long to be compared
    return [[*left, *([(True, rest)] if rest else [])], right]
