"""Branching: another token at a step of a completion, and how the model continues."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.text import short_repr
from toolkit._internal.validation import encodable, instance_of, position
from toolkit.core.choice import ARRAYS, Choice
from toolkit.core.completion import Completion, Usage
from toolkit.core.request import Request
from toolkit.core.sampling import DEFAULT_MAX_TOKENS, Sampling

if TYPE_CHECKING:
    from toolkit.engines.protocol import Generates


_RESTARTED = ("frequency_penalty", "presence_penalty", "seed")
"""Settings that vLLM applies from the first token it generates itself: in a branch, from the fork on."""


def branch(
    engine: Generates, completion: Completion, at: int, token: str | int, choice: int = 0
) -> Completion:
    """See `Engine.branch`."""
    (branched,) = branches(engine, [(completion, choice, at, token)])
    return branched


def branches(engine: Generates, forks: list[tuple[Completion, int, int, str | int]]) -> list[Completion]:
    """Many branches as one batch: (completion, choice, step, token) each. Raises ValueError or RequestError."""
    from toolkit.errors import RequestError

    prepared = [_Branch(engine, *fork) for fork in forks]
    requests = {b.request.key: b.request for b in prepared if b.ending is None}
    completions = {c.request.key: c for c in engine.generate(requests.values())}
    for completion in completions.values():
        if completion.error is not None:
            raise RequestError(completion.error)
    return [
        b.merged(completions[b.request.key]) if b.ending is None else b.ended_completion() for b in prepared
    ]


class _Branch:
    def __init__(
        self, engine: Generates, completion: Completion, choice: int, at: int, token: str | int
    ) -> None:
        self.parent, self.at, self.end_ids = completion, at, engine.ends
        original = _branchable_choice(completion, choice, at)
        if completion.system_fingerprint != engine.fingerprint.id and (
            original.vocabulary is None or original.vocabulary() != engine.vocabulary
        ):
            raise ValueError(
                f"the completion of {completion.model!r} has another tokenizer than {engine.model!r}: branch it with "
                "the engine that made it"
            )
        self.choice = replace(original, vocabulary=lambda: engine.vocabulary)
        self.token_ids = _token_ids(engine, self.choice, at, token)
        self.prefix = (*original.token_ids[:at].tolist(), *self.token_ids)
        # Limits apply to the whole; after its end, where nothing may remain, they start again.
        self.after_end = at == len(original.token_ids)
        self.counted_tokens = (
            len(self.token_ids) if self.after_end else len(self.prefix) - original.prefix_tokens
        )
        self.remaining_tokens = (
            completion.request.sampling.max_tokens or DEFAULT_MAX_TOKENS
        ) - self.counted_tokens
        self.request = self._branch_request().resolve(engine.defaults)

    def _branch_request(self) -> Request:
        """The parent's request with the new beginning."""
        request = self.parent.request
        settings = request.sampling.given() | {"n": 1, "max_tokens": max(1, self.remaining_tokens)}
        if settings.get("min_tokens"):
            settings["min_tokens"] = min(
                max(0, settings["min_tokens"] - self.counted_tokens), settings["max_tokens"]
            )
        settings.pop("prompt_logprobs", None)
        if self._top_index is None and request.sampling.logprobs:  # for the token's log probability
            settings["prompt_logprobs"] = request.sampling.top_logprobs or 0
        return replace(request, prefix=self.prefix, sampling=Sampling(**settings))

    @cached_property
    def ending(self) -> tuple[str, str | int | None, str] | None:
        """finish_reason, stop_reason and text, if the token ends the completion; None if the model continues."""
        sampling, last = self.request.sampling, self.prefix[-1]
        is_end = last in self.end_ids and not sampling.ignore_eos
        if is_end or last in (sampling.stop_token_ids or ()):
            kept = self.prefix if sampling.include_stop_str_in_output else self.prefix[:-1]
            return "stop", None if is_end else last, self._text(kept)
        # The last character before the fork may be complete only after it.
        text, offset = self._text(self.prefix), len(self._text(self.prefix[: self.at]).rstrip("\ufffd"))
        for stop in () if sampling.min_tokens else sampling.stop or ():
            begin = text.find(stop, max(0, offset - len(stop) + 1))
            if begin >= 0:
                end = begin + len(stop) if sampling.include_stop_str_in_output else begin
                return "stop", stop, text[:end]
        return None if self.remaining_tokens > 0 else ("length", None, text)

    def _text(self, token_ids: tuple[int, ...]) -> str:
        keep_special = self.request.sampling.skip_special_tokens is False
        visible = (i for i in token_ids if keep_special or i not in self.end_ids)
        return b"".join(map(self.choice.token_bytes, visible)).decode("utf-8", "replace")

    @property
    def _top_index(self) -> int | None:
        """The token's index among the most likely ones of its step; None if it is not among them."""
        c = self.choice
        if len(self.token_ids) > 1 or c.top_ids is None or self.at >= len(c.top_ids):
            return None
        assert c.top_logprobs is not None
        matches = (c.top_ids[self.at] == self.token_ids[0]) & ~np.isnan(c.top_logprobs[self.at])
        return next(iter(np.flatnonzero(matches).tolist()), None)

    def merged(self, completion: Completion) -> Completion:
        """The branch with the log probabilities of the part before the fork, where they are known."""
        (choice,) = completion.choices
        if choice.logprobs is not None and self.choice.logprobs is not None:
            head = self._arrays_to_fork()
            known_steps = np.flatnonzero(~np.isnan(head["logprobs"]))
            arrays = {name: getattr(choice, name).copy() for name in head}
            for name, array in arrays.items():
                array[known_steps] = head[name][known_steps]
            choice = replace(choice, **arrays)
        return replace(
            completion, choices=(choice,), prompt=self.parent.prompt, notes=self._notes(completion)
        )

    def ended_completion(self) -> Completion:
        """A branch whose token ends the completion: nothing is generated."""
        assert self.ending is not None
        reason, stop, text = self.ending
        prompt_text = self.parent.prompt.text if self.parent.request.echo and self.parent.prompt else ""
        choice = replace(
            self.choice,
            index=0,
            text=prompt_text + text,
            finish_reason=reason,
            stop_reason=stop,
            prefix_tokens=len(self.prefix),
            tool_calls=(),
            **self._arrays_to_fork(),
        )
        return replace(
            self.parent,
            request=self.request,
            choices=(choice,),
            usage=Usage(),
            id=uuid.uuid4().hex,
            created=time.time(),
            seconds=None,
            first_token_seconds=None,
            position=None,
            notes=self._notes(self.parent),
        )

    def _arrays_to_fork(self) -> dict[str, Any]:
        """The choice's arrays up to the fork, then those of the token chosen there."""
        c, top_index, token_count = self.choice, self._top_index, len(self.token_ids)
        available = {n: a for n in ARRAYS if (a := getattr(c, n)) is not None}
        if top_index is None:
            arrays = {n: _padded_with_unknown(a[: self.at], token_count) for n, a in available.items()}
        else:
            arrays = {n: a[: self.at + 1].copy() for n, a in available.items()}
            arrays["logprobs"][-1] = arrays["top_logprobs"][-1, top_index]
            arrays["ranks"][-1] = 1 + (arrays["top_logprobs"][-1] > arrays["logprobs"][-1]).sum()
        return {**arrays, "token_ids": np.array(self.prefix, np.int32)}

    def _notes(self, completion: Completion) -> dict[str, Any]:
        text = b"".join(map(self.choice.token_bytes, self.token_ids)).decode("utf-8", "replace")
        settings = self.request.sampling.canonical()
        restarted = [name for name in _RESTARTED if name in settings] + ["max_tokens"] * self.after_end
        note = {"of": self.parent.id, "choice": self.choice.index, "at": self.at, "token": text}
        return {**completion.notes, "branch": {**note, **({"counted anew": restarted} if restarted else {})}}


