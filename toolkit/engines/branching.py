"""Branching: another token at a step of an answer, and what the model makes of it."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.choice import ARRAYS, Choice
from toolkit.completion import Completion, Usage
from toolkit.messages import encodable
from toolkit.request import Request
from toolkit.sampling import DEFAULT_MAX_TOKENS, Sampling

if TYPE_CHECKING:
    from toolkit.engine import Engine

_ANEW = ("frequency_penalty", "presence_penalty", "seed")
"""Settings that vLLM counts from the first token it generates itself: in a branch from the fork on."""


def branch(engine: Engine, completion: Completion, at: int, token: str | int, choice: int = 0) -> Completion:
    """See `Engine.branch`."""
    (found,) = branches(engine, [(completion, choice, at, token)])
    return found


def branches(engine: Engine, forks: list[tuple[Completion, int, int, str | int]]) -> list[Completion]:
    """Many branches as one batch: (completion, choice, step, token) each. Raises ValueError or RequestError."""
    from toolkit.engine import RequestError

    made = [_Branch(engine, *fork) for fork in forks]
    requests = {b.request.key: b.request for b in made if b.end is None}
    found = {c.request.key: c for c in engine.generate(requests.values())}
    for completion in found.values():
        if completion.error is not None:
            raise RequestError(completion.error)
    return [b.joined(found[b.request.key]) if b.end is None else b.at_its_end() for b in made]


class _Branch:
    def __init__(
        self, engine: Engine, completion: Completion, choice: int, at: int, token: str | int
    ) -> None:
        self.parent, self.at, self.ends = completion, at, engine.ends
        found = _choice(completion, choice, at)
        if completion.system_fingerprint != engine.fingerprint.id and (
            found.vocabulary is None or found.vocabulary() != engine.vocabulary
        ):
            raise ValueError(
                f"the completion of {completion.model!r} has another tokenizer than {engine.model!r}: branch it with "
                "the engine that made it"
            )
        self.choice = replace(found, vocabulary=lambda: engine.vocabulary)
        self.token_ids = _ids(engine, self.choice, at, token)
        self.prefix = (*found.token_ids[:at].tolist(), *self.token_ids)
        # Limits are those of the whole; after the answer's end, where nothing may be left, they count anew.
        self.after = at == len(found.token_ids)
        self.counted = len(self.token_ids) if self.after else len(self.prefix) - found.given
        self.left = (completion.request.sampling.max_tokens or DEFAULT_MAX_TOKENS) - self.counted
        self.request = self._asked().resolve(engine.defaults)

    def _asked(self) -> Request:
        """The parent's request with the new beginning."""
        asked = self.parent.request
        given = asked.sampling.given() | {"n": 1, "max_tokens": max(1, self.left)}
        if given.get("min_tokens"):
            given["min_tokens"] = min(max(0, given["min_tokens"] - self.counted), given["max_tokens"])
        given.pop("prompt_logprobs", None)
        if self._place is None and asked.sampling.logprobs:  # the log probability of the token is to be found
            given["prompt_logprobs"] = asked.sampling.top_logprobs or 0
        return replace(asked, prefix=self.prefix, sampling=Sampling(**given))

    @cached_property
    def end(self) -> tuple[str, str | int | None, str] | None:
        """finish_reason, stop_reason and text, where the token ends the answer; None where the model goes on."""
        sampling, last = self.request.sampling, self.prefix[-1]
        ends = last in self.ends and not sampling.ignore_eos
        if ends or last in (sampling.stop_token_ids or ()):
            shown = self.prefix if sampling.include_stop_str_in_output else self.prefix[:-1]
            return "stop", None if ends else last, self._text(shown)
        # The last character before the fork may be complete only after it.
        text, before = self._text(self.prefix), len(self._text(self.prefix[: self.at]).rstrip("\ufffd"))
        for stop in () if sampling.min_tokens else sampling.stop or ():
            begin = text.find(stop, max(0, before - len(stop) + 1))
            if begin >= 0:
                end = begin + len(stop) if sampling.include_stop_str_in_output else begin
                return "stop", stop, text[:end]
        return None if self.left > 0 else ("length", None, text)

    def _text(self, token_ids: tuple[int, ...]) -> str:
        named = self.request.sampling.skip_special_tokens is False
        shown = (i for i in token_ids if named or i not in self.ends)
        return b"".join(map(self.choice.token_bytes, shown)).decode("utf-8", "replace")

    @property
    def _place(self) -> int | None:
        """Where the token stands among the most likely ones of its step; None where it does not."""
        c = self.choice
        if len(self.token_ids) > 1 or c.top_ids is None or self.at >= len(c.top_ids):
            return None
        assert c.top_logprobs is not None
        known = (c.top_ids[self.at] == self.token_ids[0]) & ~np.isnan(c.top_logprobs[self.at])
        return next(iter(np.flatnonzero(known).tolist()), None)

    def joined(self, found: Completion) -> Completion:
        """The branch with the log probabilities of what came before the fork, where they are known."""
        (own,) = found.choices
        if own.logprobs is not None and self.choice.logprobs is not None:
            head = self._head()
            known = np.flatnonzero(~np.isnan(head["logprobs"]))
            arrays = {name: getattr(own, name).copy() for name in head}
            for name, array in arrays.items():
                array[known] = head[name][known]
            own = replace(own, **arrays)
        return replace(found, choices=(own,), prompt=self.parent.prompt, notes=self._notes(found))

    def at_its_end(self) -> Completion:
        """A branch whose token ends the answer: there is nothing to ask."""
        assert self.end is not None
        reason, stop, text = self.end
        echoed = self.parent.prompt.text if self.parent.request.echo and self.parent.prompt else ""
        own = replace(
            self.choice,
            index=0,
            text=echoed + text,
            finish_reason=reason,
            stop_reason=stop,
            given=len(self.prefix),
            tool_calls=(),
            **self._head(),
        )
        return replace(
            self.parent,
            request=self.request,
            choices=(own,),
            usage=Usage(),
            id=uuid.uuid4().hex,
            created=time.time(),
            seconds=None,
            first_token_seconds=None,
            position=None,
            notes=self._notes(self.parent),
        )

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
        anew = [name for name in _ANEW if name in given] + ["max_tokens"] * self.after
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
    if not hasattr(at, "__index__") or not 0 <= at <= len(choice.token_ids):
        raise IndexError(
            f"at must be 0 to {len(choice.token_ids)}, the number of the answer's tokens, got {at}"
        )
    if completion.request.constraint is not None:
        raise ValueError(
            "an answer held to a form cannot be branched: the grammar would start anew at the fork"
        )
    if completion.request.suffix is not None or completion.request.has_images:
        raise ValueError(
            "an answer to images, or before a suffix, cannot be branched: it cannot begin with a prefix"
        )
    return choice


def _ids(engine: Engine, choice: Choice, at: int, token: str | int) -> tuple[int, ...]:
    """The ids of the token: as text, one of the most likely at that step, or else as the tokenizer has it."""
    if isinstance(token, str):
        raw = encodable("token", token).encode()
        if choice.top_ids is not None and at < len(choice.top_ids):
            for token_id in choice.top_ids[at].tolist():
                if choice.token_bytes(token_id) == raw:
                    return (token_id,)
        found = engine.encode(Request(prompt=(0,), prefix=token))[1:] if token else ()
        if not found:
            raise ValueError(f"the tokenizer has no tokens for {token!r}: give a token's text or id")
        return found
    if isinstance(token, bool) or not hasattr(token, "__index__") or not 0 <= token < len(engine.vocabulary):
        raise ValueError(f"token must be text or an id from 0 to {len(engine.vocabulary) - 1}, got {token!r}")
    return (int(token),)
