"""Tokenizer: messages and text to token ids, as the model's own chat template has it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from toolkit.completion import Request, Vocabulary, digest
from toolkit.models import ModelError

_REMEMBERED = 4096


class Tokenizer:
    """A model's tokenizer and chat template, loaded with transformers: no engine needed."""

    def __init__(self, path: str, revision: str | None = None) -> None:
        from transformers import AutoTokenizer

        try:
            self._hf: Any = AutoTokenizer.from_pretrained(path, revision=revision)
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} has no tokenizer that transformers can load: {error}") from error
        self._encoded: dict[str, tuple[int, ...]] = {}

    def encode(self, request: Request) -> tuple[int, ...]:
        """The token ids that the model is given for a request: (P,).

        Raises ValueError when the model has no chat template, or its template refuses the conversation.
        """
        # Sweeps ask the same conversation under many settings: one rendering serves them all.
        ids = self._encoded.get(request.input)
        if ids is None:
            if len(self._encoded) >= _REMEMBERED:
                self._encoded.clear()
            ids = self._encoded[request.input] = tuple(self._encode(request))
        return ids

    def _encode(self, request: Request) -> list[int] | tuple[int, ...]:
        if isinstance(request.prompt, tuple):
            return request.prompt
        if request.prompt is not None:
            return list(self._hf.encode(request.prompt))
        if not self._hf.chat_template:
            raise ValueError("the model has no chat template: use engine.complete(text), or a chat model")
        turns = [{**m, "role": self._role(m["role"])} for m in request.messages or ()]
        try:
            return list(self._hf.apply_chat_template(turns, add_generation_prompt=True, return_dict=False))
        except Exception as error:
            raise ValueError(f"the model's chat template refuses these messages: {error}") from error

    def _role(self, role: str) -> str:
        """Templates older than the developer role get it under its former name, system."""
        return "system" if role == "developer" and "developer" not in self._hf.chat_template else role

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The bytes of each token id; a special token's are its name."""
        from xgrammar import TokenizerInfo

        return list(TokenizerInfo.from_huggingface(self._hf).decoded_vocab)

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Content hashes of the tokenizer (vocabulary, merges, added tokens) and of the chat template."""
        backend = getattr(self._hf, "backend_tokenizer", None)
        content = backend.to_str() if backend is not None else sorted(self._hf.get_vocab().items())
        return {"tokenizer": digest(content, 8), "chat_template": digest(self._hf.chat_template, 8)}
