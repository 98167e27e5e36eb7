"""Branching: another token at a step of an answer, and what the model makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.choice import ARRAYS, Choice
from toolkit.completion import Completion
from toolkit.request import Request
from toolkit.sampling import DEFAULT_MAX_TOKENS, Sampling

if TYPE_CHECKING:
    from toolkit.engine import Engine

_ANEW = ("frequency_penalty", "presence_penalty", "min_tokens", "seed")
"""Settings that vLLM counts from the first token it generates itself: in a branch from the fork on."""


def branch(engine: Engine, completion: Completion, at: int, token: str | int, choice: int = 0) -> Completion:
    """See `Engine.branch`."""
    (found,) = branches(engine, [(completion, choice, at, token)])
    return found


def branches(engine: Engine, forks: list[tuple[Completion, int, int, str | int]]) -> list[Completion]:
    """Many branches as one batch: (completion, choice, step, token) each. Raises ValueError or RequestError."""
    from toolkit.engine import RequestError

    made = [_Branch(engine, *fork) for fork in forks]
    requests = {b.request.key: b.request for b in made if not b.ended}
    found = {c.request.key: c for c in engine.generate(requests.values())}
    for completion in found.values():
        if completion.error is not None:
            raise RequestError(completion.error)
    return [b.at_its_end() if b.ended else b.joined(found[b.request.key]) for b in made]


class _Branch:
    def __init__(
        self, engine: Engine, completion: Completion, choice: int, at: int, token: str | int
    ) -> None:
        self.parent, self.at = completion, at
        self.choice = _choice(completion, choice, at)
        if self.choice.vocabulary is None or self.choice.vocabulary() != engine.vocabulary:
            raise ValueError(
                f"the completion of {completion.model!r} has another tokenizer than {engine.model!r}: branch it with "
                "the engine that made it"
            )
        self.token_ids = _ids(engine, self.choice, at, token)
        self.ended = self.token_ids[-1] in engine.ends
        self.prefix = (*self.choice.token_ids[:at].tolist(), *self.token_ids)
        asked = _request(completion.request, self.prefix, self._place is None)
        self.request = asked.resolve(engine.defaults)

    @property
    def _place(self) -> int | None:
        """Where the token stands among the most likely ones of its step; None where it does not."""
        c = self.choice
        if len(self.token_ids) > 1 or c.top_ids is None or self.at >= len(c.top_ids):
            return None
        return next(iter(np.flatnonzero(c.top_ids[self.at] == self.token_ids[0]).tolist()), None)

    def joined(self, found: Completion) -> Completion:
        """The branch with the log probabilities of what came before the fork, where they are known."""
        (own,) = found.choices
        if self._place is not None and own.logprobs is not None:
            head = self._head()
            own = replace(own, **{n: np.concatenate([head[n], getattr(own, n)[own.given :]]) for n in head})
        return replace(found, choices=(own,), prompt=self.parent.prompt, notes=self._notes(found))

    def at_its_end(self) -> Completion:
        """A branch whose token ends the text: there is nothing to ask."""
        raw = b"".join(map(self.choice.token_bytes, self.prefix[:-1]))
        own = replace(
            self.choice,
            index=0,
            text=raw.decode("utf-8", "replace"),
            finish_reason="stop",
            stop_reason=None,
            given=len(self.prefix),
            tool_calls=(),
            **self._head(),
        )
        usage = replace(self.parent.usage, completion_tokens=0)
        notes = self._notes(self.parent)
        return replace(self.parent, request=self.request, choices=(own,), usage=usage, notes=notes)

    def _head(self) -> dict[str, Any]:
        """The arrays up to the fork and of the token that is taken there."""
        c, place, taken = self.choice, self._place, len(self.token_ids)
        known = {n: a for n in ARRAYS if (a := getattr(c, n)) is not None}
        if place is None:
            found = {n: _and_unknown(a[: self.at], taken) for n, a in known.items()}
        else:
            found = {n: a[: self.at + 1].copy() for n, a in known.items()}
            found["logprobs"][-1] = found["top_logprobs"][-1, place]
            found["ranks"][-1] = 1 + (found["top_logprobs"][-1] > found["logprobs"][-1]).sum()
        return {**found, "token_ids": np.array(self.prefix, np.int32)}

    def _notes(self, found: Completion) -> dict[str, Any]:
        text = b"".join(map(self.choice.token_bytes, self.token_ids)).decode("utf-8", "replace")
        given = self.request.sampling.canonical()
        anew = [name for name in _ANEW if name in given]
        note = {"of": self.parent.id, "choice": self.choice.index, "at": self.at, "token": text}
        return {**found.notes, "branch": {**note, **({"counted anew": anew} if anew else {})}}


def _and_unknown(array: Any, steps: int) -> Any:
    empty = np.nan if array.dtype == np.float32 else 0
    return np.concatenate([array, np.full((steps, *array.shape[1:]), empty, array.dtype)])


def _choice(completion: Completion, index: int, at: int) -> Choice:
    if completion.error is not None:
        raise ValueError(f"this completion is an error and has no tokens: {completion.error}")
    if not 0 <= index < len(completion.choices):
        raise IndexError(f"choice must be 0 to {len(completion.choices) - 1}, got {index}")
    choice = completion.choices[index]
    if not 0 <= at <= len(choice.token_ids):
        raise IndexError(
            f"at must be 0 to {len(choice.token_ids)}, the number of the answer's tokens, got {at}"
        )
    if completion.request.constraint is not None:
        raise ValueError(
            "an answer held to a form cannot be branched: the grammar would start anew at the fork"
        )
    return choice


def _ids(engine: Engine, choice: Choice, at: int, token: str | int) -> tuple[int, ...]:
    """The ids of the token: as text, one of the most likely at that step, or else as the tokenizer has it."""
    if isinstance(token, str):
        if choice.top_ids is not None and at < len(choice.top_ids):
            for token_id in choice.top_ids[at].tolist():
                if choice.token_bytes(token_id) == token.encode():
                    return (token_id,)
        return engine.encode(Request(prompt=(0,), prefix=token))[1:]
    if isinstance(token, bool) or not hasattr(token, "__index__") or not 0 <= token < len(engine.vocabulary):
        raise ValueError(f"token must be text or an id from 0 to {len(engine.vocabulary) - 1}, got {token!r}")
    return (int(token),)


def _request(asked: Request, prefix: tuple[int, ...], score: bool) -> Request:
    """The parent's request with the new beginning; `score` where the log probability of the token is to be found."""
    given = asked.sampling.given() | {"n": 1}
    given["max_tokens"] = max(1, (asked.sampling.max_tokens or DEFAULT_MAX_TOKENS) - len(prefix))
    given["min_tokens"] = min(given.get("min_tokens", 0), given["max_tokens"])
    given.pop("prompt_logprobs", None)
    if score and asked.sampling.logprobs:
        given["prompt_logprobs"] = asked.sampling.top_logprobs or 0
    return replace(asked, prefix=prefix, sampling=Sampling(**given))
