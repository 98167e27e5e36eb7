"""TextTokenizer: splits text into tokens and counts conversations; and the one for Hugging Face tokenizers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import regex

from toolkit._internal.text import short_repr
from toolkit._internal.validation import encodable
from toolkit.core.choice import Ints
from toolkit.core.request import Request
from toolkit.prompts.context_window import TokenCounter
from toolkit.tokenizers.huggingface import Tokenizer

Longs = npt.NDArray[np.int64]
_BATCH = 1 << 18
"""Characters of a batch of texts: about 10 ms of work, so that no thread waits long for another."""
_SEAM = regex.compile(r"(?<=\p{L})(?= )|(?<=[a-z])(?=\n)")
"""Where a text can be split without changing its tokens: no pattern of tiktoken's puts a letter and the white space
after it into one piece, and none looks behind. (Before a line's end only ASCII letters: to some patterns, letters
that are new in Unicode are signs, and signs and line ends are one piece.)"""


class TextTokenizer(ABC):
    """The tokenizer of a model, for counting. Made by `toolkit.analysis.tokenizer_lookup.find_tokenizer`."""

    name: str
    """The tokenizer, in words."""

    @abstractmethod
    def ids(self, text: str) -> Ints:
        """(T,) the token IDs of a text by itself: no special tokens are added."""

    @abstractmethod
    def token_bytes(self, ids: Ints) -> list[bytes]:
        """The bytes of each of T tokens."""

    @abstractmethod
    def offsets(self, text: str) -> tuple[Longs, Longs]:
        """(T,) the first character of each token of a text, and (T,) the one after its last, as the tokenizer reports
        them. Only needed where the tokens' bytes are not the text's."""

    @abstractmethod
    def counts(self, texts: Sequence[str]) -> Longs:
        """(N,) the number of tokens of each of N texts by itself."""

    @abstractmethod
    def prompt(self, request: Request) -> tuple[int, bool, str]:
        """The tokens of a request's prompt, whether that is an estimate, and how they were counted. Raises ValueError
        for what cannot be counted."""


class HuggingFaceTextTokenizer(TextTokenizer):
    """A Hugging Face tokenizer with its chat template: exact. The names of special tokens in a text are those tokens,
    as vLLM reads them."""

    def __init__(self, tokenizer: Tokenizer, model: str, engine: TokenCounter | None = None) -> None:
        self.name = f"the tokenizer of {model}"
        self._tokenizer, self._engine = tokenizer, engine

    def _tokenize(self, text: str | list[str], **options: Any) -> Any:
        # verbose=False: transformers would warn of texts longer than the context window.
        return self._tokenizer.hf(text, add_special_tokens=False, verbose=False, **options)

    def ids(self, text: str) -> Ints:
        return np.asarray(self._tokenize(text)["input_ids"], np.int32)

    def token_bytes(self, ids: Ints) -> list[bytes]:
        vocabulary = self._tokenizer.vocabulary
        return [vocabulary[i] for i in ids.tolist()]

    def offsets(self, text: str) -> tuple[Longs, Longs]:
        pairs = self._tokenize(text, return_offsets_mapping=True)["offset_mapping"]
        first, last = np.asarray(pairs, np.int64).reshape(-1, 2).T
        return first, last

    def counts(self, texts: Sequence[str]) -> Longs:
        lengths = np.zeros(len(texts), np.int64)
        for places, batch in text_batches(texts):
            lengths[places] = [len(ids) for ids in self._tokenize(batch)["input_ids"]]
        return lengths

    def prompt(self, request: Request) -> tuple[int, bool, str]:
        if request.has_images and (self._engine is None or _has_remote_images(request)):
            raise ValueError(
                "images are counted by a loaded engine, and those of https: URLs are not fetched to be counted: load "
                "the model, and give the image as a file, bytes or a data: URL"
            )
        method = self.name if request.messages is None else f"{self.name} and its chat template"
        if self._engine is not None:
            return self._engine.count(request), False, method
        return len(self._tokenizer.encode(request)) + len(self._tokenizer.prefix(request)), False, method


def _has_remote_images(request: Request) -> bool:
    parts = (p for m in request.messages or () if not isinstance(m["content"], str) for p in m["content"])
    return any(str(p.get("image_url", {}).get("url", "")).lower().startswith("http") for p in parts)


Batch = tuple[list[int], list[str]]


def text_batches(texts: Sequence[str], cut: bool = False) -> Iterator[Batch]:
    """Texts with their positions, in batches of about _BATCH characters; `cut` splits longer ones at seams."""
    places, batch, size = list[int](), list[str](), 0
    for place, text in enumerate(texts):
        for part in _parts(_checked(place, text)) if cut else [_checked(place, text)]:
            places.append(place)
            batch.append(part)
            size += len(part)
            if size >= _BATCH:
                yield places, batch
                places, batch, size = [], [], 0
    if batch:
        yield places, batch


def _parts(text: str) -> Iterator[str]:
    begin = 0
    while len(text) - begin > _BATCH and (seam := _SEAM.search(text, begin + _BATCH)):
        yield text[begin : seam.start()]
        begin = seam.start()
    yield text[begin:]


def _checked(place: int, text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError(f"texts[{place}] must be a string, got {short_repr(text)}")
    return encodable(f"texts[{place}]", text)
