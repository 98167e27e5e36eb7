"""Finds the tokenizer of an engine or of a model name. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from toolkit import models
from toolkit._internal.text import short_repr
from toolkit._internal.validation import unknown
from toolkit.core.choice import Ints
from toolkit.core.request import Request
from toolkit.engines import loading
from toolkit.engines.base import Engine
from toolkit.errors import ModelError, NotTold
from toolkit.tokenizers import tiktoken as encodings
from toolkit.tokenizers.huggingface import Tokenizer
from toolkit.tokenizers.openai_counts import OpenAITextTokenizer
from toolkit.tokenizers.text_tokenizer import HuggingFaceTextTokenizer, Longs, TextTokenizer


def find_tokenizer(model: str | Engine | None) -> TextTokenizer:
    """The tokenizer of the engine loaded last (None), of an engine, of an OpenAI model or encoding by name, or of a
    Hugging Face model by local folder or by a name in the local cache.

    Raises ModelError for an unknown name or missing files, ValueError when no engine is loaded.
    """
    source = loading._loaded if model is None else model
    if source is None:
        raise ValueError(
            "no engine is loaded whose tokenizer could count: toolkit.load() first, or name a model, such as "
            "model='gpt-4o'"
        )
    if isinstance(source, Engine):
        return _of_engine(source)
    if not isinstance(source, str):
        raise TypeError(f"model must be a name or an engine, got {short_repr(source)}")
    if (name := encodings.encoding_name(source)) is not None:
        return OpenAITextTokenizer(encodings.bare(source), name)
    return HuggingFaceTextTokenizer(_tokenizer(_folder(source)), source)


def _of_engine(engine: Engine) -> TextTokenizer:
    """By the engine's Hugging Face tokenizer, else by its model's name, else by the engine itself."""
    if engine.tokenizer is not None:
        return HuggingFaceTextTokenizer(engine.tokenizer, engine.model, engine)
    try:
        return find_tokenizer(engine.model)
    except ModelError:
        if not engine.vocabulary:
            raise
        return _EngineTextTokenizer(engine)


class _EngineTextTokenizer(TextTokenizer):
    """What an engine reports of its tokens: exact."""

    def __init__(self, engine: Engine) -> None:
        self.name, self._engine = f"the tokenizer of {engine.model}", engine

    def ids(self, text: str) -> Ints:
        # As a prefix: a prompt may begin with a special token.
        token_ids = self._engine.encode(Request(prompt=(0,), prefix=text))[1:] if text else ()
        return np.array(token_ids, np.int32)

    def token_bytes(self, ids: Ints) -> list[bytes]:
        return [self._engine.vocabulary[i] for i in ids.tolist()]

    def offsets(self, text: str) -> tuple[Longs, Longs]:
        raise NotTold(f"{self.name} changes the text, and does not report where its tokens are in it")

    def counts(self, texts: Sequence[str]) -> Longs:
        return np.array([len(self.ids(text)) for text in texts], np.int64)

    def prompt(self, request: Request) -> tuple[int, bool, str]:
        return self._engine.count(request), False, self.name


def _folder(name: str) -> str:
    try:
        return models.local(name)
    except ModelError as error:
        if "/" in name or name == models.DEFAULT:
            raise
        message = unknown("model", name, [*encodings.known_names(), models.DEFAULT])
        raise ModelError(
            f"{message} (a Hugging Face tokenizer must be a folder, or in the local cache)"
        ) from error


@lru_cache(maxsize=8)
def _tokenizer(folder: str) -> Tokenizer:
    return Tokenizer(folder)
