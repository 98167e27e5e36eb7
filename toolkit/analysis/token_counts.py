"""Counts the tokens of texts and conversations for a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import regex

from toolkit._internal.text import short_repr
from toolkit._internal.validation import encodable, limited_list
from toolkit.analysis.tokenizer_lookup import find_tokenizer
from toolkit.core.request import Request
from toolkit.engines.base import Engine
from toolkit.prompts.messages import Message
from toolkit.prompts.rendered import Rendered
from toolkit.tokenizers.text_tokenizer import Longs, TextTokenizer

if TYPE_CHECKING:
    import pandas as pd


_WORD = regex.compile(r"(?w)\b\w")
"""The beginning of a word, by Unicode's default rules (UAX #29)."""


class Count(int):
    """A number of tokens, and how it was counted."""

    estimate: bool
    """Whether the counting rule is an approximation of the model's."""
    how: str
    """The tokenizer and the rule."""

    def __new__(cls, value: int, how: str = "", estimate: bool = False) -> Count:
        count = super().__new__(cls, value)
        count.how, count.estimate = how, estimate
        return count

    def __repr__(self) -> str:
        return f"{int(self)} ({'estimate: ' if self.estimate else ''}{self.how})"

    def __str__(self) -> str:
        return int.__repr__(self)


def count_tokens(
    what: str | Rendered | Request | Sequence[Message], model: str | Engine | None = None
) -> Count:
    """The number of tokens of a text without a chat template, or of the whole prompt for messages (a rendered prompt,
    a request with its tools).

    model: None for the engine loaded last; an engine; one of OpenAI's models ("gpt-4o", dated or fine-tuned ones) or
    encodings ("cl100k_base"), by tiktoken; or a Hugging Face tokenizer, by folder or by a name in the local cache.
    Exact except for messages to OpenAI's models, whose prompts are not public: these counts are estimates by the rule
    of OpenAI's cookbook, and marked as such. OpenAI's encodings read the names of special tokens in a text
    ("<|endoftext|>") as ordinary text; all others read them as those tokens, as vLLM does. Nothing is downloaded.

    Raises TypeError for neither text nor messages, ValueError for bad messages, images that cannot be counted here,
    or no engine, ModelError for an unknown model or a tokenizer that is not on this machine.

    >>> count_tokens([{"role": "user", "content": "ChatGPT is great!"}], "gpt-3.5-turbo-0613").estimate
    True
    """
    if isinstance(what, (list, tuple)) and any(isinstance(item, str) for item in what):
        raise TypeError("these are texts, not messages: toolkit.count_many counts each of many texts")
    tokenizer = find_tokenizer(model)
    if isinstance(what, str):
        return Count(len(tokenizer.ids(encodable("text", what))), f"{tokenizer.name}; plain text")
    number, estimate, how = tokenizer.prompt(what if isinstance(what, Request) else Request.chat(what))
    return Count(number, how, estimate)


def count_many(texts: Iterable[str], model: str | Engine | None = None) -> Longs:
    """(N,) token counts of N texts, each counted separately, on all CPU cores. model: as for `count_tokens`.

    Raises TypeError unless `texts` is a list of texts, and as `count_tokens` does.
    """
    return find_tokenizer(model).counts(_as_list("texts", texts, "toolkit.count_tokens counts one text"))


def _as_list(name: str, values: Any, fix: str) -> list[Any]:
    """The values of an iterable (a list, a Series, a 1-D array) as a list; raises TypeError for other types."""
    single = isinstance(values, (str, bytes, Mapping, Engine)) or not isinstance(values, Iterable)
    if single or getattr(values, "ndim", 1) != 1:  # a table iterates over its columns, a dict over its keys
        raise TypeError(f"{name} must be a list, not {type(values).__name__}: {fix}")
    return limited_list(name, values)


def compare_tokenizers(
    texts: Mapping[str, str] | Iterable[str], models: Iterable[str | Engine | None]
) -> pd.DataFrame:
    """Token counts of the same texts for several models: a row for each text and model.

    texts: by name (such as a language), or a list. models: as for `count_tokens`. Columns: words (by Unicode's
    default rules, UAX #29, of letters or digits; scripts without spaces between words are split into characters),
    tokens, fertility (tokens per word), characters and bytes (of UTF-8) per token, overhead (tokens of the text as
    one user message, minus those of the text) and estimate (whether the overhead is an estimate, as it is for
    OpenAI's models); the last two are missing if the model has no chat template.

    Raises TypeError and ValueError for bad or empty texts, and as `count_tokens` does.
    """
    import pandas as pd

    named = (
        texts
        if isinstance(texts, Mapping)
        else dict(enumerate(_as_list("texts", texts, "one text is [text]")))
    )
    tokenizers = [
        (_label(model), find_tokenizer(model)) for model in _as_list("models", models, "one model is [model]")
    ]
    if not named or not tokenizers:
        raise ValueError("give at least one text and one model to compare")
    rows = [
        {"text": name, "model": label, **_measures(f"texts[{name!r}]", text, tokenizer)}
        for name, text in named.items()
        for label, tokenizer in tokenizers
    ]
    return pd.DataFrame(rows).astype({"overhead": "Int64", "estimate": "boolean"})


def _label(model: str | Engine | None) -> str:
    return "loaded" if model is None else model.model if isinstance(model, Engine) else model


def _measures(name: str, text: Any, tokenizer: TextTokenizer) -> dict[str, Any]:
    if not isinstance(text, str) or not text:
        raise TypeError(f"{name} must be a text that is not empty, got {short_repr(text)}")
    count, words = len(tokenizer.ids(encodable(name, text))), len(_WORD.findall(text))
    overhead, estimate = None, None
    with contextlib.suppress(ValueError):  # no chat template, or one that rejects a single user message
        prompt_tokens, estimate, _ = tokenizer.prompt(Request.chat(text))
        overhead = prompt_tokens - count
    return {
        "words": words,
        "tokens": count,
        "fertility": count / words if words else float("nan"),
        "characters_per_token": len(text) / count if count else float("nan"),
        "bytes_per_token": len(text.encode()) / count if count else float("nan"),
        "overhead": overhead,
        "estimate": estimate,
    }
