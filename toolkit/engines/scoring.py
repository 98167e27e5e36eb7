"""Scoring: the log probabilities of given texts (teacher forcing)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.text import short_repr
from toolkit._internal.validation import limited_list
from toolkit.core.choice import ARRAYS, Choice, mode_of_prompt
from toolkit.core.request import Request
from toolkit.core.sampling import Sampling
from toolkit.prompts.messages import Message, is_message
from toolkit.prompts.rendered import Rendered

if TYPE_CHECKING:
    from toolkit.engines.protocol import Generates


Text = str | Sequence[int]


def score(
    engine: Generates,
    prompt: Text | Rendered | Sequence[Message] | None,
    continuations: Sequence[Text],
    top_logprobs: int = 0,
) -> list[Choice]:
    """See `Engine.score`."""
    if isinstance(continuations, str) or not isinstance(continuations, Iterable):
        raise TypeError(
            f"continuations must be a list of texts, got {short_repr(continuations)}: put it into brackets"
        )
    texts = limited_list("continuations", continuations)
    for text in texts:
        if not hasattr(text, "__len__"):
            raise TypeError(
                f"each continuation must be a text or a list of token ids, got {short_repr(text)}"
            )
        if not len(text):
            raise ValueError(
                f"there is nothing to score in {short_repr(text)}: give each continuation some text"
            )
    if prompt is None or (isinstance(prompt, str) and not prompt):
        return _documents(engine, texts, top_logprobs)
    return list(score_requests(engine, [to_score(prompt, text, top_logprobs) for text in texts]))


def to_score(prompt: Text | Rendered | Sequence[Message], text: Text, top_logprobs: int = 0) -> Request:
    """The request that gives the log probabilities of a text after a prompt."""
    # vLLM must generate something; what it is does not matter.
    sampling = Sampling(temperature=0, max_tokens=1, top_logprobs=top_logprobs, prompt_logprobs=top_logprobs)
    if isinstance(prompt, Rendered) or (isinstance(prompt, (list, tuple)) and any(map(is_message, prompt))):
        return Request.chat(prompt, prefix=text, **sampling.given())
    return Request(prompt=prompt, prefix=text, sampling=sampling)  # type: ignore[arg-type]  # ids become tuples


def score_requests(engine: Generates, requests: Iterable[Request]) -> Iterator[Choice]:
    """The prefix of each request as a choice with log probabilities, in order. Raises RequestError for one that the
    engine refuses."""
    from toolkit.errors import RequestError

    resolved = [request.resolve(engine.defaults) for request in requests]
    choices = {}
    for completion in engine.generate({request.key: request for request in resolved}.values()):
        if completion.error is not None:
            raise RequestError(completion.error)
        if not completion.choices[0].prefix_tokens:
            raise ValueError(
                f"the tokenizer has no tokens for {short_repr(completion.request.prefix)}: there is nothing to score"
            )
        choices[completion.request.key] = prefix_choice(completion.choices[0])
    return (choices[request.key] for request in resolved)


def prefix_choice(choice: Choice) -> Choice:
    """The given (not generated) tokens of a choice, as a choice of their own."""
    arrays = {n: a[: choice.prefix_tokens] for n in ARRAYS if (a := getattr(choice, n)) is not None}
    raw = b"".join(map(choice.token_bytes, arrays["token_ids"].tolist()))
    return replace(
        choice,
        index=0,
        text=raw.decode("utf-8", "replace"),
        finish_reason="scored",
        stop_reason=None,
        logprobs_mode=mode_of_prompt(choice.logprobs_mode),
        **arrays,
    )


def _documents(engine: Generates, texts: Sequence[Text], top_logprobs: int) -> list[Choice]:
    """Scores texts without a prompt, in several windows where they are longer than the context window."""
    prompts = [Request(prompt=text) for text in texts]  # type: ignore[arg-type]  # becomes a tuple
    encoded = [p.prompt if isinstance(p.prompt, tuple) else engine.encode(p) for p in prompts]
    for text, token_ids in zip(texts, encoded, strict=True):
        if not token_ids or max(token_ids) >= len(engine.vocabulary):
            raise ValueError(
                f"the tokenizer does not know the tokens of {short_repr(text)}: there is nothing to score"
            )
    requests_of_texts = [
        [
            to_score(token_ids[first:begin], token_ids[begin:end], top_logprobs)
            for first, begin, end in _windows(len(token_ids), size)
        ]
        for token_ids in encoded
        for size in [engine.window - 1]  # a token must be generated
    ]
    parts = score_requests(engine, [request for requests in requests_of_texts for request in requests])
    return [
        _joined(engine, token_ids, [next(parts) for _ in requests], top_logprobs)
        for token_ids, requests in zip(encoded, requests_of_texts, strict=True)
    ]


def _windows(tokens: int, size: int) -> Iterator[tuple[int, int, int]]:
    """(first token, first scored token, end) of windows of at most `size` tokens: each token but the first is scored
    once, after at least half a window of preceding tokens where there are so many."""
    begin = 1
    while begin < tokens:
        first = 0 if begin == 1 else begin - size // 2
        end = min(first + size, tokens)
        yield first, begin, end
        begin = end


def _joined(engine: Generates, ids: Sequence[int], parts: list[Choice], top: int) -> Choice:
    """The scored parts of a text after its first token, which has no log probability."""
    width = parts[0].top_ids.shape[1] if parts and parts[0].top_ids is not None else max(top, 0)
    shapes = {
        "token_ids": (1,),
        "logprobs": (1,),
        "ranks": (1,),
        "top_ids": (1, width),
        "top_logprobs": (1, width),
    }
    head: dict[str, Any] = {
        n: np.full(shapes[n], np.nan if kind is np.float32 else 0, kind) for n, kind in ARRAYS.items()
    }
    head["token_ids"][:] = ids[0]
    arrays = {n: np.concatenate([head[n], *(getattr(p, n) for p in parts)]) for n in ARRAYS}
    vocabulary = engine.vocabulary
    return Choice(
        0,
        b"".join(vocabulary[i] for i in ids).decode("utf-8", "replace"),
        "scored",
        logprobs_mode=mode_of_prompt(engine.fingerprint.components.get("logprobs_mode")),
        prefix_tokens=len(ids),
        vocabulary=lambda: vocabulary,
        **arrays,
    )
