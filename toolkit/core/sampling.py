"""Sampling: how the next token is chosen. OpenAI's field names and ranges, then vLLM's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from toolkit._internal.field_docs import documented
from toolkit._internal.jsonable import data_value
from toolkit._internal.text import short_repr
from toolkit._internal.validation import Real, Whole, encodable, instance_of, limited_list, named_fields_only
from toolkit.core.openai_names import HINTS, standard_names

DEFAULT_MAX_TOKENS = 256
"""The default of max_tokens; OpenAI's (the rest of the context window) lets a small model that never stops run
for minutes."""


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        # OpenAI's legacy completions take a number here.
        fix = f": give top_logprobs={value!r}" if name == "logprobs" and isinstance(value, int) else ""
        raise ValueError(f"{name} must be True or False, got {short_repr(value)}{fix}")
    return value


def _strings(name: str, value: object) -> tuple[str, ...]:
    items = (value,) if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(s, str) and s for s in items):
        raise ValueError(f"{name} must be a non-empty string or a list of them, got {short_repr(value)}")
    return tuple(encodable(name, data_value(item)) for item in items)


_token_id = Whole(0, None, "token ids are whole numbers from 0 up")


def _token_ids(name: str, value: object) -> tuple[int, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ValueError(f"{name} must be a list of token ids, got {short_repr(value)}")
    return tuple(_token_id(name, item) for item in limited_list(name, value))


_bias = Real(-100, 100, "−100 bans the token, 100 forces it")


def _logit_bias(name: str, value: object) -> tuple[tuple[int, float], ...]:
    """As sorted pairs, so that a Sampling is hashable; OpenAI's JSON has the IDs as strings."""
    pairs = value.items() if isinstance(value, Mapping) else value
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Iterable):
        raise ValueError(f"{name} must map token ids to numbers from -100 to 100, got {short_repr(value)}")
    biases = {}
    for key, number in pairs:
        bias = _bias(name, number)
        biases[_token_id(name, int(key) if isinstance(key, str) and key.isdigit() else key)] = bias
    return tuple(sorted(biases.items()))


_penalty = Real(-2, 2, "0 is off, 0.1 to 1 reduces repetition, up to 2 suppresses it")
_RULES: dict[str, Callable[[str, object], Any]] = {
    "temperature": Real(0, 2, "0 is greedy, 1 is the model's own distribution"),
    "top_p": Real(0, 1, "1 keeps every token", open_low=True),
    "frequency_penalty": _penalty,
    "presence_penalty": _penalty,
    "seed": Whole(0, 2**63 - 1, "use a whole number such as 7, or leave it out for a fresh draw each time"),
    "n": Whole(1, 16384, "the number of choices to return for the request"),
    "max_tokens": Whole(1, None, "the most tokens to generate"),
    "stop": _strings,
    "logprobs": _flag,
    "top_logprobs": Whole(-1, None, "0 is the chosen token only, -1 the whole vocabulary"),
    "prompt_logprobs": Whole(-1, None, "0 is the prompt's own tokens only, -1 the whole vocabulary"),
    "logit_bias": _logit_bias,
    "top_k": Whole(0, None, "0 keeps every token"),
    "min_p": Real(0, 1, "0 keeps every token"),
    "repetition_penalty": Real(0, math.inf, "1 is off", open_low=True),
    "min_tokens": Whole(0, None, "0 is off"),
    "stop_token_ids": _token_ids,
    "ignore_eos": _flag,
    "bad_words": _strings,
    "allowed_token_ids": _token_ids,
    "include_stop_str_in_output": _flag,
    "skip_special_tokens": _flag,
}
NEUTRAL: dict[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "max_tokens": DEFAULT_MAX_TOKENS,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "min_tokens": 0,
    "ignore_eos": False,
    "include_stop_str_in_output": False,
    "skip_special_tokens": True,
    "logprobs": False,
    "n": 1,
}
"""The value of a field that neither the caller nor the model's generation config sets."""
_RANDOM_ONLY = ("seed", "top_p", "top_k", "min_p")
"""Fields without effect at temperature 0, where the most likely token is always taken."""


