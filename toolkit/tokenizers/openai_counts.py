"""Token counts for OpenAI's models: exact for text, an estimate for messages and tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.core.choice import Ints
from toolkit.core.request import Request
from toolkit.tokenizers import tiktoken as encodings
from toolkit.tokenizers.text_tokenizer import Longs, TextTokenizer, text_batches

_MIN_PARALLEL_BATCHES = 8
"""Fewer batches are not worth the 0.2 s in which each thread gets its own encoding."""
_MESSAGE_OVERHEADS = {"gpt-3.5-turbo-0301": (4, -1)}
"""Tokens around each message, and for its name; 3 and 1 for all other models. All such numbers here are those of
OpenAI's cookbook (openai/openai-cookbook, examples/How_to_count_tokens_with_tiktoken.ipynb, of 2023 and 2024)."""
_FUNCTION_OVERHEADS = {"o200k_base": 7}
"""Tokens around each function; 10 for the older models."""


class OpenAITextTokenizer(TextTokenizer):
    """One of OpenAI's encodings: exact for text, in which the names of special tokens are ordinary text. Counts
    of messages are estimates: how OpenAI makes a prompt of them is not public."""

    def __init__(self, model: str, name: str) -> None:
        self.name = name if model == name else f"{name}, the encoding of {model}"
        self._encoding = encodings.encoding(name)
        self._per_message, self._per_name = _MESSAGE_OVERHEADS.get(model, (3, 1))
        self._per_function = _FUNCTION_OVERHEADS.get(name, 10)

    def ids(self, text: str) -> Ints:
        return encodings.ids(self._encoding, text).astype(np.int32)

    def token_bytes(self, ids: Ints) -> list[bytes]:
        return self._encoding.decode_tokens_bytes(ids.tolist())

    def offsets(self, text: str) -> tuple[Longs, Longs]:
        raise AssertionError("the bytes of tiktoken's tokens are those of the text")

    def counts(self, texts: Sequence[str]) -> Longs:
        totals = np.zeros(len(texts), np.int64)
        batches = list(text_batches(texts, cut=True))
        parts = [batch for _, batch in batches]
        sequential = len(batches) < _MIN_PARALLEL_BATCHES
        lengths = map(self._lengths, parts) if sequential else encodings.lengths(self._encoding.name, parts)
        for (places, _), counts in zip(batches, lengths, strict=True):
            np.add.at(totals, places, counts)  # a text may have several parts
        return totals

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(self.ids(text)) for text in texts]

    def prompt(self, request: Request) -> tuple[int, bool, str]:
        if request.has_images:
            raise ValueError(
                f"images cannot be counted for {self.name}: their tokens depend on the model and on the size of the "
                "picture, by rules that are not here; count the messages without them"
            )
        texts = [text for text in (request.prompt, request.suffix, request.prefix) if text]
        if any(isinstance(text, tuple) for text in texts):
            raise ValueError("the request has token ids, which are another token in another model: give text")
        total = sum(map(self._count, texts))
        if request.messages is None:
            return total, len(texts) > 1, self.name
        total += 3 + sum(map(self._message, request.messages))
        method = (
            f"{self.name}; {self._per_message} tokens a message, those of its fields, and 3 for the reply, as OpenAI "
            "published for gpt-3.5-turbo to gpt-4o"
        )
        if request.tools and request.tool_choice != "none":
            total += 12 + sum(self._tool(t.to_openai()["function"]) for t in request.tools)
            method += "; tools as published for gpt-4 and gpt-4o, without what lies inside their parameters"
        return total, True, method

    def _count(self, text: Any) -> int:
        return len(self.ids(str(text)))

    def _message(self, turn: Mapping[str, Any]) -> int:
        """The tokens of a message. Of tool calls, names and arguments count (no rule is published), IDs do not."""
        texts = [value for name, value in turn.items() if isinstance(value, str) and name != "tool_call_id"]
        functions = [call["function"] for call in turn.get("tool_calls", ())]
        texts += [f[part] for f in functions for part in ("name", "arguments")]
        return self._per_message + sum(map(self._count, texts)) + (self._per_name if "name" in turn else 0)

    def _tool(self, function: Mapping[str, Any]) -> int:
        """The names, types, descriptions and enums of a function and its parameters, with the tokens around them.
        What lies inside a parameter (the properties of an object) is not counted: no rule is published."""
        description = function["description"].removesuffix(".")
        total = self._per_function + self._count(f"{function['name']}:{description}")
        properties = _mapping(function["parameters"]).get("properties", {})
        total += 3 if properties else 0
        for name, schema in properties.items():
            parameter = _mapping(schema)
            description = parameter.get("description", "").removesuffix(".")
            total += 3 + self._count(f"{name}:{parameter.get('type', '')}:{description}")
            if "enum" in parameter:
                total += sum(3 + self._count(value) for value in parameter["enum"]) - 3
        return total


def _mapping(schema: Any) -> Mapping[str, Any]:
    """A JSON Schema as a mapping: empty for the schemas True and False."""
    return schema if isinstance(schema, Mapping) else {}
