"""Which parts of OpenAI's API a server supports."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from toolkit.core.completion import UNKNOWN_USAGE, Usage
from toolkit.core.request import Request
from toolkit.core.sampling import NEUTRAL

OPENAI_FIELDS = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "n",
    "stop",
    "logit_bias",
)
VLLM_FIELDS = (
    "top_k", "min_p", "repetition_penalty", "min_tokens", "stop_token_ids", "ignore_eos", "bad_words",
    "allowed_token_ids", "include_stop_str_in_output", "skip_special_tokens", "prompt_logprobs",
)  # fmt: skip
ALWAYS_SENT = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
)
"""Sent even when neutral: a server would fill in its model's generation config, and what is stored must be what was
requested."""
_PROBED_OPTIONS = ("logprobs", "seed")
"""Options that the probe requests: some servers refuse them, some ignore them silently."""


_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxdict, _REPR.maxlist, _REPR.maxstring, _REPR.maxother = 6, 20, 8, 300, 300
"""Of a response in an error: it may be large, and nested deep."""


class MalformedResponse(ValueError):
    """A response that does not follow OpenAI's API, or does not fit its request."""

    def __init__(self, message: str, usage: Usage = UNKNOWN_USAGE) -> None:
        super().__init__(message)
        self.usage = usage
        """The tokens that the server reports all the same."""

    @classmethod
    def of(cls, problem: str, data: Any) -> Self:
        return cls(f"the server's response {problem}: {_REPR.repr(data)}")


class NoLogprobs(MalformedResponse):
    """A response without the requested log probabilities, or with some that cannot be read."""


@dataclass(frozen=True)
class Dialect:
    """What a server supports, as far as is known."""

    vllm: bool = False
    max_tokens_field: str = "max_tokens"
    """The field in which it takes max_tokens."""
    refused_neutral: frozenset[str] = frozenset()
    """Fields that it refuses even at their neutral value; neutral ones are then not sent."""
    unsupported: frozenset[str] = frozenset()
    """Those of `_PROBED_OPTIONS` that it refuses or ignores: a request that needs one is not sent."""

    def after_refusal(self, message: str, body: Mapping[str, Any]) -> Dialect | None:
        """The dialect of a server that refused a body with this message; None when nothing in it can be left out."""
        normalized = message.replace("_", "").lower()  # some spell presencePenalty

        def named(name: str) -> bool:
            return name in body and name.replace("_", "") in normalized

        if self.max_tokens_field == "max_tokens" and "maxcompletiontokens" in normalized:
            return replace(self, max_tokens_field="max_completion_tokens")
        fields = {n for n in ALWAYS_SENT if named(n) and body[n] == NEUTRAL[n]}
        options = {n for n in _PROBED_OPTIONS if named(n)}
        if not fields and not options:
            # The refusal may mean these, in other words.
            options = {n for n in _PROBED_OPTIONS if n in body}
        if not fields and not options:
            return None
        return replace(
            self,
            refused_neutral=self.refused_neutral | fields,
            unsupported=self.unsupported | options,
        )

    def with_unsupported(self, name: str) -> Dialect:
        return replace(self, unsupported=self.unsupported | {name})

    def without_unsupported(self, request: Request) -> Request:
        """A request without the options that the server does not support."""
        return replace(request, sampling=replace(request.sampling, **dict.fromkeys(self.unsupported)))
