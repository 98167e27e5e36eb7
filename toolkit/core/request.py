"""Request: what is asked of an engine."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from toolkit.messages import Message, Messages, encodable, messages, plain_text
from toolkit.prompt import Rendered
from toolkit.sampling import Sampling
from toolkit.schema import ResponseFormat, response_format
from toolkit.tools import Tool, calls_schema, tool_choice
from toolkit.tools import tools as as_tools


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
    prefix: str | tuple[int, ...] | None = None
    """Text or token ids that the answer begins with: the model goes on from there."""
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
        for name in ("prompt", "prefix"):
            object.__setattr__(self, name, _text_or_ids(name, getattr(self, name)))
        if self.prompt is not None and not self.prompt:
            raise ValueError("prompt is empty: give some text to continue")
        if self.prompt is None and (self.echo or self.suffix):
            raise ValueError("echo and suffix go with a prompt, not with messages: use engine.complete")
        if self.suffix is not None and (not isinstance(self.suffix, str) or not isinstance(self.prompt, str)):
            raise ValueError(f"suffix must be text after a prompt that is text, got {self.suffix!r}")
        self._check_prefix()
        object.__setattr__(self, "response_format", response_format(self.response_format))
        object.__setattr__(self, "tools", as_tools(self.tools))
        object.__setattr__(self, "tool_choice", tool_choice(self.tool_choice, self.tools))
        self._check_form()

    def _check_prefix(self) -> None:
        if self.prefix is None:
            return
        if not self.prefix:
            raise ValueError("prefix is empty: give what the answer begins with, or leave it out")
        if self.suffix is not None:
            raise ValueError("prefix and suffix do not go together: put the prefix at the end of the prompt")

    def _check_form(self) -> None:
        if self.tools and self.prompt is not None:
            raise ValueError("tools go with messages, not with a prompt: use engine.chat")
        if self.sampling.ignore_eos and (self.response_format or self.must_call):
            raise ValueError("ignore_eos goes on after the answer has its form, and spoils it: leave it out")
        if self.prefix is not None and (self.response_format or self.must_call):
            raise ValueError(
                "an answer held to a form cannot begin with a prefix: the grammar would start anew after it"
            )
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
        prefix: str | Sequence[int] | None = None,
        **sampling: Any,
    ) -> Request:
        """A chat request from a string, messages or a rendered prompt, the form of the answer, functions to call,
        what the answer begins with, and sampling options."""
        made = turns if isinstance(turns, Rendered) else Rendered(messages(turns))
        return cls(
            messages=made.messages,
            sampling=Sampling(**sampling),
            response_format=response_format,
            tools=as_tools(tools),
            tool_choice=tool_choice,
            prefix=prefix,  # type: ignore[arg-type]  # ids become a tuple there
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

    def logprobs_mode(self, engine: str | None) -> str | None:
        """What the log probabilities of an answer are on an engine of that mode: under a grammar vLLM takes the raw
        ones after its mask."""
        return "constrained_logprobs" if self.constraint and engine == "raw_logprobs" else engine

    @property
    def has_images(self) -> bool:
        return any(not isinstance(m["content"], str) for m in self.messages or ())

    @property
    def body(self) -> dict[str, Any]:
        """What is asked, without how to sample, as plain data."""
        asked = {"messages": self.messages} if self.prompt is None else {"prompt": self.prompt}
        more: dict[str, Any] = {"suffix": self.suffix, "echo": self.echo, "prefix": self.prefix}
        if self.tools:
            more |= {"tools": [t.to_openai() for t in self.tools], "tool_choice": self.tool_choice}
        return {**asked, **{name: value for name, value in more.items() if value}}

    @classmethod
    def of(cls, body: Mapping[str, Any], sampling: Mapping[str, Any], form: Any = None) -> Request:
        """A request from its `body`, the fields of its Sampling, and its form, as JSON has them."""
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
        """The hash of all that was asked; equal requests have equal keys on every machine."""
        # The form as text: the order of a schema's properties is that of the answer.
        form = [json.dumps(self.response_format.to_openai())] if self.response_format else []
        return digest([self.input, self.sampling.canonical(), *form])

    def resolve(self, defaults: Mapping[str, Any]) -> Request:
        """The same request with every sampling field explicit (see `Sampling.resolve`)."""
        return replace(self, sampling=self.sampling.resolve(defaults))


def _text_or_ids(name: str, given: Any) -> str | tuple[int, ...] | None:
    """A text, or token ids (a NumPy array as well) as a tuple."""
    if given is None or isinstance(given, str):
        return given and encodable(name, given)
    try:
        ids = None if isinstance(given, bytes) else tuple(map(operator.index, given))
    except TypeError:  # no list, or not of whole numbers
        ids = None
    if ids is None or any(i < 0 for i in ids):
        raise ValueError(f"{name} must be a string or a list of token ids, got {given!r}")
    return ids
