"""Conversation: a multi-turn chat with an engine, with editing, forking and the tokens of each turn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from toolkit._internal.files import read_text, write_atomically
from toolkit._internal.text import short_repr
from toolkit._internal.validation import position
from toolkit.core.completion import Completion, Delta, Usage
from toolkit.core.options import SamplingOptions, spelled_out
from toolkit.core.request import Request
from toolkit.core.sampling import DEFAULT_MAX_TOKENS, Sampling
from toolkit.display.markup import Markup
from toolkit.engines.base import Engine, as_engine
from toolkit.errors import RequestError
from toolkit.prompts.context_window import fit
from toolkit.prompts.messages import Message, Messages, copy_messages, messages, plain_text
from toolkit.prompts.messages_html import view
from toolkit.prompts.rendered import Rendered

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Exchange:
    """A turn: the user's message and the model's answer."""

    said: Mapping[str, Any]
    """The user's message."""
    answer: str
    finish_reason: str
    usage: Usage
    """Prompt tokens include all earlier turns, since each turn sends the whole conversation."""
    system_fingerprint: str
    dropped: int = 0
    """Number of messages of earlier exchanges that were left out to fit the context window."""
    seconds: float | None = None
    completion: Completion | None = None
    """The completion, with its arrays; not saved to files."""

    @property
    def messages(self) -> Messages:
        return (dict(self.said), {"role": "assistant", "content": self.answer})

    def to_dict(self) -> dict[str, Any]:
        """As plain data, without the completion."""
        plain = ("answer", "finish_reason", "system_fingerprint", "dropped", "seconds")
        usage = {
            name: getattr(self.usage, name)
            for name in ("prompt_tokens", "completion_tokens", "cached_tokens")
        }
        return {"said": dict(self.said), **{name: getattr(self, name) for name in plain}, "usage": usage}


