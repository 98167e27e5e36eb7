"""Reply: an answer in the playground, during generation and after, and its facts in words."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from toolkit._internal.text import dollars
from toolkit.analysis.text_diff import diff, words
from toolkit.core.completion import Completion
from toolkit.core.request import Request
from toolkit.core.sampling import Sampling
from toolkit.engines.base import Engine
from toolkit.pricing.prices import LocalPrice, ModelPrice
from toolkit.structured.response_format import ResponseFormat
from toolkit.widgets.base import visible

MAX_VALUE = 120
"""Characters of a value, or of an answer, on one line."""


@dataclass(eq=False)
class Reply:
    """An answer, during generation and after."""

    number: int
    request: Request
    engine: Engine | None = None
    """The engine that generates it; None before it is loaded."""
    state: str = "running"
    """running, done, stopped or error."""
    texts: list[str] = field(default_factory=list)
    """The text of each choice, so far."""
    completion: Completion | None = None
    """None until it is done, and after a stop: an engine returns no completion of a stopped answer."""
    model: str = ""
    """The engine's name of the model, once there is an engine."""
    fingerprint: str = ""
    """The engine's fingerprint, once the answer has ended; empty when it failed."""
    error: str = ""
    seconds: float = 0.0
    """Seconds until it ended here, including the start of the engine."""
    stop: threading.Event = field(default_factory=threading.Event, repr=False)
    sent: list[int] = field(default_factory=list, repr=False)
    """Characters of each text that were sent to the frontend."""

    @property
    def sent_texts(self) -> list[str]:
        """The texts as the frontend has them: of a running answer, what was sent so far."""
        if self.state != "running":
            return self.texts
        return [text[:end] for text, end in zip(self.texts, self.sent, strict=True)]


def facts(reply: Reply, price: ModelPrice | LocalPrice | None) -> list[tuple[str, str, str]]:
    """All facts of an answer as (name, value, meaning)."""
    if reply.state == "running":
        return []
    seed = reply.request.sampling.seed
    completion = reply.completion
    rows = _unfinished_facts(reply) if completion is None else _completion_facts(completion, price)
    rows.append(("seed", "none" if seed is None else str(seed), "none: a fresh draw each time"))
    if reply.fingerprint:
        rows.append(("fingerprint", reply.fingerprint, f"of the engine that answered, on {reply.model}"))
    if completion:
        notes = completion.notes.items()
        rows += [(name, str(value), "how the request was sent") for name, value in notes]
    return [
        (visible(name, MAX_VALUE), visible(value, 200), visible(meaning, 400))
        for name, value, meaning in rows
    ]


def _unfinished_facts(reply: Reply) -> list[tuple[str, str, str]]:
    """The facts of an answer that was stopped, or failed."""
    seconds = ("seconds", f"{reply.seconds:.2f}", "until it ended")
    if reply.state != "stopped":
        return [seconds]
    reason = ("finish_reason", "none", "it was stopped here, before the model ended")
    usage = ("usage", "not reported", "an engine reports it at the end of an answer")
    return [reason, usage, seconds]


def _completion_facts(c: Completion, price: ModelPrice | LocalPrice | None) -> list[tuple[str, str, str]]:
    usage = c.usage
    stops = [str(choice.stop_reason) for choice in c.choices if choice.stop_reason is not None]
    by = f", by {', '.join(map(repr, stops))}" if stops else ""
    reasons = ", ".join(dict.fromkeys(choice.finish_reason for choice in c.choices))
    meaning = "stop: the model ended, or a stop string; length: max_tokens was reached"
    cached = (
        f", {usage.cached_tokens:,} of the prompt's were in the prefix cache" if usage.cached_tokens else ""
    )
    rows = [
        ("finish_reason", reasons + by, meaning),
        ("usage", str(usage), f"of the prompt, and of the answer{cached}"),
    ]
    if c.seconds:
        to_first = c.first_token_seconds
        first = "" if to_first is None else f"; the first token after {to_first:.2f} s"
        rows.append(("seconds", f"{c.seconds:.2f}", f"from the request to its last token{first}"))
        if (rate := c.tokens_per_second) is not None:
            rows.append(("tokens/s", f"{rate:.1f}", "tokens after the first, by the seconds since it"))
    if (cost := cost_text(c, price)) is not None:
        rows.append(("cost", cost, f"at {price}"))
    return rows


def cost_text(c: Completion, price: ModelPrice | LocalPrice | None) -> str | None:
    """The cost of an answer; None without a price."""
    usage = c.usage
    try:
        if isinstance(price, LocalPrice):
            return dollars(float(price.of(c.seconds or float("nan"))))
        if price is not None:
            counts = (usage.prompt_tokens, usage.completion_tokens)
            return dollars(float(price.of(*(float("nan") if n is None else n for n in counts))))
    except ValueError:  # a price by energy: the device's power is measured for runs only
        return "not known"
    return None


def settings(sampling: Sampling, response_format: ResponseFormat | None) -> dict[str, Any]:
    """The explicit settings."""
    return {**sampling.given(), **({"response_format": response_format} if response_format else {})}


def settings_text(values: Mapping[str, Any]) -> str:
    """Settings in words."""
    texts = (f"{name} {value_text(value)}" for name, value in values.items())
    return " · ".join(texts) or "the model's own settings"


def value_text(value: Any) -> str:
    if isinstance(value, ResponseFormat):
        return visible(f"{value} {value.value}".rstrip(), MAX_VALUE)
    if isinstance(value, tuple):
        return visible(", ".join(map(repr, value)), MAX_VALUE)
    return visible(f"{value:g}" if isinstance(value, float) else str(value), MAX_VALUE)


def verdict_badge(reply: Reply) -> tuple[bool, str, str] | None:
    """Whether the answer satisfies its response format, its status, and the verdict as a sentence."""
    verdict = reply.completion.schema_verdict if reply.completion else None
    return None if verdict is None else (verdict.valid, verdict.status, visible(str(verdict), 600))


def diff_sides(first: str, second: str) -> list[list[tuple[bool, str]]]:
    """The word diff of two texts, each in pieces: (whether the other has it too, text)."""
    result = diff(words(first), words(second))
    left = [(op == "equal", text) for op, text in result.ops if op in ("equal", "delete")]
    right = [(op != "insert", text) for op, text in result.ops if op != "delete"]
    rest = first[sum(len(text) for _, text in left) :]  # the part beyond the diff's limit
    return [[*left, *([(True, rest)] if rest else [])], right]
