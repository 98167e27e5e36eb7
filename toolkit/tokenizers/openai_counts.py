"""Coder: what cuts text into tokens and conversations into prompts: a loaded model, a Hugging Face tokenizer, or one
of OpenAI's encodings. Nothing is fetched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import regex

from toolkit import encoding as encodings
from toolkit import engine as engines
from toolkit import models
from toolkit.choice import Ints
from toolkit.engine import Engine
from toolkit.messages import encodable
from toolkit.request import Request
from toolkit.sampling import unknown
from toolkit.tokenizer import Tokenizer

if TYPE_CHECKING:
    from toolkit.engines.server import ServerEngine
    from toolkit.engines.vllm import VLLMEngine

Longs = npt.NDArray[np.int64]

_BATCH = 1 << 18
"""Characters of texts that are cut at once: some 10 ms of work, so that no thread waits long for another."""
_FEW = 8
"""Fewer batches are not worth the 0.2 s in which a thread gets an encoding of its own."""
_SEAM = regex.compile(r"(?<=\p{L})(?= )|(?<=[a-z])(?=\n)")
"""Where a text can be cut and its tokens stay the same: no pattern of tiktoken's takes a letter and white space after
it into one piece, and none looks back. (Before a line's end a plain letter: what is new in Unicode is a sign to some,
and they take signs with line ends.)"""


class Coder(ABC):
    """What a model's name stands for when tokens are counted. Made by `coder`."""

    name: str
    """The tokenizer, in words."""

    @abstractmethod
    def ids(self, text: str) -> Ints:
        """(T,) the token ids of a text by itself: nothing is put before or after it."""

    @abstractmethod
    def token_bytes(self, ids: Ints) -> list[bytes]:
        """The bytes of each of T tokens."""

    @abstractmethod
    def offsets(self, text: str) -> tuple[Longs, Longs]:
        """(T,) the first character of each token of a text, and (T,) the one after its last, as the tokenizer has
        them. Asked for where the tokens' bytes are not the text's."""

    @abstractmethod
    def counts(self, texts: Sequence[str]) -> Longs:
        """(N,) how many tokens each of N texts has by itself."""

    @abstractmethod
    def prompt(self, request: Request) -> tuple[int, bool, str]:
        """The tokens of a request's prompt, whether that is an estimate, and how they were counted. Raises ValueError
        for what cannot be counted."""


def coder(model: str | Engine | None) -> Coder:
    """The coder of the engine loaded last (None), of an engine, of one of OpenAI's models or encodings by name, or of
    a Hugging Face tokenizer by local folder or by a name that is in the local cache.

    Raises ModelError for an unknown name or missing files, ValueError when no engine is loaded.
    """
    asked = engines._loaded if model is None else model
    if asked is None:
        raise ValueError(
            "no engine is loaded whose tokenizer could count: toolkit.load() first, or name a model, such as "
            "model='gpt-4o'"
        )
    if isinstance(asked, Engine):
        own = cast("VLLMEngine | ServerEngine", asked).tokenizer
        return coder(asked.model) if own is None else TokenizerCoder(own, asked.model, asked)
    if not isinstance(asked, str):
        raise TypeError(f"model must be a name or an engine, got {asked!r}")
    if (name := encodings.encoding_name(asked)) is not None:
        return OpenAICoder(encodings.bare(asked), name)
    return TokenizerCoder(_tokenizer(_folder(asked)), asked)


def _folder(name: str) -> str:
    try:
        return models.local(name)
    except OSError as error:  # longer than a file's name can be
        raise models.ModelError(f"unknown model {name[:60]!r}…: {error.strerror}") from error
    except models.ModelError as error:
        if "/" in name or name == models.DEFAULT:
            raise
        known = unknown("model", name, [*encodings.known_names(), models.DEFAULT])
        raise models.ModelError(
            f"{known} (a Hugging Face tokenizer must be a folder, or in the local cache)"
        ) from error


@lru_cache(maxsize=8)
def _tokenizer(folder: str) -> Tokenizer:
    return Tokenizer(folder)


class TokenizerCoder(Coder):
    """A Hugging Face tokenizer with its chat template: exact. The names of special tokens in a text are those tokens,
    as vLLM reads them."""

    def __init__(self, tokenizer: Tokenizer, model: str, engine: Engine | None = None) -> None:
        self.name = f"the tokenizer of {model}"
        self._tokenizer, self._engine = tokenizer, engine

    def _encoded(self, what: str | list[str], **more: Any) -> Any:
        # verbose: transformers would warn of texts longer than the model's window.
        return self._tokenizer.hf(what, add_special_tokens=False, verbose=False, **more)

    def ids(self, text: str) -> Ints:
        return np.asarray(self._encoded(text)["input_ids"], np.int32)

    def token_bytes(self, ids: Ints) -> list[bytes]:
        vocabulary = self._tokenizer.vocabulary
        return [vocabulary[i] for i in ids.tolist()]

    def offsets(self, text: str) -> tuple[Longs, Longs]:
        found = self._encoded(text, return_offsets_mapping=True)["offset_mapping"]
        first, last = np.asarray(found, np.int64).reshape(-1, 2).T
        return first, last

    def counts(self, texts: Sequence[str]) -> Longs:
        found = np.zeros(len(texts), np.int64)
        for places, batch in _batches(texts):
            found[places] = [len(ids) for ids in self._encoded(batch)["input_ids"]]
        return found

    def prompt(self, request: Request) -> tuple[int, bool, str]:
        if request.has_images and (self._engine is None or _remote(request)):
            raise ValueError(
                "images are counted by a loaded engine, and those of https: URLs are not fetched to be counted: load "
                "the model, and give the image as a file, bytes or a data: URL"
            )
        how = self.name if request.messages is None else f"{self.name} and its chat template"
        if self._engine is not None:
            return self._engine.count(request), False, how
        return len(self._tokenizer.encode(request)) + len(self._tokenizer.prefix(request)), False, how


