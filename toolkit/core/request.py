"""Request: the input of an engine, validated."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Unpack

from toolkit._internal.field_docs import documented
from toolkit._internal.hashing import digest
from toolkit._internal.text import short_repr
from toolkit._internal.validation import encodable, instance_of, limited_list
from toolkit.core.options import SamplingOptions, spelled_out
from toolkit.core.sampling import NEUTRAL, Sampling
from toolkit.prompts.messages import Message, Messages, messages, plain_text
from toolkit.prompts.rendered import Rendered
from toolkit.structured.response_format import ResponseFormat, response_format
from toolkit.structured.tools import Tool, calls_schema, tool_choice, tools as as_tools

_ID_BITS = 128
"""Token IDs of more bits are refused at once: JSON cannot hold integers of any length. Which of the smaller ones a
model has, its engine knows."""


@documented
@dataclass(frozen=True)
class Request:
    """The input of an engine: a conversation (`messages`) or a text to continue (`prompt`), and how to sample.
    Exactly one of the two is set.
    """

    messages: Messages | None = None
    """Role and content of each turn, for a chat completion."""
    prompt: str | tuple[int, ...] | None = None
    """Text or token IDs to continue, without a chat template, for a legacy completion."""
    sampling: Sampling = field(default_factory=Sampling)
    """How the next token is chosen, and what is reported about it."""
    suffix: str | None = None
    """Text that follows the generated text (fill in the middle); only with a prompt that is text."""
    echo: bool = False
    """Return the prompt before the generated text, with its log probabilities where logprobs are requested; only
    with a prompt."""
    prefix: str | tuple[int, ...] | None = None
    """Text or token IDs that the completion begins with: the model continues from there."""
    response_format: ResponseFormat | None = None
    """The response format that the completion is constrained to."""
    tools: tuple[Tool, ...] = ()
    """Functions that the model may call; only with messages."""
    tool_choice: str | None = None
    """auto (the model decides), none, required, or the name of the function to call; None without tools."""
    notes: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """How the messages were made (few-shot examples, what was left out); not part of the request's key."""

    def __post_init__(self) -> None:
        if (self.messages is None) == (self.prompt is None):
            raise ValueError("a request has either messages or a prompt: give exactly one of them")
        instance_of(Sampling, "sampling", self.sampling, "Sampling(temperature=0.7)")
        object.__setattr__(self, "messages", _plain_messages(self.messages))
        for name in ("prompt", "prefix"):
            object.__setattr__(self, name, _text_or_ids(name, getattr(self, name)))
        if self.prompt is not None and not self.prompt:
            raise ValueError("prompt is empty: give some text to continue")
        if self.prompt is None and (self.echo or self.suffix):
            raise ValueError("echo and suffix go with a prompt, not with messages: use engine.complete")
        if self.suffix is not None and (not isinstance(self.suffix, str) or not isinstance(self.prompt, str)):
            raise ValueError(
                f"suffix must be text after a prompt that is text, got {short_repr(self.suffix)}"
            )
        self._check_prefix()
        object.__setattr__(self, "response_format", response_format(self.response_format))
        object.__setattr__(self, "tools", as_tools(self.tools))
        object.__setattr__(self, "tool_choice", tool_choice(self.tool_choice, self.tools))
        self._check_constraints()

    def _check_prefix(self) -> None:
        if self.prefix is None:
            return
        if not self.prefix:
            raise ValueError("prefix is empty: give what the answer begins with, or leave it out")
        if self.suffix is not None:
            raise ValueError("prefix and suffix do not go together: put the prefix at the end of the prompt")

    def _check_constraints(self) -> None:
        if self.tools and self.prompt is not None:
            raise ValueError("tools go with messages, not with a prompt: use engine.chat")
        if self.sampling.ignore_eos and (self.response_format or self.must_call):
            raise ValueError(
                "ignore_eos generates past the end of the constrained answer, and makes it invalid: leave it out"
            )
        if self.prefix is not None and (self.response_format or self.must_call):
            raise ValueError(
                "prefix cannot be combined with response_format or a forced tool call: the grammar would start only "
                "after the prefix"
            )
        if self.response_format is None:
            return
        if self.must_call:
            raise ValueError(
                f"response_format and tool_choice={short_repr(self.tool_choice)} both say what the answer must be: "
                "give one"
            )
        if self.response_format.kind == "json_object" and "json" not in self._prompt_text.lower():
            raise ValueError(
                "JSON mode needs the word JSON somewhere in the messages, or a model may write white space without "
                "end: say in the system message that the answer is JSON"
            )

    @property
    def _prompt_text(self) -> str:
        """All text of the messages or the prompt. For token IDs the text is unknown: assumed to contain "json"."""
        if self.messages is None:
            return self.prompt if isinstance(self.prompt, str) else "json"
        return " ".join(map(plain_text, self.messages))

    @classmethod
    @spelled_out(SamplingOptions)
    def chat(
        cls,
        turns: str | Rendered | Sequence[Message],
        response_format: Any = None,
        tools: Sequence[Any] | None = (),
        tool_choice: Any = None,
        prefix: str | Sequence[int] | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Request:
        """A chat request from a string, messages or a rendered prompt, with a response format, tools, a prefix of
        the completion, and sampling parameters."""
        rendered = turns if isinstance(turns, Rendered) else Rendered(messages(turns))
        return cls(
            messages=rendered.messages,
            sampling=Sampling(**sampling),  # type: ignore[arg-type, misc]  # which it makes tuples of
            response_format=response_format,
            tools=tools,  # type: ignore[arg-type]  # __post_init__ makes tools of functions
            tool_choice=tool_choice,
            prefix=prefix,  # type: ignore[arg-type]  # and a tuple of IDs
            notes=rendered.notes,
        )

    @property
    def must_call(self) -> bool:
        """Whether the model is forced to call a function."""
        return self.tool_choice not in (None, "none", "auto")

    @cached_property
    def constraint(self) -> ResponseFormat | None:
        """The response format that the engine enforces: the request's own, or that of forced tool calls. Raises
        ValueError where it leaves no answer (see `_allowed_choices`)."""
        if not self.must_call:
            return self._allowed_choices
        schema = calls_schema(self.tools, str(self.tool_choice))
        return response_format(
            {"type": "json_schema", "json_schema": {"name": self.tool_choice, "schema": schema}}
        )

    @property
    def _allowed_choices(self) -> ResponseFormat | None:
        """The response format, without the choices that contain a bad word. An engine bans a word in one of its
        tokenizations: a grammar would lead to another one. Raises ValueError where no choice is left."""
        form, banned = self.response_format, self.sampling.bad_words
        if form is None or form.kind != "choice" or not banned:
            return form
        words = [stripped for word in banned if (stripped := word.lstrip())]  # as vLLM takes them
        allowed = [choice for choice in form.choices if not any(w in choice for w in words)]
        if not allowed:
            raise ValueError(
                f"each of the choices {', '.join(map(repr, form.choices))} contains one of bad_words "
                f"({', '.join(map(repr, banned))}): leave out one of the two"
            )
        return response_format({"type": "choice", "choice": allowed})

    def logprobs_mode(self, engine: str | None) -> str | None:
        """The mode of a completion's log probabilities on an engine with that mode: under a grammar, vLLM takes the
        raw ones after the grammar's mask."""
        constrained = self.response_format is not None or self.must_call
        return "constrained_logprobs" if constrained and engine == "raw_logprobs" else engine

    @property
    def has_images(self) -> bool:
        return any(not isinstance(m["content"], str) for m in self.messages or ())

    @property
    def body(self) -> dict[str, Any]:
        """The request without its sampling parameters and response format, as plain data."""
        prompt = {"messages": self.messages} if self.prompt is None else {"prompt": self.prompt}
        options: dict[str, Any] = {"suffix": self.suffix, "echo": self.echo, "prefix": self.prefix}
        if self.tools:
            options |= {"tools": [t.to_openai() for t in self.tools], "tool_choice": self.tool_choice}
        return {**prompt, **{name: value for name, value in options.items() if value}}

    @classmethod
    def of(cls, body: Mapping[str, Any], sampling: Mapping[str, Any], form: Any = None) -> Request:
        """A request from its `body`, the fields of its Sampling, and its response format, as read from JSON."""
        for name, value in (("body", body), ("sampling", sampling)):
            instance_of(Mapping, name, value, "a dict")  # type: ignore[type-abstract]
        prompt, prefix = (tuple(b) if isinstance(b := body.get(n), list) else b for n in ("prompt", "prefix"))
        return cls(
            messages=tuple(body["messages"]) if "messages" in body else None,
            prompt=prompt,
            sampling=Sampling(**sampling),
            suffix=body.get("suffix"),
            echo=body.get("echo", False),
            prefix=prefix,
            response_format=form,
            tools=tuple(body.get("tools", ())),
            tool_choice=body.get("tool_choice"),
        )

    @cached_property
    def input(self) -> str:
        """The hash of the messages or the prompt."""
        body = self.body
        return digest(self.messages if body.keys() == {"messages"} else body)

    @cached_property
    def key(self) -> str:
        """The hash of the whole request; equal requests have equal keys on every machine."""
        # As text, to keep the order of the schema's properties, which is that of the answer's.
        schema = [json.dumps(self.response_format.to_openai())] if self.response_format else []
        return digest([self.input, self.sampling.canonical(), *schema])

    def __eq__(self, other: object) -> bool:
        """Whether all fields but the notes are equal; a request and a resolved one may be."""
        if not isinstance(other, Request):
            return NotImplemented
        return all(getattr(self, f.name) == getattr(other, f.name) for f in fields(self) if f.compare)

    def resolve(self, defaults: Mapping[str, Any]) -> ResolvedRequest:
        """The same request with every sampling field explicit (see `Sampling.resolve`)."""
        resolved = object.__new__(ResolvedRequest)
        # The fields are valid already: only their sampling is new, and Sampling has checked it.
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        resolved.__dict__.update(values, sampling=self.sampling.resolve(defaults))
        return resolved


class ResolvedRequest(Request):
    """A request whose every sampling parameter is explicit, so that it says all that an engine is asked. Made by
    `Request.resolve`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        unset = [name for name in NEUTRAL if getattr(self.sampling, name) is None]
        if unset:
            raise ValueError(
                f"a resolved request has every sampling parameter, and this one lacks {', '.join(unset)}: make a "
                "Request, and resolve it with engine.defaults"
            )
        object.__setattr__(self, "sampling", self.sampling.resolve({}))

    @classmethod
    def of(cls, body: Mapping[str, Any], sampling: Mapping[str, Any], form: Any = None) -> ResolvedRequest:
        """See `Request.of`; parameters that the version which wrote it did not have are neutral."""
        return Request.of(body, sampling, form).resolve({})

    def resolve(self, defaults: Mapping[str, Any]) -> ResolvedRequest:
        """The request itself: no parameter is left to the defaults."""
        return self


def _plain_messages(given: Any) -> Messages | None:
    """Messages as a tuple of dicts. Dicts stay as they are: what is wrong with one fails when it is run, so that its
    batch goes on without it."""
    is_plain = isinstance(given, list | tuple) and all(type(message) is dict for message in given)
    return given if given is None else tuple(given) if is_plain else messages(given)


def _text_or_ids(name: str, value: Any) -> str | tuple[int, ...] | None:
    """A text, or token IDs (a NumPy array as well) as a tuple."""
    if value is None or isinstance(value, str):
        return value and encodable(name, value)
    try:
        ids = None if isinstance(value, bytes) else tuple(map(operator.index, limited_list(name, value)))
    except TypeError:  # not a list, or not of whole numbers
        ids = None
    if ids is None or any(i < 0 for i in ids):
        raise ValueError(f"{name} must be a string or a list of token ids, got {short_repr(value)}")
    if any(i.bit_length() > _ID_BITS for i in ids):
        raise ValueError(f"{name} has a token id of more than {_ID_BITS} bits: no vocabulary is so large")
    return ids


def check_token_ids(request: Request, model: str, vocabulary_size: int = 1 << 31) -> None:
    """Raises ValueError for a token ID of prompt or prefix that is not in the vocabulary of the model; by default for
    one that is in none, since IDs have 32 bits."""
    for name in ("prompt", "prefix"):
        ids = getattr(request, name)
        if isinstance(ids, tuple) and max(ids, default=0) >= vocabulary_size:
            outside = next(i for i in ids if i >= vocabulary_size)
            raise ValueError(
                f"{name} has the token id {outside}, and those of {model} are 0 to {vocabulary_size - 1}: was it "
                "encoded by another model's tokenizer?"
            )
