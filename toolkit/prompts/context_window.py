"""Window: leaving parts of a prompt out until it fits the context window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from toolkit.messages import Messages
from toolkit.sampling import Whole

STRATEGIES = ("turns", "examples", "documents", "refuse")
Parts = Mapping[str, Sequence[Any]]
Dropped = dict[str, int]
"""What was left out: numbers of turns and of examples, characters of documents."""


class Window(Protocol):
    """What `fit` needs of an engine."""

    @property
    def window(self) -> int: ...

    def count(self, request: Any) -> int: ...


def fit(
    build: Callable[[Parts], Messages],
    parts: Parts,
    engine: Window,
    reserve: int,
    strategy: str | Sequence[str],
) -> tuple[Parts, Dropped, int]:
    """The parts that fit, what was left out, and the prompt tokens. `build` makes messages of parts: "turns"
    (exchanges), "examples", and "documents" (dicts with a text).

    Raises ValueError, with the numbers, when leaving all of the strategy's parts out is not enough.
    """
    reserve = Whole(1, None, "the max_tokens of the answer")("reserve", reserve)
    kept, dropped = dict(parts), Dropped()

    def tokens(changed: Parts) -> int:
        try:
            return engine.count(build({**kept, **changed}))
        except ValueError:
            if not changed:
                raise
            return engine.window + 1  # nothing is left to ask: too much was left out

    whole = tokens({})
    for name in _names(strategy):
        if name == "refuse" or tokens({}) + reserve <= engine.window:
            break
        size, shorten = _KINDS[name]

        def fits(left_out: int, name: str = name, shorten: _Shorten = shorten) -> bool:
            return tokens({name: shorten(kept[name], left_out)}) + reserve <= engine.window

        out = _fewest(fits, size(kept[name]))
        if out:
            dropped[name] = _dropped(name, kept[name], out)
            kept[name] = shorten(kept[name], out)
    try:
        have = tokens({})
    except ValueError:
        raise ValueError(_too_long(whole, whole, reserve, engine.window, {})) from None
    if have + reserve > engine.window:
        raise ValueError(_too_long(whole, have, reserve, engine.window, dropped))
    return kept, dropped, have


_UNITS = {"documents": "characters of documents"}
_Shorten = Callable[[Sequence[Any], int], Sequence[Any]]


def _names(strategy: str | Sequence[str]) -> tuple[str, ...]:
    names = (strategy,) if isinstance(strategy, str) else tuple(strategy)
    for name in names:
        if name not in STRATEGIES:
            raise ValueError(
                f"strategy must be of {', '.join(STRATEGIES)} (or several, in order), got {name!r}"
            )
    return names


def _fewest(fits: Callable[[int], bool], most: int) -> int:
    """The fewest to leave out so that the rest fits; all of them when nothing less does."""
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
    """Documents without their last characters; one that is cut to nothing is gone."""
    room, found = _characters(documents) - left_out, []
    for document in documents:
        text = document["text"][:room]
        room -= len(text)
        if text:
            found.append({"text": text})
    return tuple(found)


_KINDS: dict[str, tuple[Callable[[Sequence[Any]], int], _Shorten]] = {
    "turns": (len, _without_first),
    "examples": (len, _without_first),
    "documents": (_characters, _without_end),
}


def _dropped(name: str, items: Sequence[Any], out: int) -> int:
    return sum(len(exchange) for exchange in items[:out]) if name == "turns" else out


def _too_long(whole: int, have: int, reserve: int, window: int, dropped: Dropped) -> str:
    left = ", ".join(f"{n} {_UNITS.get(name, name)}" for name, n in dropped.items())
    after = f" ({whole} before leaving out {left})" if dropped else ""
    return (
        f"the prompt has {have} tokens{after} and {reserve} are kept for the answer: {have + reserve} do not fit "
        f"the context window of {window}. Shorten the prompt, keep less for the answer, or let more be left out "
        "(strategy)"
    )
