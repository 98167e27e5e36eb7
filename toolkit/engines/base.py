"""The engine interface: requests in, completions out."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from toolkit._internal.validation import instance_of
from toolkit.core.choice import Choice, Vocabulary
from toolkit.core.completion import Completion, Delta
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.options import ChatOptions, ParseOptions, SamplingOptions, spelled_out
from toolkit.core.request import Request, ResolvedRequest
from toolkit.core.sampling import Sampling
from toolkit.engines import branching, scoring
from toolkit.errors import EngineError, NotTold, RequestError
from toolkit.prompts.messages import Message
from toolkit.prompts.rendered import Rendered
from toolkit.store.store import Store
from toolkit.tokenizers.huggingface import Tokenizer


class Engine(ABC):
    """Turns requests into completions. Safe to use from several threads: they share one batch.

    A new engine is a subclass with the abstract members, in any file; a class attribute will do for a property. If
    one is missing, making it raises TypeError. What the model or its server does not report raises NotTold. A request
    with a setting that the engine does not have fails: no setting is ignored.
    """

    @property
    @abstractmethod
    def model(self) -> str:
        """The model's name."""

    @property
    @abstractmethod
    def fingerprint(self) -> Fingerprint:
        """The record of everything that determines this engine's outputs. Of its components the toolkit itself reads
        model (for tables), tokenizer (a name or hash, under which stores keep the vocabulary: without it stored
        tokens have no texts), max_model_len (the context window), generation_config (default sampling parameters),
        logprobs_mode (see `Choice`), and device (kind and count, for its energy)."""

    @property
    def fingerprint_available(self) -> bool:
        """Whether the fingerprint can be had without starting the engine, which may take long."""
        return True

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Every fingerprint that completions of this engine carry: one, unless a server changes at its address."""
        return (self.fingerprint,)

    @abstractmethod
    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Many requests as one batch; completions come as they finish, in that order. A generator: callers close it.

        The `request` of each completion is the resolved one, `request.resolve(engine.defaults)`. A request that fails
        comes back as a completion with `error` set (`Completion.failed`); the others are unaffected. Leaving the loop
        early cancels what is still running.
        """

    def ordered(self, requests: Sequence[ResolvedRequest]) -> list[ResolvedRequest]:
        """The requests of a batch in the order in which this engine computes them fastest, for a caller that gives
        them to `generate` as an iterator."""
        return list(requests)

    @abstractmethod
    def stream_request(self, request: Request) -> Iterator[Delta]:
        """Streams one request; the last delta carries the whole completion. Leaving the loop early cancels it. Raises
        RequestError."""

    @abstractmethod
    def encode(self, request: Request | str | Rendered | Sequence[Message]) -> tuple[int, ...]:
        """The prompt's token IDs for a request or for messages, by the model's own tokenizer and chat template.

        Raises ValueError when the chat template refuses the messages, or the request cannot be prepared for another
        reason; NotTold where a server does not report them.
        """

    def count(self, request: Request | str | Rendered | Sequence[Message]) -> int:
        """Prompt tokens of a request or of messages, exactly (see `encode`)."""
        return len(self.encode(request))

    @property
    def window(self) -> int:
        """The context window: the most tokens of prompt and completion together. Raises NotTold where the fingerprint
        does not have it."""
        window = self.fingerprint.components.get("max_model_len")
        if window is None:
            raise NotTold(
                f"the fingerprint of {self.model} has no max_model_len: the context window is not known"
            )
        return int(window)

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The model's Hugging Face tokenizer, where it is on this machine; else tokens are counted by `encode`."""
        return None

    @property
    @abstractmethod
    def vocabulary(self) -> Vocabulary:
        """The bytes of every token ID; empty where a server does not report them."""

    @property
    @abstractmethod
    def ends(self) -> frozenset[int]:
        """The IDs of tokens that end a text. Raises NotTold where a server does not report them."""

    @property
    @abstractmethod
    def generated_tokens(self) -> int:
        """Tokens generated since the engine started, approximately, those of unfinished completions included."""

    @abstractmethod
    def start(self) -> Self:
        """Starts the engine now instead of at the first request. Raises EngineError."""

    @abstractmethod
    def close(self) -> None:
        """Cancels what is running and frees the model's memory. Closing twice is fine."""

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Sampling parameters that the model's generation config sets."""
        generation_config = self.fingerprint.components.get("generation_config")
        return generation_config if isinstance(generation_config, Mapping) else {}

    @spelled_out(ChatOptions)
    def chat(
        self, messages: str | Rendered | Sequence[Message], **options: Unpack[ChatOptions]
    ) -> Completion:
        """Completes one conversation: messages, a rendered prompt, or a string, which is one user message.

        Options are the fields of Sampling (max_completion_tokens is taken as max_tokens), and response_format (a form
        for the answer: a pydantic model, a dataclass, a TypedDict, a JSON Schema, OpenAI's dicts, vLLM's regex and
        grammar, or texts to choose from, as a list, an Enum or a Literal), tools (typed functions, or OpenAI's
        dicts), tool_choice (auto, none, required, or a name), and prefix (text or token IDs that the completion
        begins with).

        Raises ValueError or TypeError for bad options, RequestError when the request fails.

        >>> engine.chat("What is the capital of France?", temperature=0).text  # doctest: +SKIP
        'The capital of France is Paris.'
        """
        return self._generate_one(Request.chat(messages, **options))

    @spelled_out(ParseOptions)
    def parse(
        self,
        messages: str | Rendered | Sequence[Message],
        response_format: Any,
        **options: Unpack[ParseOptions],
    ) -> Completion:
        """Like `chat`, as `client.chat.completions.parse` is: `c.parsed` is an instance of response_format.

        An answer that does not match the schema raises nothing: `c.parsed` is None, and `c.schema_verdict` says
        whether it was truncated, is not JSON, or violates the schema, and where.
        """
        return self.chat(messages, response_format=response_format, **options)

    @spelled_out(SamplingOptions)
    def complete(
        self,
        prompt: str | Sequence[int],
        *,
        suffix: str | None = None,
        echo: bool = False,
        response_format: Any = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Completion:
        """Continues a text (or token IDs) as it stands, without a chat template: OpenAI's legacy completions call.

        suffix: text that follows the generated text, for models that can fill in the middle. echo: the text
        begins with the prompt; with logprobs, `c.prompt` holds the log probabilities of the prompt's tokens.
        A chat of one user message differs from this by the model's chat template only.

        Raises ValueError or TypeError for bad options, RequestError when the request fails.
        """
        settings = Sampling(**sampling)  # type: ignore[arg-type, misc]  # which it makes tuples of
        return self._generate_one(
            Request(
                prompt=prompt,  # type: ignore[arg-type]  # ids become a tuple there
                sampling=settings,
                suffix=suffix,
                echo=echo,
                response_format=response_format,
            )
        )

    def score(
        self,
        prompt: str | Sequence[int] | Rendered | Sequence[Message] | None,
        continuations: Sequence[str | Sequence[int]],
        *,
        top_logprobs: int = 0,
    ) -> list[Choice]:
        """The log probabilities of given texts, each as the continuation of the prompt (teacher forcing): a choice
        for each, in their order, for `toolkit.logprobs`.

        prompt: text or token IDs that the texts continue as they stand, or messages (a rendered prompt), which they
        answer; with None each text is a document, whose first token has no log probability, scored in overlapping
        windows where it is longer than the context window. Prompt and continuation of plain text are tokenized as
        one text if that leaves the prompt's tokens unchanged; a prompt that ends in a space often changes them: put
        the space into the continuation. Compare texts of different length by sum or by mean: see `Logprobs.summary`.

        Raises TypeError or ValueError for bad input, RequestError for what the engine refuses.

        >>> tk.logprobs(engine.score("The capital of France is", [" Paris", " Rome"])).summary()  # doctest: +SKIP
        """
        return scoring.score(self, prompt, continuations, top_logprobs)

    def branch(self, completion: Completion, at: int, token: str | int, choice: int = 0) -> Completion:
        """The same completion up to a step, another token there, and how the model continues after it.

        at: the step, from 0; at its number of tokens the completion continues after its end. token: its text (more
        than one token is fine) or ID; `toolkit.logprobs(c).top()` lists the likely ones. choice: the index of the
        choice. The branch is a whole completion, with the log probabilities of its first part where the original has
        them, under the same settings: limits apply to the whole (after its end they start again), and penalties and
        the seed count from the fork on, as `notes` records. A token that ends the completion (end of text, a stop
        string, the last of max_tokens) costs no request; its log probability is known if it is in the top k.

        Raises IndexError, TypeError or ValueError for bad input, RequestError when the request fails.

        >>> engine.branch(c, at=12, token=" not").text  # doctest: +SKIP
        """
        return branching.branch(self, completion, at, token, choice)

    @spelled_out(ChatOptions)
    def stream(
        self, messages: str | Rendered | Sequence[Message], **options: Unpack[ChatOptions]
    ) -> Iterator[Delta]:
        """Like `chat`, streamed; the last delta carries finish reason, usage and the whole completion. Leaving the
        loop early cancels the request."""
        return self.stream_request(Request.chat(messages, **options))

    def _generate_one(self, request: Request) -> Completion:
        (completion,) = self.generate([request])
        if completion.error is not None:
            raise RequestError(completion.error)
        return completion

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextlib.contextmanager
def request_errors() -> Iterator[None]:
    """Around what is done for one request alone, by an engine or a plan: whatever fails there is a ValueError, which
    is an error of that request. An EngineError concerns every request, and stays what it is."""
    try:
        yield
    except (EngineError, ValueError):
        raise
    except Exception as error:
        raise ValueError(
            f"this request cannot be handled ({type(error).__name__}: {error}): look at its messages, token ids, "
            "tools and schema"
        ) from error


def as_engine(value: Any) -> Engine:
    """The engine unchanged. Raises TypeError for anything else."""
    return instance_of(Engine, "engine", value, _engine_hint(value))  # type: ignore[type-abstract]


def _engine_hint(value: Any) -> str:
    """What to write for an engine, by what was given in its place."""
    makers = "toolkit.load() makes one, toolkit.connect(url) one on a server"
    is_file_name = isinstance(value, str) and value.endswith((".db", ".sqlite", ".sqlite3"))
    if is_file_name or isinstance(value, (Path, Store)):
        name = value.path if isinstance(value, Store) else str(value)
        return f"{makers}; the store comes after it, as in sweep.run(engine, store={name!r})"
    if not isinstance(value, str):
        return makers
    if value.startswith(("http://", "https://")):
        return f"{makers}; toolkit.connect({value!r}) on this server"
    return f"{makers}; toolkit.load({value!r}) of this model"


def reported_window(engine: Engine) -> int | None:
    """The context window of an engine; None where its model or server does not report it."""
    try:
        return engine.window
    except NotTold:
        return None
