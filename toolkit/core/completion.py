"""Completion: the response to a Request, with its token usage; and the pieces of a streamed one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self, cast

import numpy as np

from toolkit._internal.field_docs import documented
from toolkit._internal.text import short_repr
from toolkit._internal.validation import Whole
from toolkit._internal.value_text import seconds_text
from toolkit.core.choice import Choice, Floats, Ints, Token
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.openai_format import chat_choice, text_choice
from toolkit.core.request import ResolvedRequest
from toolkit.display.markup import Markup, joined, markup
from toolkit.structured.tools import ToolCall
from toolkit.structured.verdict import Verdict, parsed, verdict

_COUNT = Whole(0, 2**63 - 1, "a number of tokens, or None where it is unknown")


@documented
@dataclass(frozen=True)
class Usage:
    """Tokens of one request, all its choices together; None where a server does not report them. Usages add with
    `+`: what is unknown of one is unknown of the sum."""

    prompt_tokens: int | None = 0
    """Tokens of the prompt; None where a server does not report them."""
    completion_tokens: int | None = 0
    """Tokens that were generated, of all choices; None where a server does not report them."""
    cached_tokens: int | None = 0
    """Prompt tokens found in the engine's prefix cache; part of prompt_tokens."""

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
            number = getattr(self, name)
            if number is not None and type(number) is not int:
                is_whole = (
                    isinstance(number, float) and number.is_integer()
                )  # as in a Parquet column with gaps
                object.__setattr__(self, name, _COUNT(name, int(number) if is_whole else number))
            elif number is not None:
                _COUNT(name, number)

    @property
    def total_tokens(self) -> int | None:
        return sum_tokens((self.prompt_tokens, self.completion_tokens))

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            sum_tokens((self.prompt_tokens, other.prompt_tokens)),
            sum_tokens((self.completion_tokens, other.completion_tokens)),
            sum_tokens((self.cached_tokens, other.cached_tokens)),
        )

    def __str__(self) -> str:
        """Such as "1,200 + 35 tokens"."""
        counts = ("unknown" if n is None else f"{n:,}" for n in (self.prompt_tokens, self.completion_tokens))
        return f"{' + '.join(counts)} tokens"

    def to_openai(self) -> dict[str, int] | None:
        """In OpenAI's format, which has no unknown counts: then None."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


UNKNOWN_USAGE = Usage(None, None, None)


def sum_tokens(counts: Iterable[int | None]) -> int | None:
    """The sum of numbers of tokens; None where one is unknown."""
    values = list(counts)
    return None if None in values else sum(cast("list[int]", values))


@documented
@dataclass(frozen=True, eq=False)
class Completion:
    """The response to one Request: one or more choices, and a record of the system that generated them.

    `text`, `finish_reason`, `token_ids`, `logprobs`, … are those of the first choice.
    """

    request: ResolvedRequest
    """What was asked, with every sampling parameter explicit."""
    choices: tuple[Choice, ...]
    """The n generated texts; one unless n was given."""
    usage: Usage
    """The numbers of tokens."""
    model: str
    """The model's name."""
    system_fingerprint: str
    """`fp_…`, the ID of our Fingerprint of the engine that generated it. The string that a server itself sends is in
    `to_openai()`."""
    id: str
    """The id of the response."""
    created: float
    """Unix time in seconds at which the completion was finished."""
    seconds: float | None = None
    """From the request's arrival at the engine to its last token, with the wait for a place in the batch. It is a
    latency only where the request was asked alone, or on a server under a load that is stated."""
    first_token_seconds: float | None = None
    """From the request's arrival to its first token: `queued_seconds`, and computing the prompt."""
    prompt_token_ids: Ints = field(default_factory=lambda: np.zeros(0, np.int32))
    """(P,) the token IDs of the prompt, chat template included; `Request.prefix` belongs to the choices instead."""
    position: int | None = None
    """The request's position in its batch, in the order of submission to the engine."""
    error: str | None = None
    """Why the request failed; there is then one choice, without text, and finish_reason is "error"."""
    prompt: Choice | None = None
    """The prompt as a choice of its own (its text, tokens and log probabilities), when echo or prompt_logprobs
    requested it. Its first token has no log probability: NaN, with rank 0."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """How the request was made and sent: few-shot examples, what was left out, renamed roles."""
    fingerprint: Fingerprint | None = None
    """The record behind `system_fingerprint`; None where the engine does not add it."""
    queued_seconds: float | None = None
    """From the request's arrival at the engine until it was first computed; None where it is not known, as on
    servers."""

    @classmethod
    def failed(
        cls,
        request: ResolvedRequest,
        error: str,
        *,
        model: str,
        system_fingerprint: str,
        usage: Usage | None = None,
        position: int | None = None,
        id: str | None = None,
        created: float | None = None,
    ) -> Self:
        """The completion of a request that failed: one choice without text. usage: the tokens it used."""
        return cls(
            request=request,
            choices=(Choice(0, "", "error"),),
            usage=usage or Usage(),
            model=model,
            system_fingerprint=system_fingerprint,
            id=uuid.uuid4().hex if id is None else id,
            created=time.time() if created is None else created,
            position=position,
            error=error,
        )

    def choice(self, index: int) -> Choice:
        """The choice with that index. It need not be its position in `choices`: an export may hold only some of them.
        Raises KeyError."""
        by_index = {choice.index: choice for choice in self.choices}
        if not hasattr(index, "__index__"):
            raise TypeError(f"choice must be a whole number, got {short_repr(index)}")
        if index not in by_index:
            raise KeyError(f"no choice {index} here: there are {', '.join(map(str, by_index))}")
        return by_index[index]

    @property
    def text(self) -> str:
        return self.choices[0].text

    @property
    def finish_reason(self) -> str:
        return self.choices[0].finish_reason

    @property
    def token_ids(self) -> Ints:
        return self.choices[0].token_ids

    @property
    def logprobs(self) -> Floats | None:
        return self.choices[0].logprobs

    @property
    def ranks(self) -> Ints | None:
        return self.choices[0].ranks

    @property
    def top_ids(self) -> Ints | None:
        return self.choices[0].top_ids

    @property
    def top_logprobs(self) -> Floats | None:
        return self.choices[0].top_logprobs

    @property
    def tokens(self) -> tuple[Token, ...]:
        return self.choices[0].tokens

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return self.choices[0].tool_calls

    @cached_property
    def schema_verdict(self) -> Verdict | None:
        """Whether the first choice conforms to the response format; None without one, for an error and for tool
        calls."""
        response_format = self.request.response_format
        if response_format is None or self.error is not None or self.tool_calls:
            return None
        return verdict(self.text, response_format, self.finish_reason)

    @property
    def parsed(self) -> Any:
        """The first choice as data: an instance of the requested type, or plain data for a schema; None when it is
        not valid (`schema_verdict` says why)."""
        response_format, outcome = self.request.response_format, self.schema_verdict
        return parsed(outcome, response_format) if response_format and outcome else None

    @property
    def refusal(self) -> str | None:
        """The model's refusal, where it gave one instead of the response format; else None."""
        outcome = self.schema_verdict
        return outcome.reason if outcome is not None and outcome.status == "refused" else None

    @property
    def decode_seconds(self) -> float | None:
        """From the first token to the last, together with all that ran in the batch; None where it is not known."""
        if self.seconds is None or self.first_token_seconds is None:
            return None
        return self.seconds - self.first_token_seconds

    @property
    def tokens_per_second(self) -> float | None:
        """The decoding rate: the tokens that each choice has after its first, by `decode_seconds`; None where it is
        not known, and for a single token."""
        seconds, tokens = self.decode_seconds, self.usage.completion_tokens
        if not seconds or tokens is None or tokens <= len(self.choices):
            return None
        return (tokens - len(self.choices)) / seconds

    def to_openai(self) -> dict[str, Any]:
        """The response as OpenAI's API gives it: chat.completion for messages, text_completion for a prompt.

        Raises ValueError for a completion that is an error: the API has no such response.
        """
        if self.error is not None:
            raise ValueError(f"an error has no OpenAI response: {self.error}")
        chat = self.request.messages is not None
        return {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{self.id}",
            "object": "chat.completion" if chat else "text_completion",
            "created": int(self.created),
            "model": self.model,
            "choices": [
                chat_choice(c, self.refusal if c.index == 0 else None)
                if chat
                else text_choice(c, self.prompt if self.request.echo else None)
                for c in self.choices
            ],
            "usage": self.usage.to_openai(),
            "system_fingerprint": self._openai_fingerprint,
        }

    @property
    def _openai_fingerprint(self) -> str | None:
        """A server's own string, as it sent it; of an engine on this machine our ID."""
        return self.system_fingerprint if self.fingerprint is None else self.fingerprint.system_fingerprint

    def __repr__(self) -> str:
        if self.error is not None:
            return f"Completion(error={self.error!r})"
        choices = f", {len(self.choices)} choices" if len(self.choices) > 1 else ""
        return f"Completion({_display_text(self.choices[0])!r}, {self._summary()}{choices})"

    def _summary(self) -> str:
        seconds = "" if self.seconds is None else f", {self._seconds_text(self.seconds)}"
        status = f", {self.schema_verdict.status}" if self.schema_verdict else ""
        system = f"{self.model}, fingerprint {self.system_fingerprint}"
        return f"{self.finish_reason}{status}, {self.usage}{seconds}, {system}"

    def _seconds_text(self, seconds: float) -> str:
        """The time, and of it the wait in a batch, where that is a tenth or more."""
        queued = self.queued_seconds or 0.0
        wait = f" ({seconds_text(queued)} of it queued)" if queued and queued >= seconds / 10 else ""
        return seconds_text(seconds) + wait

    def _repr_html_(self) -> Markup:
        if self.error is not None:
            return markup("<p><b>error</b> {}</p>", self.error)
        style = (
            "white-space:pre-wrap;overflow-wrap:anywhere;text-align:left;margin:0 0 4px 0;padding-left:8px;"
            "border-left:3px solid #0072b2"
        )
        texts = joined(markup('<div style="{}">{}</div>', style, _display_text(c)) for c in self.choices)
        return markup("<div>{}<small>{}</small></div>", texts, self._summary())


def _display_text(choice: Choice) -> str:
    """A choice's text and its tool calls, for display."""
    calls = [f"→ {call.name}({call.arguments})" for call in choice.tool_calls]
    return "\n".join([*([choice.text] if choice.text or not calls else []), *calls])


@documented
@dataclass(frozen=True)
class Delta:
    """A piece of a streamed completion."""

    text: str
    """The text that is new since the last delta."""
    index: int = 0
    """Which choice it belongs to."""
    finish_reason: str | None = None
    """Set on the last piece of its choice."""
    completion: Completion | None = None
    """The whole completion, on the very last piece only."""

    @property
    def usage(self) -> Usage | None:
        """The tokens of the whole request, on the very last piece only."""
        return self.completion.usage if self.completion else None
