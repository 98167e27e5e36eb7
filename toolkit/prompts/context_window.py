"""Context window: leaves parts of a prompt out until it fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from toolkit._internal.text import short_repr
from toolkit._internal.validation import Whole
from toolkit.prompts.messages import Messages

STRATEGIES = ("turns", "examples", "documents", "refuse")
Parts = Mapping[str, Sequence[Any]]
Dropped = dict[str, int]
"""Number of turns, of examples, and of characters of documents that were left out."""


class TokenCounter(Protocol):
    """The part of an engine's interface that `fit` uses."""

    @property
    def window(self) -> int: ...

    def count(self, request: Any) -> int: ...


def fit(
    build: Callable[[Parts], Messages],
    parts: Parts,
    engine: TokenCounter,
    reserve: int,
    strategy: str | Sequence[str],
) -> tuple[Parts, Dropped, int]:
    """The parts that fit, what was left out, and the number of prompt tokens. `build` makes messages from parts:
    "turns" (exchanges), "examples", and "documents" (dicts with a text).

    Raises ValueError, with the numbers, when the prompt is too long even without all of the strategy's parts.
    """
    if not all(hasattr(engine, name) for name in ("count", "window")):
        raise TypeError(
            f"engine must count tokens and have a window, got {short_repr(engine)}: toolkit.load() makes one"
        )
    reserve = Whole(1, None, "the max_tokens of the answer")("reserve", reserve)
    kept, dropped = dict(parts), Dropped()

    def count_tokens(changed: Parts) -> int:
        try:
            return engine.count(build({**kept, **changed}))
        except ValueError:
            if not changed:
                raise
            return engine.window + 1  # no message remains: too much was left out

    full_tokens = count_tokens({})
    for name in _names(strategy):
        if name == "refuse" or count_tokens({}) + reserve <= engine.window:
            break
        size, shorten = _PART_TYPES[name]

        def fits(left_out: int, name: str = name, shorten: _Shorten = shorten) -> bool:
            return count_tokens({name: shorten(kept[name], left_out)}) + reserve <= engine.window

        excess = _fewest(fits, size(kept[name]))
        if excess:
            dropped[name] = _dropped_count(name, kept[name], excess)
            kept[name] = shorten(kept[name], excess)
    try:
        prompt_tokens = count_tokens({})
    except ValueError as error:
        too_long = _too_long(full_tokens, full_tokens, reserve, engine.window, {})
        raise ValueError(f"{too_long}. What is left without them cannot be sent: {error}") from None
    if prompt_tokens + reserve > engine.window:
        raise ValueError(_too_long(full_tokens, prompt_tokens, reserve, engine.window, dropped))
    return kept, dropped, prompt_tokens


_UNITS = {"documents": "characters of documents"}
_Shorten = Callable[[Sequence[Any], int], Sequence[Any]]


def _names(strategy: str | Sequence[str]) -> tuple[str, ...]:
    names = (strategy,) if isinstance(strategy, str) else tuple(strategy)
    for name in names:
        if name not in STRATEGIES:
            raise ValueError(
                f"strategy must be of {', '.join(STRATEGIES)} (or several, in order), got {short_repr(name)}"
            )
    return names


def _fewest(fits: Callable[[int], bool], most: int) -> int:
    """The smallest number to leave out so that the rest fits, by binary search; `most` when none below it does."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low


def _without_first(items: Sequence[Any], left_out: int) -> Sequence[Any]:
    return items[left_out:]


def _characters(documents: Sequence[Any]) -> int:
    return sum(len(d["text"]) for d in documents)


def _without_end(documents: Sequence[Any], left_out: int) -> Sequence[Any]:
    """Documents without their last characters; one that is cut to nothing is removed."""
    room, shortened = _characters(documents) - left_out, []
    for document in documents:
        text = document["text"][:room]
        room -= len(text)
        if text:
            shortened.append({"text": text})
    return tuple(shortened)


_PART_TYPES: dict[str, tuple[Callable[[Sequence[Any]], int], _Shorten]] = {
    "turns": (len, _without_first),
    "examples": (len, _without_first),
    "documents": (_characters, _without_end),
}
"""Name of a part → its size, and a function that leaves out some of it."""


def _dropped_count(name: str, items: Sequence[Any], left_out: int) -> int:
    """Exchanges are counted by their messages."""
    return sum(len(exchange) for exchange in items[:left_out]) if name == "turns" else left_out


def _too_long(full_tokens: int, prompt_tokens: int, reserve: int, window: int, dropped: Dropped) -> str:
    omitted = ", ".join(f"{n} {_UNITS.get(name, name)}" for name, n in dropped.items())
    before = f" ({full_tokens} before leaving out {omitted})" if dropped else ""
    return (
        f"the prompt has {prompt_tokens} tokens{before} and {reserve} are kept for the answer: "
        f"{prompt_tokens + reserve} do not fit the context window of {window}. Shorten the prompt, keep less for "
        "the answer, or let more be left out (strategy)"
    )
