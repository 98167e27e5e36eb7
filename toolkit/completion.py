"""The noun that travels: a Request becomes a Completion."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.messages import Message, Messages, encodable, messages, plain_text
from toolkit.prompt import Rendered
from toolkit.sampling import Sampling
from toolkit.schema import ResponseFormat, response_format
from toolkit.tools import Tool, ToolCall, calls_schema, tool_choice
from toolkit.tools import tools as as_tools
from toolkit.verdict import Verdict, parsed, verdict

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Vocabulary = Sequence[bytes]
"""The bytes of every token id of a tokenizer; ids past its end are padding of the model's matrices."""


ARRAYS = {
    "token_ids": np.int32,
    "logprobs": np.float32,
    "ranks": np.int32,
    "top_ids": np.int32,
    "top_logprobs": np.float32,
}
"""The arrays of a Choice."""


ECHOED = -1
"""The index of the choice that is the prompt itself."""


def shaped(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a Choice from flat ones (a store, a file): those of the top k get their T rows."""
    steps = len(flat["token_ids"])
    columns = {n: a.size // steps if steps else 0 for n, a in flat.items() if a is not None}
    wide: dict[str, Any] = {
        n: flat[n].reshape(steps, columns[n]) for n in ("top_ids", "top_logprobs") if n in columns
    }
    return {**flat, **wide}


def digest(value: object, size: int = 16) -> str:
    """A content hash of plain data: the same for equal data on every machine. 2 × size hex digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


@dataclass(frozen=True)
class Request:
    """What is asked of an engine: a conversation (`messages`) or a text to continue (`prompt`), and how to
    sample. Exactly one of the two is set.
    """

    messages: Messages | None = None
    """Role and content of each turn, for a chat completion."""
    prompt: str | tuple[int, ...] | None = None
    """Text or token ids to continue as they are, for a legacy completion: no chat template."""
    sampling: Sampling = field(default_factory=Sampling)
    suffix: str | None = None
    """Text that follows what is generated (fill in the middle); only with a prompt that is text."""
    echo: bool = False
    """Give the prompt back before the text, with its log probabilities where logprobs are asked for; only with
    a prompt."""
    response_format: ResponseFormat | None = None
    """The form that the answer is held to."""
    tools: tuple[Tool, ...] = ()
    """Functions that the model may call; only with messages."""
    tool_choice: str | None = None
    """auto (the model decides), none, required, or the name of the one to be called; None without tools."""
    notes: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """How the messages were made (few-shot examples, what was left out); no part of what is asked."""

    def __post_init__(self) -> None:
        if (self.messages is None) == (self.prompt is None):
            raise ValueError("a request has either messages or a prompt: give exactly one of them")
        if self.prompt is not None and not self.prompt:
            raise ValueError("prompt is empty: give some text to continue")
        if isinstance(self.prompt, str):
            encodable("prompt", self.prompt)
        if self.prompt is None and (self.echo or self.suffix):
            raise ValueError("echo and suffix go with a prompt, not with messages: use engine.complete")
        if self.suffix is not None and (not isinstance(self.suffix, str) or not isinstance(self.prompt, str)):
            raise ValueError(f"suffix must be text after a prompt that is text, got {self.suffix!r}")
        object.__setattr__(self, "response_format", response_format(self.response_format))
        object.__setattr__(self, "tools", as_tools(self.tools))
        object.__setattr__(self, "tool_choice", tool_choice(self.tool_choice, self.tools))
        self._check_form()

    def _check_form(self) -> None:
        if self.tools and self.prompt is not None:
            raise ValueError("tools go with messages, not with a prompt: use engine.chat")
        if self.sampling.ignore_eos and (self.response_format or self.must_call):
            raise ValueError("ignore_eos goes on after the answer has its form, and spoils it: leave it out")
        if self.response_format is None:
            return
        if self.must_call:
            raise ValueError(
                f"response_format and tool_choice={self.tool_choice!r} both say what the answer must be: give one"
            )
        if self.response_format.kind == "json_object" and "json" not in self._said.lower():
            raise ValueError(
                "JSON mode needs the word JSON somewhere in the messages, or a model may write white space without "
                "end: say in the system message that the answer is JSON"
            )

    @property
    def _said(self) -> str:
        """All text of the messages; of a prompt of token ids nothing is known, and it is taken at its word."""
        if self.messages is None:
            return self.prompt if isinstance(self.prompt, str) else "json"
        return " ".join(map(plain_text, self.messages))

    @classmethod
    def chat(
        cls,
        turns: str | Rendered | Sequence[Message],
        response_format: Any = None,
        tools: Sequence[Any] = (),
        tool_choice: Any = None,
        **sampling: Any,
    ) -> Request:
        """A chat request from a string, messages or a rendered prompt, the form of the answer, functions to call,
        and sampling options."""
        made = turns if isinstance(turns, Rendered) else Rendered(messages(turns))
        return cls(
            messages=made.messages,
            sampling=Sampling(**sampling),
            response_format=response_format,
            tools=as_tools(tools),
            tool_choice=tool_choice,
            notes=made.notes,
        )

    @property
    def must_call(self) -> bool:
        """The answer is to be calls, whatever the model would rather say."""
        return self.tool_choice not in (None, "none", "auto")

    @cached_property
    def constraint(self) -> ResponseFormat | None:
        """The form that the engine enforces: the answer's own, or that of calls that must be made."""
        if not self.must_call:
            return self.response_format
        schema = calls_schema(self.tools, str(self.tool_choice))
        return response_format(
            {"type": "json_schema", "json_schema": {"name": self.tool_choice, "schema": schema}}
        )

    @property
    def has_images(self) -> bool:
        return any(not isinstance(m["content"], str) for m in self.messages or ())

    @property
    def body(self) -> dict[str, Any]:
        """What is asked, without how to sample, as plain data."""
        if self.prompt is None and self.tools:
            shown = [t.to_openai() for t in self.tools]
            return {"messages": self.messages, "tools": shown, "tool_choice": self.tool_choice}
        if self.prompt is None:
            return {"messages": self.messages}
        more = {"suffix": self.suffix, "echo": self.echo}
        return {"prompt": self.prompt, **{name: value for name, value in more.items() if value}}

    @classmethod
    def of(cls, body: Mapping[str, Any], sampling: Mapping[str, Any], form: Any = None) -> Request:
        """A request from its `body`, the fields of its Sampling, and its form, as JSON has them."""
        prompt = body.get("prompt")
        return cls(
            messages=tuple(body["messages"]) if "messages" in body else None,
            prompt=tuple(prompt) if isinstance(prompt, list) else prompt,
            sampling=Sampling(**sampling),
            suffix=body.get("suffix"),
            echo=body.get("echo", False),
            response_format=form,
            tools=tuple(body.get("tools", ())),
            tool_choice=body.get("tool_choice"),
        )

    @cached_property
    def input(self) -> str:
        """The hash of the messages or the prompt."""
        return digest(self.messages if self.prompt is None and not self.tools else self.body)

    @cached_property
    def key(self) -> str:
        """The hash of all that was asked; equal requests have equal keys on every machine."""
        # The form as text: the order of a schema's properties is that of the answer.
        form = [json.dumps(self.response_format.to_openai())] if self.response_format else []
        return digest([self.input, self.sampling.canonical(), *form])

    def resolve(self, defaults: Mapping[str, Any]) -> Request:
        """The same request with every sampling field explicit (see `Sampling.resolve`)."""
        return replace(self, sampling=self.sampling.resolve(defaults))


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


@dataclass(frozen=True)
class Token:
    """One generated token, made on demand from a choice's arrays."""

    id: int
    text: str
    """Its bytes as UTF-8; bytes that are only part of a character show as U+FFFD."""
    bytes: bytes
    logprob: float | None
    rank: int | None
    """Rank of the token in the whole vocabulary; 1 is the most likely."""
    top: tuple[tuple[int, str, float], ...]
    """(id, text, logprob) of the most likely tokens at this step, best first."""


@dataclass(frozen=True, eq=False)
class Choice:
    """One of the n texts that answer a request. T tokens, k = top_logprobs."""

    index: int
    text: str
    finish_reason: str
    """stop (the model ended, or a stop string), length (max_tokens or the window was reached), tool_calls (the model
    wants functions called) or error."""
    stop_reason: str | int | None = None
    """The stop string or stop token id that ended the text; None for the model's own end of text."""
    token_ids: Ints = field(default_factory=lambda: np.zeros(0, np.int32))
    """(T,) ids, the end-of-text token included."""
    logprobs: Floats | None = None
    """(T,) natural log probabilities of the chosen tokens, or None when not asked for."""
    ranks: Ints | None = None
    """(T,) vocabulary ranks of the chosen tokens, 1 is the most likely."""
    top_ids: Ints | None = None
    """(T, k) ids of the most likely tokens at each step, best first."""
    top_logprobs: Floats | None = None
    """(T, k) their log probabilities."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Functions that the model wants called; then `text` is what it said beside them."""
    vocabulary: Callable[[], Vocabulary] | None = field(default=None, repr=False)
    """Gives the tokenizer's vocabulary when token texts are asked for."""

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens as objects, made anew at each call."""
        return tuple(self._token(step) for step in range(len(self.token_ids)))

    def _token(self, step: int) -> Token:
        top: tuple[tuple[int, str, float], ...] = ()
        if self.top_ids is not None and self.top_logprobs is not None:
            pairs = zip(self.top_ids[step].tolist(), self.top_logprobs[step].tolist(), strict=True)
            top = tuple((i, _text(self.token_bytes(i)), p) for i, p in pairs)
        own = int(self.token_ids[step])
        raw = self.token_bytes(own)
        logprob = None if self.logprobs is None else float(self.logprobs[step])
        rank = None if self.ranks is None else int(self.ranks[step])
        return Token(own, _text(raw), raw, logprob, rank, top)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of a token id. Raises ValueError when the tokenizer's vocabulary is not at hand."""
        if self.vocabulary is None:
            raise ValueError(
                "the tokenizer's vocabulary is not at hand: token texts need the engine or the store"
            )
        known = self.vocabulary()
        return known[token_id] if token_id < len(known) else b""


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


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
    """(P,) the ids that the model was given, chat template included."""
    position: int | None = None
    """The request's place in the order in which its batch was given to the engine."""
    error: str | None = None
    """Why there is no answer; then there is one choice, without text, and finish_reason is "error"."""
    echoed: Choice | None = None
    """The prompt as a choice of its own (its text, tokens and log probabilities), when it was to be echoed. No
    log probability belongs to its first token: NaN, with rank 0."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """How the request was made and sent: few-shot examples, what was left out, roles that were renamed."""

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
                _chat_choice(c, self.refusal if c.index == 0 else None)
                if chat
                else _text_choice(c, self.echoed)
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
        style = "white-space:pre-wrap;margin:0 0 4px 0;padding-left:8px;border-left:3px solid #0072b2"
        texts = "".join(f'<div style="{style}">{html.escape(_said(c))}</div>' for c in self.choices)
        return f"<div>{texts}<small>{html.escape(self._summary())}</small></div>"


def _said(choice: Choice) -> str:
    """A choice's text and its calls, for people."""
    calls = [f"→ {call.name}({call.arguments})" for call in choice.tool_calls]
    return "\n".join([*([choice.text] if choice.text or not calls else []), *calls])


def _chat_choice(choice: Choice, refusal: str | None) -> dict[str, Any]:
    calls = {"tool_calls": [call.to_openai() for call in choice.tool_calls]} if choice.tool_calls else {}
    silent = refusal is not None or (calls and not choice.text)
    return {
        "index": choice.index,
        "message": {
            "role": "assistant",
            "content": None if silent else choice.text,
            "refusal": refusal,
            **calls,
        },
        "logprobs": None if choice.logprobs is None else {"content": _chat_logprobs(choice), "refusal": None},
        "finish_reason": choice.finish_reason,
    }


def _chat_logprobs(choice: Choice) -> list[dict[str, Any]]:
    def entry(token_id: int, text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(choice.token_bytes(token_id))}

    return [
        {
            **entry(t.id, t.text, t.logprob or 0.0),
            "top_logprobs": [entry(*alternative) for alternative in t.top],
        }
        for t in choice.tokens
    ]


def _text_choice(choice: Choice, echoed: Choice | None) -> dict[str, Any]:
    return {
        "index": choice.index,
        "text": choice.text,
        "logprobs": None if choice.logprobs is None else _text_logprobs(choice, echoed),
        "finish_reason": choice.finish_reason,
    }


def _text_logprobs(choice: Choice, echoed: Choice | None) -> dict[str, Any]:
    before = echoed.tokens if echoed else ()
    tokens = (*before, *choice.tokens)
    # Offsets in characters of the text so far: bytes of an unfinished character do not count until it ends.
    raw, offsets = b"", []
    for token in tokens:
        offsets.append(len(raw.decode("utf-8", "ignore")))
        raw += token.bytes
    known = [None if i == 0 and before else t for i, t in enumerate(tokens)]
    return {
        "tokens": [t.text for t in tokens],
        "token_logprobs": [t and t.logprob for t in known],
        "top_logprobs": [t and {text: p for _, text, p in t.top} for t in known],
        "text_offset": offsets,
    }


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
