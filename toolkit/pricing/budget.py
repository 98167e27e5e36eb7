"""Limits: the most that a run may spend."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.completion import Usage
from toolkit.prices import LocalPrice, ModelPrice
from toolkit.sampling import Real, Whole


@dataclass
class Spent:
    """Tokens and money of a run so far."""

    tokens: int = 0
    cost: float = 0.0

    def add(self, usage: Usage, price: ModelPrice | LocalPrice | None) -> None:
        self.tokens += usage.total_tokens
        if isinstance(price, ModelPrice):
            self.cost += float(price.of(usage.prompt_tokens, usage.completion_tokens))


@dataclass(frozen=True)
class Limits:
    """The most tokens (of prompts and completions together) and US dollars of a run.

    Requests are handed out while the most that they can cost still fits, so tokens, and the money of a model that is
    sold by tokens, never go over. The money of this machine is its time: it is looked at with every answer, and what
    runs then is given up.

    Raises ValueError for a limit that is no number above 0, and for max_cost without a price, or with one of energy
    without its watts.
    """

    max_tokens: int | None = None
    max_cost: float | None = None
    price: ModelPrice | LocalPrice | None = None

    def __post_init__(self) -> None:
        if self.max_tokens is not None:
            Whole(1, None, "tokens of prompts and completions together")("max_tokens", self.max_tokens)
        if self.max_cost is None:
            return
        Real(0, math.inf, "US dollars", open_low=True)("max_cost", self.max_cost)
        if self.price is None:
            raise ValueError("max_cost needs a price: the name of a model, a ModelPrice or a LocalPrice")
        self.used_up(0)  # a price of this machine must be known while it runs

    def affordable(self, prompt_tokens: Any, completion_tokens: Any, spent: Spent) -> int:
        """How many of the next requests, of at most so many tokens each, can be handed out at once: (M,) each."""
        most = len(prompt_tokens)
        if self.max_tokens is not None:
            tokens = np.cumsum(prompt_tokens + completion_tokens) + spent.tokens
            most = min(most, int(np.searchsorted(tokens, self.max_tokens, side="right")))
        if self.max_cost is not None and isinstance(self.price, ModelPrice):
            cost = np.cumsum(self.price.of(prompt_tokens, completion_tokens)) + spent.cost
            most = min(most, int(np.searchsorted(cost, self.max_cost, side="right")))
        return most

    def used_up(self, seconds: float) -> bool:
        """Whether this machine's time has cost what it may."""
        if self.max_cost is None or not isinstance(self.price, LocalPrice):
            return False
        return float(self.price.of(seconds)) >= self.max_cost

    def needed(self, prompt_tokens: int, completion_tokens: int) -> str:
        """The most that a request can use of what is limited, in words."""
        parts = [f"{prompt_tokens + completion_tokens:,} tokens"] if self.max_tokens is not None else []
        if self.max_cost is not None and isinstance(self.price, ModelPrice):
            parts += [f"{float(self.price.of(prompt_tokens, completion_tokens)):.3g} US dollars"]
        return " and ".join(parts)

    def __str__(self) -> str:
        parts = [f"max_tokens={self.max_tokens:,}"] if self.max_tokens is not None else []
        parts += [f"max_cost={self.max_cost:g}"] if self.max_cost is not None else []
        return f"stopped at {' and '.join(parts)}"


NO_LIMITS = Limits()
