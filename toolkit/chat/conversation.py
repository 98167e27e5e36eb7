"""Conversation: many turns with an engine, with editing, forking and the tokens of each turn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.completion import Completion, Delta, Usage
from toolkit.engine import Engine, RequestError
from toolkit.messages import Message, Messages, copied, messages, plain_text, view
from toolkit.prompt import Rendered
from toolkit.request import Request
from toolkit.sampling import DEFAULT_MAX_TOKENS, Sampling
from toolkit.window import fit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Exchange:
    """What was said, and what the model answered."""

    said: Mapping[str, Any]
    """The user's message."""
    answer: str
    finish_reason: str
    usage: Usage
    """Prompt tokens are those of the whole conversation until then: each turn sends it again."""
    system_fingerprint: str
    dropped: int = 0
    """Messages of earlier exchanges that were not sent, since the window had no room for them."""
    seconds: float | None = None
    completion: Completion | None = None
    """The whole answer, with its arrays; not in a file."""

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
    """A conversation with an engine: `say` sends everything said so far and one message more.

    before: messages that stand before all turns, such as a system message; a string is a system message.
    strategy: "refuse" a turn that does not fit the context window, or leave out the oldest "turns" (they stay in
    the record). sampling: for every turn; `say` may set others.

    >>> talk = Conversation(engine, "Answer in one word.")  # doctest: +SKIP
    >>> talk.say("What is the capital of France?").text  # doctest: +SKIP
    'Paris.'
    """

    def __init__(
        self,
        engine: Engine,
        before: str | Sequence[Message] = (),
        strategy: str = "refuse",
        **sampling: Any,
    ) -> None:
        if strategy not in ("refuse", "turns"):
            raise ValueError(f"strategy must be refuse or turns, got {strategy!r}")
        self.engine = engine
        given = [{"role": "system", "content": before}] if isinstance(before, str) and before else before
        self.before: Messages = messages(list(given)) if given else ()
        self.strategy = strategy
        self.sampling = Sampling(**sampling)
        self._exchanges: tuple[Exchange, ...] = ()

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """All turns so far, the oldest first."""
        return self._exchanges

    @property
    def messages(self) -> Messages:
        """Everything said so far, as it would be sent."""
        return copied((*self.before, *(m for e in self._exchanges for m in e.messages)))

    @property
    def usage(self) -> Usage:
        """The tokens of all turns together: what they would be billed as."""
        return sum((e.usage for e in self._exchanges), Usage())

    def say(
        self, text: str | Sequence[Mapping[str, Any]], response_format: Any = None, **sampling: Any
    ) -> Completion:
        """Says something (text, or content parts) and gives the answer, in a form if need be. A turn that fails or is
        interrupted leaves the conversation as it was.

        Raises ValueError when it does not fit the context window, RequestError when it cannot be answered.
        """
        said, request = self._request(text, sampling, response_format)
        (completion,) = self.engine.generate([request])
        if completion.error is not None:
            raise RequestError(completion.error)
        self._add(said, completion)
        return completion

    def stream(
        self, text: str | Sequence[Mapping[str, Any]], response_format: Any = None, **sampling: Any
    ) -> Iterator[Delta]:
        """Like `say`, piece by piece; the turn counts once the last piece has come."""
        said, request = self._request(text, sampling, response_format)
        for delta in self.engine.stream_request(request):
            if delta.completion is not None:
                self._add(said, delta.completion)
            yield delta

    def edit(self, turn: int, text: str | Sequence[Mapping[str, Any]], **sampling: Any) -> Completion:
        """Says something else at a turn (0 is the first, -1 the last) and forgets what came after it.

        `fork` first to keep what was there. Raises IndexError for a turn that is not there.
        """
        kept = self._exchanges
        if not -len(kept) <= turn < len(kept):
            raise IndexError(f"there is no turn {turn}: the conversation has {len(kept)}")
        place = range(len(kept))[turn]
        self._exchanges = kept[:place]
        try:
            return self.say(text, **sampling)
        except BaseException:
            self._exchanges = kept
            raise

    def undo(self) -> Exchange:
        """Takes the last turn back and gives it. Raises IndexError when there is none."""
        if not self._exchanges:
            raise IndexError("there is no turn to undo: the conversation is empty")
        self._exchanges, last = self._exchanges[:-1], self._exchanges[-1]
        return last

    def fork(self) -> Conversation:
        """A conversation of its own that begins with all that was said in this one."""
        other = Conversation(self.engine, self.before, self.strategy, **self.sampling.given())
        other._exchanges = self._exchanges
        return other

    def frame(self) -> pd.DataFrame:
        """A row for each turn: what was said and answered, tokens, why it ended, seconds."""
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
        return pd.DataFrame(rows).rename_axis("turn")

    def save(self, path: str | Path) -> Path:
        """Writes the conversation as JSON: messages, and each turn with its usage and fingerprint."""
        data = {
            "model": self.engine.model,
            "strategy": self.strategy,
            "sampling": self.sampling.given(),
            "before": self.before,
            "exchanges": [e.to_dict() for e in self._exchanges],
            "messages": self.messages,
        }
        Path(path).write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        return Path(path)

    @classmethod
    def load(cls, engine: Engine, path: str | Path) -> Conversation:
        """Goes on with a conversation that `save` wrote, on any engine."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            talk = cls(engine, data["before"], data["strategy"], **data["sampling"])
            talk._exchanges = tuple(
                Exchange(**{**e, "usage": Usage(**e["usage"])}) for e in data["exchanges"]
            )
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is no conversation that was saved here: {error!r}") from None
        return talk

    def _request(self, text: Any, sampling: Mapping[str, Any], form: Any) -> tuple[dict[str, Any], Request]:
        (said,) = messages([{"role": "user", "content": text}])
        settings = self.sampling.with_(**sampling)

        def build(kept: Mapping[str, Any]) -> Messages:
            return (*self.before, *(m for exchange in kept["turns"] for m in exchange), said)

        reserve = settings.max_tokens or DEFAULT_MAX_TOKENS
        turns = {"turns": [e.messages for e in self._exchanges]}
        kept, dropped, tokens = fit(build, turns, self.engine, reserve, self.strategy)
        rendered = Rendered(build(kept), dropped=dropped, prompt_tokens=tokens)
        return said, Request.chat(rendered, response_format=form, **settings.given())

    def _add(self, said: dict[str, Any], completion: Completion) -> None:
        exchange = Exchange(
            said=said,
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
        return f"{self.usage.prompt_tokens:,} + {self.usage.completion_tokens:,} tokens in all"

    def _repr_html_(self) -> str:
        return view(self.messages, f"{len(self)} turns, {self._summary()}")
