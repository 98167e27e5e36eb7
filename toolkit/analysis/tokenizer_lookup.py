"""Finds the tokenizer of an engine or of a model name. Nothing is downloaded."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, cast

from toolkit import models
from toolkit._internal.validation import unknown
from toolkit.engines import loading
from toolkit.engines.base import Engine
from toolkit.errors import ModelError
from toolkit.tokenizers import tiktoken as encodings
from toolkit.tokenizers.huggingface import Tokenizer
from toolkit.tokenizers.openai_counts import OpenAITextTokenizer
from toolkit.tokenizers.text_tokenizer import HuggingFaceTextTokenizer, TextTokenizer

if TYPE_CHECKING:
    from toolkit.engines.openai_api.engine import ServerEngine
    from toolkit.engines.vllm.engine import VLLMEngine


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
        tokenizer = cast("VLLMEngine | ServerEngine", source).tokenizer
        return (
            find_tokenizer(source.model)
            if tokenizer is None
            else HuggingFaceTextTokenizer(tokenizer, source.model, source)
        )
    if not isinstance(source, str):
        raise TypeError(f"model must be a name or an engine, got {source!r}")
    if (name := encodings.encoding_name(source)) is not None:
        return OpenAITextTokenizer(encodings.bare(source), name)
    return HuggingFaceTextTokenizer(_tokenizer(_folder(source)), source)


def _folder(name: str) -> str:
    try:
        return models.local(name)
    except OSError as error:  # longer than a file name can be
        raise ModelError(f"unknown model {name[:60]!r}…: {error.strerror}") from error
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
