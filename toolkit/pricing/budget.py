"""The budget of a run: the most tokens and US dollars that it may spend."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit._internal.validation import Real, Whole
from toolkit.core.completion import Usage
from toolkit.pricing.prices import LocalPrice, ModelPrice


@dataclass
class Spent:
    """Tokens and US dollars that a run has spent so far."""

    tokens: int = 0
    cost: float = 0.0

    def add(
        self, usage: Usage, price: ModelPrice | LocalPrice | None, most: tuple[int, int] = (0, 0)
    ) -> None:
        """Adds a request's usage. most: the most prompt and completion tokens that it can have used: they count where
        its usage is unknown, so that a limit holds."""
        prompt_tokens = most[0] if usage.prompt_tokens is None else usage.prompt_tokens
        completion_tokens = most[1] if usage.completion_tokens is None else usage.completion_tokens
        self.tokens += prompt_tokens + completion_tokens
        if isinstance(price, ModelPrice):
            self.cost += float(price.of(prompt_tokens, completion_tokens))


@dataclass(frozen=True)
class Budget:
    """The most tokens (of prompts and completions together) and US dollars of a run.

    Requests are sent while the most that they can cost still fits, so tokens, and the cost of a model that is sold by
    tokens, never exceed the budget. The cost of this machine is its time: it is checked with every completion, and
    requests that run when it is used up are abandoned.

    Raises ValueError for a limit that is no number above 0, and for max_cost without a price, or with a price of
    energy without watts.
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
        if isinstance(self.price, LocalPrice) and self.price.per_kwh and self.price.watts is None:
            raise ValueError(
                "max_cost with a price of energy needs to know the power before the run: give LocalPrice(per_kwh=…, "
                "watts=…), what the machine draws while it works"
            )

    def affordable(self, prompt_tokens: Any, completion_tokens: Any, spent: Spent) -> int:
        """How many of the next M requests fit into the budget; (M,) the most tokens of each."""
        count = len(prompt_tokens)
        if self.max_tokens is not None:
            tokens = np.cumsum(prompt_tokens + completion_tokens) + spent.tokens
            count = min(count, int(np.searchsorted(tokens, self.max_tokens, side="right")))
        if self.max_cost is not None and isinstance(self.price, ModelPrice):
            cost = np.cumsum(self.price.of(prompt_tokens, completion_tokens)) + spent.cost
            count = min(count, int(np.searchsorted(cost, self.max_cost, side="right")))
        return count

    def used_up(self, seconds: float) -> bool:
        """Whether this machine's time has reached max_cost after so many seconds."""
        if self.max_cost is None or not isinstance(self.price, LocalPrice):
            return False
        return float(self.price.of(seconds)) >= self.max_cost

    def needed(self, prompt_tokens: int, completion_tokens: int) -> str:
        """The most that a request can use of the limited quantities, in words."""
        parts = [f"{prompt_tokens + completion_tokens:,} tokens"] if self.max_tokens is not None else []
        if self.max_cost is not None and isinstance(self.price, ModelPrice):
            parts += [f"{float(self.price.of(prompt_tokens, completion_tokens)):.3g} US dollars"]
        return " and ".join(parts)

    def __str__(self) -> str:
        parts = [f"max_tokens={self.max_tokens:,}"] if self.max_tokens is not None else []
        parts += [f"max_cost={self.max_cost:g}"] if self.max_cost is not None else []
        return f"stopped at {' and '.join(parts)}"


NO_BUDGET = Budget()
