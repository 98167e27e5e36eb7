"""Count: how many tokens a text or a conversation has for a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import regex

from toolkit.coder import Coder, Longs, coder
from toolkit.engine import Engine
from toolkit.messages import Message, encodable
from toolkit.prompt import Rendered
from toolkit.request import Request

if TYPE_CHECKING:
    import pandas as pd

_WORD = regex.compile(r"(?w)\b\w")
"""The beginning of a word, by Unicode's default rules (UAX #29)."""


class Count(int):
    """A number of tokens, and how it was counted."""

    estimate: bool
    """The rule is not the model's own."""
    how: str
    """Which tokenizer, and which rule."""

    def __new__(cls, value: int, how: str = "", estimate: bool = False) -> Count:
        made = super().__new__(cls, value)
        made.how, made.estimate = how, estimate
        return made

    def __repr__(self) -> str:
        return f"{int(self)} ({'estimate: ' if self.estimate else ''}{self.how})"

    def __str__(self) -> str:
        return int.__repr__(self)


def count_tokens(
    what: str | Rendered | Request | Sequence[Message], model: str | Engine | None = None
) -> Count:
    """The tokens of a text by itself, or of the prompt that a model is given for messages (a rendered prompt, a
    request with its tools).

    model: None for the engine loaded last; an engine; one of OpenAI's models ("gpt-4o", dated or fine-tuned ones) or
    encodings ("cl100k_base"), by tiktoken; or a Hugging Face tokenizer, by folder or by a name in the local cache.
    Exact but for messages to OpenAI's models, whose prompts are not public: these are an estimate by the rule of
    OpenAI's cookbook, and say so. The names of special tokens in a text ("<|endoftext|>") are ordinary text to
    OpenAI's encodings; to all others they are those tokens, as vLLM reads them. Nothing is fetched.

    Raises TypeError for what is neither text nor messages, ValueError for bad messages, images that cannot be counted
    here, or no engine, ModelError for an unknown model or a tokenizer that is not on this machine.

    >>> count_tokens([{"role": "user", "content": "ChatGPT is great!"}], "gpt-3.5-turbo-0613").estimate
    True
    """
    if isinstance(what, (list, tuple)) and any(isinstance(one, str) for one in what):
        raise TypeError("these are texts, not messages: toolkit.count_many counts each of many texts")
    found = coder(model)
    if isinstance(what, str):
        return Count(len(found.ids(encodable("text", what))), f"{found.name}; plain text")
    number, estimate, how = found.prompt(what if isinstance(what, Request) else Request.chat(what))
    return Count(number, how, estimate)


def count_many(texts: Iterable[str], model: str | Engine | None = None) -> Longs:
    """(N,) the tokens of each of N texts by itself, on all processors. model: as for `count_tokens`.

    Raises TypeError for what is no list of texts, and as `count_tokens` does.
    """
    return coder(model).counts(_listed("texts", texts, "toolkit.count_tokens counts one text"))


def _listed(name: str, given: Any, fix: str) -> list[Any]:
    """A list, of anything that goes through its values in order: a Series or an array of one axis too."""
    single = isinstance(given, (str, bytes, Mapping, Engine)) or not isinstance(given, Iterable)
    if single or getattr(given, "ndim", 1) != 1:  # a table goes through its columns, a dict through its keys
        raise TypeError(f"{name} must be a list, not {type(given).__name__}: {fix}")
    return list(given)


def compare_tokenizers(
    texts: Mapping[str, str] | Iterable[str], models: Iterable[str | Engine | None]
) -> pd.DataFrame:
    """The same texts in several models' tokens: a row for each text and model.

    texts: by name (a language, say), or a list. models: as for `count_tokens`. Columns: words (by Unicode's default
    rules, UAX #29, of letters or digits; scripts that put no space between words fall into characters), tokens,
    fertility (tokens a word), characters and bytes (of UTF-8) a token, overhead (the tokens of the text as one user
    message, less its own) and estimate (whether the overhead is one, as it is for OpenAI's models); the last two are
    missing where the model has no chat template.

    Raises TypeError and ValueError for bad or empty texts, and as `count_tokens` does.
    """
    import pandas as pd

    named = (
        texts
        if isinstance(texts, Mapping)
        else dict(enumerate(_listed("texts", texts, "one text is [text]")))
    )
    coders = [(_label(model), coder(model)) for model in _listed("models", models, "one model is [model]")]
    if not named or not coders:
        raise ValueError("give at least one text and one model to compare")
    rows = [
        {"text": name, "model": label, **_measured(f"texts[{name!r}]", text, found)}
        for name, text in named.items()
        for label, found in coders
    ]
    return pd.DataFrame(rows).astype({"overhead": "Int64", "estimate": "boolean"})


def _label(model: str | Engine | None) -> str:
    return "loaded" if model is None else model.model if isinstance(model, Engine) else model


def _measured(where: str, text: Any, found: Coder) -> dict[str, Any]:
    if not isinstance(text, str) or not text:
        raise TypeError(f"{where} must be a text that is not empty, got {text!r}")
    number, words = len(found.ids(encodable(where, text))), len(_WORD.findall(text))
    overhead, estimate = None, None
    with contextlib.suppress(ValueError):  # no chat template, or one that refuses a user message alone
        whole, estimate, _ = found.prompt(Request.chat(text))
        overhead = whole - number
    return {
        "words": words,
        "tokens": number,
        "fertility": number / words if words else float("nan"),
        "characters_per_token": len(text) / number if number else float("nan"),
        "bytes_per_token": len(text.encode()) / number if number else float("nan"),
        "overhead": overhead,
        "estimate": estimate,
    }