class Conversation:
    """A conversation with an engine: `say` sends all messages so far and a new one.

    before: messages before all turns, such as a system message; a string is a system message. strategy: "refuse" a
    turn that does not fit the context window, or leave the oldest "turns" out of the request (the conversation keeps
    them). sampling: the sampling parameters of every turn; `say` may override them.

    >>> talk = Conversation(engine, "Answer in one word.")  # doctest: +SKIP
    >>> talk.say("What is the capital of France?").text  # doctest: +SKIP
    'Paris.'
    """

    @spelled_out(SamplingOptions)
    def __init__(
        self,
        engine: Engine,
        before: str | Sequence[Message] = (),
        strategy: str = "refuse",
        **sampling: Unpack[SamplingOptions],
    ) -> None:
        if strategy not in ("refuse", "turns"):
            raise ValueError(f"strategy must be refuse or turns, got {short_repr(strategy)}")
        self.engine = as_engine(engine)
        prefix = [{"role": "system", "content": before}] if isinstance(before, str) and before else before
        self.before: Messages = messages(list(prefix)) if prefix else ()
        self.strategy = strategy
        self.sampling = Sampling(**sampling)  # type: ignore[arg-type, misc]  # which it makes tuples of
        self._exchanges: tuple[Exchange, ...] = ()

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """All turns so far, oldest first."""
        return self._exchanges

    @property
    def messages(self) -> Messages:
        """All messages so far, including `before`."""
        return copy_messages((*self.before, *(m for e in self._exchanges for m in e.messages)))

    @property
    def usage(self) -> Usage:
        """The tokens of all turns together, as they would be billed."""
        return sum((e.usage for e in self._exchanges), Usage())

    @spelled_out(SamplingOptions)
    def say(
        self,
        text: str | Sequence[Mapping[str, Any]],
        response_format: Any = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Completion:
        """Sends a user message (text, or content parts) and returns the completion, constrained to `response_format`
        if there is one. A turn that fails or is interrupted leaves the conversation unchanged.

        Raises ValueError when the turn does not fit the context window, RequestError when it fails.
        """
        message, request = self._request(text, sampling, response_format)
        (completion,) = self.engine.generate([request])
        if completion.error is not None:
            raise RequestError(completion.error)
        self._add(message, completion)
        return completion

    @spelled_out(SamplingOptions)
    def stream(
        self,
        text: str | Sequence[Mapping[str, Any]],
        response_format: Any = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Iterator[Delta]:
        """Like `say`, streamed; the turn is added with the last delta."""
        message, request = self._request(text, sampling, response_format)
        for delta in self.engine.stream_request(request):
            if delta.completion is not None:
                self._add(message, delta.completion)
            yield delta

    @spelled_out(SamplingOptions)
    def edit(
        self, turn: int, text: str | Sequence[Mapping[str, Any]], **sampling: Unpack[SamplingOptions]
    ) -> Completion:
        """Replaces the message of a turn (0 is the first, -1 the last) and removes all later turns.

        `fork` first to keep them. Raises IndexError for a turn that does not exist.
        """
        exchanges = self._exchanges
        index = position("turn", turn, len(exchanges))
        self._exchanges = exchanges[:index]
        try:
            return self.say(text, **sampling)
        except BaseException:
            self._exchanges = exchanges
            raise

    def undo(self) -> Exchange:
        """Removes the last turn and returns it. Raises IndexError when there is none."""
        if not self._exchanges:
            raise IndexError("there is no turn to undo: the conversation is empty")
        self._exchanges, last = self._exchanges[:-1], self._exchanges[-1]
        return last

    def fork(self) -> Conversation:
        """An independent conversation that begins with all turns of this one."""
        other = Conversation(self.engine, self.before, self.strategy, **self.sampling.given())
        other._exchanges = self._exchanges
        return other

    def frame(self) -> pd.DataFrame:
        """A row for each turn: message, answer, finish reason, tokens, seconds, fingerprint."""
        import pandas as pd

        rows = [
            {
                "said": plain_text(e.said),
                "answer": e.answer,
                "finish_reason": e.finish_reason,
                "prompt_tokens": e.usage.prompt_tokens,
                "cached_tokens": e.usage.cached_tokens,
                "completion_tokens": e.usage.completion_tokens,
                "dropped": e.dropped,
                "seconds": e.seconds,
                "system_fingerprint": e.system_fingerprint,
            }
            for e in self._exchanges
        ]
        table = pd.DataFrame(rows).rename_axis("turn")
        return table.astype({name: "Int64" for name in table if str(name).endswith("_tokens")})

    def save(self, path: str | Path) -> Path:
        """Writes the conversation as JSON: messages, and each turn with its usage and fingerprint. Makes the file's
        folder.

        Raises ValueError for text that no file can hold, OSError; both name the file."""
        data = {
            "model": self.engine.model,
            "strategy": self.strategy,
            "sampling": self.sampling.given(),
            "before": self.before,
            "exchanges": [e.to_dict() for e in self._exchanges],
            "messages": self.messages,
        }
        return write_atomically(path, json.dumps(data, ensure_ascii=False, indent=2) + "\n")

    @classmethod
    def load(cls, engine: Engine, path: str | Path) -> Conversation:
        """Continues a conversation that `save` wrote, on any engine. Raises ValueError for any other file,
        OSError."""
        engine, text = as_engine(engine), read_text(path)
        try:
            data = json.loads(text)
            conversation = cls(engine, data["before"], data["strategy"], **data["sampling"])
            conversation._exchanges = tuple(map(_restored, data["exchanges"]))
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no conversation that was saved here: {short_repr(error)}") from None
        return conversation

    def _request(
        self, text: Any, sampling: Mapping[str, Any], response_format: Any
    ) -> tuple[dict[str, Any], Request]:
        """The message of a new turn, and its request."""
        (message,) = messages([{"role": "user", "content": text}])
        settings = self.sampling.with_(**sampling)

        def build(kept: Mapping[str, Any]) -> Messages:
            return (*self.before, *(m for exchange in kept["turns"] for m in exchange), message)

        reserve = settings.max_tokens or DEFAULT_MAX_TOKENS
        turns = {"turns": [e.messages for e in self._exchanges]}
        kept, dropped, tokens = fit(build, turns, self.engine, reserve, self.strategy)
        rendered = Rendered(build(kept), dropped=dropped, prompt_tokens=tokens)
        return message, Request.chat(rendered, response_format=response_format, **settings.given())

    def _add(self, message: dict[str, Any], completion: Completion) -> None:
        exchange = Exchange(
            said=message,
            answer=completion.text,
            finish_reason=completion.finish_reason,
            usage=completion.usage,
            system_fingerprint=completion.system_fingerprint,
            dropped=completion.notes.get("dropped", {}).get("turns", 0),
            seconds=completion.seconds,
            completion=completion,
        )
        self._exchanges = (*self._exchanges, exchange)

    def __len__(self) -> int:
        return len(self._exchanges)

    def __repr__(self) -> str:
        return f"Conversation({len(self)} turns, {self._summary()})"

    def _summary(self) -> str:
        return f"{self.usage} in all"

    def _repr_html_(self) -> Markup:
        return view(self.messages, f"{len(self)} turns, {self._summary()}")


def _restored(data: Mapping[str, Any]) -> Exchange:
    """A turn that was saved. Raises ValueError or TypeError for what is none."""
    (said,) = messages([data["said"]])
    if not isinstance(data["answer"], str):
        raise TypeError(f"an answer must be text, got {short_repr(data['answer'])}")
    return Exchange(**{**data, "said": said, "usage": Usage(**data["usage"])})
