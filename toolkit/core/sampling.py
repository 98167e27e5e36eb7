"""Sampling: how the next token is chosen. OpenAI's field names and ranges, then vLLM's own."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

DEFAULT_MAX_TOKENS = 256
"""Tokens generated when nobody says otherwise; OpenAI's default (the rest of the window) lets a small model
that never stops run for minutes."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that does not exist: names the nearest one that does."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
    return f"unknown {kind} {name!r}: {hint}"


def named_fields_only(kind: str) -> Callable[[type[T]], type[T]]:
    """Class decorator: an unknown keyword argument is refused with the nearest known name."""

    def decorate(cls: type[T]) -> type[T]:
        names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        build = cls.__init__

        @functools.wraps(build)
        def init(self: Any, *args: Any, **options: Any) -> None:
            for name in options.keys() - names:
                raise TypeError(unknown(kind, name, names))
            build(self, *args, **options)

        cls.__init__ = init  # type: ignore[method-assign]
        return cls

    return decorate


@dataclass(frozen=True)
class Real:
    """A finite number in a range, of Python or NumPy (bool is not one); `open_low` leaves the lower end out."""

    low: float
    high: float
    fix: str
    open_low: bool = False

    def __call__(self, name: str, value: object) -> float:
        number = _finite(value)
        if number is None or not self._inside(number):
            raise ValueError(f"{name} must be a number {self._range()}, got {value!r}: {self.fix}")
        return number

    def _inside(self, value: float) -> bool:
        return (value > self.low if self.open_low else value >= self.low) and value <= self.high

    def _range(self) -> str:
        low = f"above {self.low:g}" if self.open_low else f"from {self.low:g}"
        if math.isinf(self.high):
            return low if self.open_low else f"{low} up"
        return f"{low} to {self.high:g}"


def _finite(value: object) -> float | None:
    """A number as a float; None for what is none, and for one that is not finite or too large."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


@dataclass(frozen=True)
class Whole:
    """A whole number in a range (bool is not one)."""

    low: int
    high: int | None
    fix: str

    def __call__(self, name: str, value: object) -> int:
        # NumPy's integers have __index__ as well; floats have not, even whole ones.
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise ValueError(f"{name} must be a whole number, got {value!r}: {self.fix}")
        number = value.__index__()
        if number < self.low or (self.high is not None and number > self.high):
            high = "up" if self.high is None else f"to {self.high}"
            raise ValueError(
                f"{name} must be a whole number from {self.low} {high}, got {value!r}: {self.fix}"
            )
        return int(number)


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return value


def _strings(name: str, value: object) -> tuple[str, ...]:
    items = (value,) if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(s, str) and s for s in items):
        raise ValueError(f"{name} must be a non-empty string or a list of them, got {value!r}")
    return tuple(items)


_token_id = Whole(0, None, "token ids are whole numbers from 0 up")


def _token_ids(name: str, value: object) -> tuple[int, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ValueError(f"{name} must be a list of token ids, got {value!r}")
    return tuple(_token_id(name, item) for item in value)


_bias = Real(-100, 100, "−100 bans the token, 100 forces it")


def _logit_bias(name: str, value: object) -> tuple[tuple[int, float], ...]:
    """Kept as sorted pairs, so that a Sampling is hashable; OpenAI's JSON has the ids as strings."""
    pairs = value.items() if isinstance(value, Mapping) else value
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Iterable):
        raise ValueError(f"{name} must map token ids to numbers from -100 to 100, got {value!r}")
    found = {}
    for key, bias in pairs:
        found[_token_id(name, int(key) if isinstance(key, str) and key.isdigit() else key)] = _bias(
            name, bias
        )
    return tuple(sorted(found.items()))


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
"""What a field means when neither the caller nor the model's generation config sets it."""

_RANDOM_ONLY = ("seed", "top_p", "top_k", "min_p")
"""Fields that change nothing at temperature 0, where the most likely token is always taken."""


@named_fields_only("sampling option")
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen and what is reported about it. Frozen, hashable, validated when made.

    A field left at None is unset: the model's own generation config decides, then `NEUTRAL`. Ranges are
    OpenAI's (https://platform.openai.com/docs/api-reference/chat/create) where OpenAI has the field and
    vLLM's otherwise (https://docs.vllm.ai, SamplingParams).

    Raises ValueError for a value out of range and TypeError for an unknown field, naming the nearest one.
    """

    temperature: float | None = None
    """0 to 2; 0 takes the most likely token. vLLM raises values under 0.01 to 0.01."""
    top_p: float | None = None
    """Above 0, up to 1: keep the most likely tokens that together have this probability."""
    frequency_penalty: float | None = None
    """−2 to 2, subtracted from a token's logit once for each time it was generated already."""
    presence_penalty: float | None = None
    """−2 to 2, subtracted once from the logit of every token generated already."""
    seed: int | None = None
    """0 to 2**63 − 1. With n > 1 the choices take seed, seed + 1, …"""
    n: int | None = None
    """Choices per request. More than 1 needs a temperature above 0."""
    max_tokens: int | None = None
    """Most tokens to generate (default 256); fewer where the context window ends first."""
    stop: tuple[str, ...] | None = None
    """Strings that end the text; a single string is accepted."""
    logprobs: bool | None = None
    """Report the log probability (natural, before temperature and penalties) of each chosen token."""
    top_logprobs: int | None = None
    """Also those of the k most likely tokens at each step; implies logprobs."""
    prompt_logprobs: int | None = None
    """Also report those of the prompt's tokens, and of the k most likely ones at each place, as `c.prompt`."""
    logit_bias: tuple[tuple[int, float], ...] | None = None
    """{token id: −100 to 100}, added to the logits."""
    top_k: int | None = None
    """Keep the k most likely tokens; 0 keeps all."""
    min_p: float | None = None
    """0 to 1: drop tokens less likely than this share of the most likely one."""
    repetition_penalty: float | None = None
    """Above 0, 1 is off: divides the logits of tokens seen in prompt or output."""
    min_tokens: int | None = None
    """No end of text before this many tokens."""
    stop_token_ids: tuple[int, ...] | None = None
    """Token ids that end the text."""
    ignore_eos: bool | None = None
    """Go on after the end-of-text token, up to max_tokens."""
    bad_words: tuple[str, ...] | None = None
    """Words that are never generated."""
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
        return Sampling(**{**self.given(), **changes})

    def resolve(self, defaults: Mapping[str, Any]) -> Sampling:
        """All that decides the output made explicit: unset fields from `defaults` (the model's generation
        config), then `NEUTRAL`; what cannot matter made neutral (a seed at temperature 0)."""
        own = {name: value for name, value in defaults.items() if name in _RULES}
        values = {**NEUTRAL, **own, **self.given()}
        if values["temperature"] == 0:
            values |= {name: NEUTRAL.get(name) for name in _RANDOM_ONLY}
        return Sampling(**values)

    def canonical(self) -> dict[str, Any]:
        """The fields that differ from `NEUTRAL`: what identifies a resolved Sampling, so that a field added
        by a later version changes no stored key."""
        return {k: v for k, v in self.given().items() if NEUTRAL.get(k) != v}


FIELDS = tuple(_RULES)
"""Every field of Sampling, in declaration order."""


def rule(name: str) -> Callable[[str, object], Any]:
    """The rule of a field: checks a value, called as rule(name, value). `Real` and `Whole` know their range."""
    return _RULES[name]