def _remote(request: Request) -> bool:
    parts = (p for m in request.messages or () if not isinstance(m["content"], str) for p in m["content"])
    return any(str(p.get("image_url", {}).get("url", "")).lower().startswith("http") for p in parts)


_SHAPES = {"gpt-3.5-turbo-0301": (4, -1)}
"""Tokens around each message, and for its name; 3 and 1 for all other models. All such numbers here are those of
OpenAI's cookbook (openai/openai-cookbook, examples/How_to_count_tokens_with_tiktoken.ipynb, of 2023 and 2024)."""
_FUNCTION = {"o200k_base": 7}
"""Tokens around each function; 10 for the older models."""


class OpenAICoder(Coder):
    """One of OpenAI's encodings: exact for text, in which the names of special tokens are ordinary text. How OpenAI
    makes a prompt of messages is not public: those are an estimate."""

    def __init__(self, model: str, name: str) -> None:
        self.name = name if model == name else f"{name}, the encoding of {model}"
        self._encoding = encodings.encoding(name)
        self._around, self._named = _SHAPES.get(model, (3, 1))
        self._function = _FUNCTION.get(name, 10)

    def ids(self, text: str) -> Ints:
        return encodings.ids(self._encoding, text).astype(np.int32)

    def token_bytes(self, ids: Ints) -> list[bytes]:
        return self._encoding.decode_tokens_bytes(ids.tolist())

    def offsets(self, text: str) -> tuple[Longs, Longs]:
        raise AssertionError("the bytes of tiktoken's tokens are those of the text")

    def counts(self, texts: Sequence[str]) -> Longs:
        found = np.zeros(len(texts), np.int64)
        batches = list(_batches(texts, cut=True))
        parts = [batch for _, batch in batches]
        few = len(batches) < _FEW
        counted = map(self._lengths, parts) if few else encodings.lengths(self._encoding.name, parts)
        for (places, _), counts in zip(batches, counted, strict=True):
            np.add.at(found, places, counts)  # a text may have several parts
        return found

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(self.ids(text)) for text in texts]

    def prompt(self, request: Request) -> tuple[int, bool, str]:
        if request.has_images:
            raise ValueError(
                f"images cannot be counted for {self.name}: their tokens depend on the model and on the size of the "
                "picture, by rules that are not here; count the messages without them"
            )
        beside = [text for text in (request.prompt, request.suffix, request.prefix) if text]
        if any(isinstance(text, tuple) for text in beside):
            raise ValueError("the request has token ids, which are another token in another model: give text")
        total = sum(map(self._count, beside))
        if request.messages is None:
            return total, len(beside) > 1, self.name
        total += 3 + sum(map(self._message, request.messages))
        how = (
            f"{self.name}; {self._around} tokens a message, those of its fields, and 3 for the reply, as OpenAI "
            "published for gpt-3.5-turbo to gpt-4o"
        )
        if request.tools and request.tool_choice != "none":
            total += 12 + sum(self._tool(t.to_openai()["function"]) for t in request.tools)
            how += "; tools as published for gpt-4 and gpt-4o, without what lies inside their parameters"
        return total, True, how

    def _count(self, text: Any) -> int:
        return len(self.ids(str(text)))

    def _message(self, turn: Mapping[str, Any]) -> int:
        """Of calls their names and arguments count: no rule is published. The ids of calls are not for the model."""
        texts = [value for name, value in turn.items() if isinstance(value, str) and name != "tool_call_id"]
        functions = [call["function"] for call in turn.get("tool_calls", ())]
        texts += [f[part] for f in functions for part in ("name", "arguments")]
        return self._around + sum(map(self._count, texts)) + (self._named if "name" in turn else 0)

    def _tool(self, function: Mapping[str, Any]) -> int:
        """The names, types, descriptions and enums of a function and its parameters, with what is put around them.
        What lies inside a parameter (the properties of an object) is not counted: no rule is published."""
        described = function["description"].removesuffix(".")
        total = self._function + self._count(f"{function['name']}:{described}")
        properties = _mapping(function["parameters"]).get("properties", {})
        total += 3 if properties else 0
        for name, schema in properties.items():
            about = _mapping(schema)
            described = about.get("description", "").removesuffix(".")
            total += 3 + self._count(f"{name}:{about.get('type', '')}:{described}")
            if "enum" in about:
                total += sum(3 + self._count(value) for value in about["enum"]) - 3
        return total


def _mapping(schema: Any) -> Mapping[str, Any]:
    """A JSON Schema; True and False, which are ones too, say nothing."""
    return schema if isinstance(schema, Mapping) else {}


Batch = tuple[list[int], list[str]]


def _batches(texts: Sequence[str], cut: bool = False) -> Iterator[Batch]:
    """Texts with their positions, some _BATCH characters at once; `cut` at seams into parts where they are longer."""
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
        raise TypeError(f"texts[{place}] must be a string, got {text!r}")
    return encodable(f"texts[{place}]", text)
