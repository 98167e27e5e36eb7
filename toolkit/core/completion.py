"""The noun that travels: a Request becomes a Completion."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from toolkit.choice import Choice, Floats, Ints, Token
from toolkit.request import Request
from toolkit.response import chat_choice, text_choice
from toolkit.tools import ToolCall
from toolkit.verdict import Verdict, parsed, verdict


@dataclass(frozen=True)
class Usage:
    """Tokens of one request, all its choices together. Usages add with `+`."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens whose attention was found in the engine's prefix cache; part of prompt_tokens."""

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )

    def to_openai(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }


@dataclass(frozen=True, eq=False)
class Completion:
    """The answer to one Request: one or more choices, with what is needed to know where they came from.

    `text`, `finish_reason`, `token_ids`, `logprobs`, … are those of the first choice.
    """

    request: Request
    """With every sampling parameter resolved."""
    choices: tuple[Choice, ...]
    usage: Usage
    model: str
    system_fingerprint: str
    """`fp_…`, the id of the Fingerprint of the engine that answered."""
    id: str
    created: float
    """Unix time in seconds at which the completion was finished."""
    seconds: float | None = None
    """From the request's arrival at the engine to its last token, waiting in the batch included."""
    first_token_seconds: float | None = None
    """From the request's arrival to its first token."""
    prompt_token_ids: Ints = field(default_factory=lambda: np.zeros(0, np.int32))
    """(P,) the ids that the model was given, chat template included; a prefix of the answer is part of the answer."""
    position: int | None = None
    """The request's place in the order in which its batch was given to the engine."""
    error: str | None = None
    """Why there is no answer; then there is one choice, without text, and finish_reason is "error"."""
    prompt: Choice | None = None
    """The prompt as a choice of its own (its text, tokens and log probabilities), when echo or prompt_logprobs asked
    for it. No log probability belongs to its first token: NaN, with rank 0."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """How the request was made and sent: few-shot examples, what was left out, roles that were renamed."""

    def choice(self, index: int) -> Choice:
        """The choice of that index: not always the place in `choices`, of which an export may have kept a few.
        Raises KeyError."""
        found = {choice.index: choice for choice in self.choices}
        if index not in found:
            raise KeyError(f"no choice {index} here: there are {', '.join(map(str, found))}")
        return found[index]

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
        """Whether the first choice has the form that was asked for; None when none was."""
        form = self.request.response_format
        if form is None or self.error is not None or self.tool_calls:
            return None
        return verdict(self.text, form, self.finish_reason)

    @property
    def parsed(self) -> Any:
        """The answer as data: an instance of the type that was asked for, or plain data where a schema was; None
        when it is not valid (`schema_verdict` says why)."""
        form, found = self.request.response_format, self.schema_verdict
        return parsed(found, form) if form and found else None

    @property
    def refusal(self) -> str | None:
        """What a model says that gives no answer in the form asked for, but a refusal."""
        found = self.schema_verdict
        return found.reason if found is not None and found.status == "refused" else None

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
            "system_fingerprint": self.system_fingerprint,
        }

    def __repr__(self) -> str:
        if self.error is not None:
            return f"Completion(error={self.error!r})"
        more = f", {len(self.choices)} choices" if len(self.choices) > 1 else ""
        return f"Completion({_said(self.choices[0])!r}, {self._summary()}{more})"

    def _summary(self) -> str:
        tokens = f"{self.usage.prompt_tokens} + {self.usage.completion_tokens} tokens"
        seconds = "" if self.seconds is None else f", {self.seconds:.2f} s"
        form = f", {self.schema_verdict.status}" if self.schema_verdict else ""
        return f"{self.finish_reason}{form}, {tokens}{seconds}, {self.system_fingerprint}"

    def _repr_html_(self) -> str:
        if self.error is not None:
            return f"<p><b>error</b> {html.escape(self.error)}</p>"
        style = (
            "white-space:pre-wrap;overflow-wrap:anywhere;text-align:left;margin:0 0 4px 0;padding-left:8px;"
            "border-left:3px solid #0072b2"
        )
        texts = "".join(f'<div style="{style}">{html.escape(_said(c))}</div>' for c in self.choices)
        return f"<div>{texts}<small>{html.escape(self._summary())}</small></div>"


def _said(choice: Choice) -> str:
    """A choice's text and its calls, for people."""
    calls = [f"→ {call.name}({call.arguments})" for call in choice.tool_calls]
    return "\n".join([*([choice.text] if choice.text or not calls else []), *calls])


@dataclass(frozen=True)
class Delta:
    """A piece of a streamed completion."""

    text: str
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