@documented
@named_fields_only("sampling option", standard_names, HINTS)
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen and what is reported about it. Frozen, hashable, validated on creation.

    A field left at None is unset: the model's own generation config decides, then `NEUTRAL`. Ranges are
    OpenAI's (https://platform.openai.com/docs/api-reference/chat/create) where OpenAI has the field and
    vLLM's otherwise (https://docs.vllm.ai, SamplingParams). OpenAI's max_completion_tokens is taken as max_tokens.

    Raises ValueError for a value out of range and TypeError for an unknown field, naming the nearest one.
    """

    temperature: float | None = None
    """0 to 2; 0 takes the most likely token. vLLM raises values under 0.01 to 0.01."""
    top_p: float | None = None
    """Above 0, up to 1: keep the most likely tokens that together have this probability."""
    frequency_penalty: float | None = None
    """−2 to 2, subtracted from a token's logit once for each time it was already generated."""
    presence_penalty: float | None = None
    """−2 to 2, subtracted once from the logit of every token already generated."""
    seed: int | None = None
    """0 to 2**63 − 1. With n > 1 the choices take seed, seed + 1, …"""
    n: int | None = None
    """Choices per request. More than 1 needs a temperature above 0."""
    max_tokens: int | None = None
    """Most tokens to generate (default 256); fewer if the context window ends first."""
    stop: tuple[str, ...] | None = None
    """Strings that end the text; a single string is accepted."""
    logprobs: bool | None = None
    """Report the log probability (natural, before temperature and penalties) of each chosen token."""
    top_logprobs: int | None = None
    """Also those of the k most likely tokens at each step; implies logprobs."""
    prompt_logprobs: int | None = None
    """Also those of the prompt's tokens, and of the k most likely ones at each position, as `c.prompt`."""
    logit_bias: tuple[tuple[int, float], ...] | None = None
    """{token ID: −100 to 100}, added to the logits."""
    top_k: int | None = None
    """Keep the k most likely tokens; 0 keeps all."""
    min_p: float | None = None
    """0 to 1: drop tokens less likely than this share of the most likely one."""
    repetition_penalty: float | None = None
    """Above 0, 1 is off: divides the logits of tokens seen in prompt or output."""
    min_tokens: int | None = None
    """Tokens before which the text cannot end."""
    stop_token_ids: tuple[int, ...] | None = None
    """Token IDs that end the text."""
    ignore_eos: bool | None = None
    """Continue after the end-of-text token, up to max_tokens."""
    bad_words: tuple[str, ...] | None = None
    """Words that are never generated; with a choice as response_format, no choice that contains one."""
    allowed_token_ids: tuple[int, ...] | None = None
    """Only these tokens may be generated."""
    include_stop_str_in_output: bool | None = None
    """Keep the stop string at the end of the text."""
    skip_special_tokens: bool | None = None
    """Leave special tokens out of the text (default True)."""

    def __post_init__(self) -> None:
        for name, rule in _RULES.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, rule(name, value))
        if self.top_logprobs is not None:
            if self.logprobs is False:
                raise ValueError(
                    f"logprobs=False contradicts top_logprobs={self.top_logprobs}: leave one out"
                )
            object.__setattr__(self, "logprobs", True)
        if self.temperature == 0 and (self.n or 1) > 1:
            raise ValueError(f"n must be 1 at temperature 0, got {self.n}: greedy choices are all the same")
        if self.seed is not None and self.seed + (self.n or 1) > 2**63:
            raise ValueError(f"seed + n must stay below 2**63, got seed={self.seed}, n={self.n}")
        if self.min_tokens and self.min_tokens > (self.max_tokens or DEFAULT_MAX_TOKENS):
            limit = self.max_tokens or DEFAULT_MAX_TOKENS
            raise ValueError(f"min_tokens must be at most max_tokens ({limit}), got {self.min_tokens}")

    def given(self) -> dict[str, Any]:
        """The fields that are set, in declaration order."""
        return {name: value for name in _RULES if (value := getattr(self, name)) is not None}

    def with_(self, **changes: Any) -> Sampling:
        """A copy with some fields changed."""
        return Sampling(**{**self.given(), **standard_names(changes)})

    def resolve(self, defaults: Mapping[str, Any]) -> Sampling:
        """Everything that decides the output, made explicit: unset fields from `defaults` (the model's generation
        config), then `NEUTRAL`; fields without effect (a seed at temperature 0) become neutral."""
        instance_of(Mapping, "defaults", defaults, "engine.defaults are")  # type: ignore[type-abstract]
        model_defaults = {name: value for name, value in defaults.items() if name in _RULES}
        values = {**NEUTRAL, **model_defaults, **self.given()}
        if values["temperature"] == 0:
            values |= {name: NEUTRAL.get(name) for name in _RANDOM_ONLY}
        explicit = {name: value for name, value in values.items() if value is not None}
        return self if explicit == self.given() else Sampling(**explicit)

    def canonical(self) -> dict[str, Any]:
        """The fields that differ from `NEUTRAL`: what identifies a resolved Sampling, so that a field added
        by a later version changes no stored key."""
        return {k: v for k, v in self.given().items() if NEUTRAL.get(k) != v}


FIELDS = tuple(_RULES)
"""Every field of Sampling, in declaration order."""


def rule(name: str) -> Callable[[str, object], Any]:
    """The rule that checks a field's value, called as rule(name, value). `Real` and `Whole` have a range."""
    return _RULES[name]