def _padded_with_unknown(array: Any, steps: int) -> Any:
    empty = np.nan if array.dtype == np.float32 else 0
    return np.concatenate([array, np.full((steps, *array.shape[1:]), empty, array.dtype)])


def _branchable_choice(completion: Completion, index: int, at: int) -> Choice:
    instance_of(Completion, "completion", completion, "engine.chat(…) gives one")
    if completion.error is not None:
        raise ValueError(f"this completion is an error and has no tokens: {completion.error}")
    choice = completion.choices[position("choice", index, len(completion.choices), from_end=False)]
    position(
        "at", at, len(choice.token_ids) + 1, from_end=False
    )  # at the number of its tokens: after its end
    if completion.request.constraint is not None:
        raise ValueError(
            "a completion constrained by response_format or a forced tool call cannot be branched: the grammar would "
            "restart at the fork"
        )
    if completion.request.suffix is not None or completion.request.has_images:
        raise ValueError(
            "a completion of a request with images or a suffix cannot be branched: it cannot begin with a prefix"
        )
    return choice


def _token_ids(engine: Generates, choice: Choice, at: int, token: str | int) -> tuple[int, ...]:
    """The token's IDs: a text is one of the most likely tokens at that step, or else tokenized."""
    if isinstance(token, str):
        raw = encodable("token", token).encode()
        if choice.top_ids is not None and at < len(choice.top_ids):
            for token_id in choice.top_ids[at].tolist():
                if choice.token_bytes(token_id) == raw:
                    return (token_id,)
        token_ids = engine.encode(Request(prompt=(0,), prefix=token))[1:] if token else ()
        if not token_ids:
            raise ValueError(
                f"the tokenizer has no tokens for {short_repr(token)}: give a token's text or id"
            )
        return token_ids
    try:
        return (
            position(
                "token", None if isinstance(token, bool) else token, len(engine.vocabulary), from_end=False
            ),
        )
    except (TypeError, IndexError):
        raise ValueError(
            f"token must be text or an id from 0 to {len(engine.vocabulary) - 1}, got {short_repr(token)}"
        ) from None
