"""Assembles the chunks of a streamed response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.engines.openai_api.dialect import MalformedResponse
from toolkit.engines.openai_api.response_model import Call, Message, Response, ResponseChoice, read

_KEPT = ("stop_reason", "prompt_token_ids", "prompt_logprobs")
"""Parts of a choice that come whole, in one of its pieces."""


class StreamAccumulator:
    """Assembles the chunks of a streamed response into the response that it would have been without streaming."""

    def __init__(self, chat: bool) -> None:
        self._chat = chat
        self.response: dict[str, Any] = {"choices": []}
        self._choices: dict[int, dict[str, Any]] = {}
        self._call_indices: dict[int, list[int | None]] = {}
        """Index of a choice → the index that the server gives to each of its tool calls."""

    def add(self, chunk: Mapping[str, Any]) -> list[tuple[int, str, str | None]]:
        """Takes a chunk; (index, text, finish_reason) of each of its choices. Raises MalformedResponse."""
        parts = read(Response, chunk)
        if parts.error:
            raise MalformedResponse.of("broke off", parts.error)
        self.response |= {name: value for name, value in chunk.items() if name != "choices" and value}
        raw_pieces = chunk.get("choices") or ()
        return [self._add(piece, raw) for piece, raw in zip(parts.choices or (), raw_pieces, strict=True)]

    def is_complete(self, n: int) -> bool:
        """Whether each of n choices has ended."""
        return len(self._choices) == n and all(choice["finish_reason"] for choice in self._choices.values())

    def _add(self, piece: ResponseChoice, raw: Mapping[str, Any]) -> tuple[int, str, str | None]:
        if piece.error:
            raise MalformedResponse.of("broke off", piece.error)
        index = piece.index or 0
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = {"index": index, "finish_reason": None}
            choice |= {"message": {"content": ""}} if self._chat else {"text": ""}
            self.response["choices"].append(choice)
        choice |= {name: raw[name] for name in _KEPT if raw.get(name) is not None}
        choice["finish_reason"] = piece.finish_reason or choice["finish_reason"]
        if piece.token_ids:
            choice["token_ids"] = [*choice.get("token_ids", ()), *piece.token_ids]
        if isinstance(piece.logprobs, Mapping):
            choice["logprobs"] = _extended_logprobs(choice.get("logprobs") or {}, piece.logprobs)
        message = piece.delta or piece.message or Message(content=piece.text)
        text = message.content or ""
        if self._chat:
            self._add_message(choice["message"], message, self._call_indices.setdefault(index, []))
        else:
            choice["text"] += text
        return index, text, piece.finish_reason

    def _add_message(self, whole: dict[str, Any], piece: Message, call_indices: list[int | None]) -> None:
        for name in ("content", "refusal", "reasoning", "reasoning_content"):
            if text := getattr(piece, name):
                whole[name] = whole.get(name, "") + text
        for call in piece.calls:
            _add_call(whole.setdefault("tool_calls", []), call_indices, call)


def _extended_logprobs(logprobs: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """The lists of log probabilities, each extended by the added one."""
    return {
        **logprobs,
        **{n: [*(logprobs.get(n) or ()), *v] for n, v in added.items() if isinstance(v, list)},
    }


def _add_call(calls: list[dict[str, Any]], indices: list[int | None], piece: Call) -> None:
    """Adds a piece of a tool call to the call that it continues, or as a new one."""
    call = _continued(calls, indices, piece)
    if call is None:
        call = {"id": None, "function": {"name": "", "arguments": ""}}
        calls.append(call)
        indices.append(piece.index)
    call["id"] = call["id"] or piece.id or None
    function = call["function"]
    if piece.function.name != function["name"]:  # some servers repeat the name in every piece
        function["name"] += piece.function.name or ""
    function["arguments"] += piece.function.arguments


def _continued(
    calls: Sequence[dict[str, Any]], indices: Sequence[int | None], piece: Call
) -> dict[str, Any] | None:
    """The call that a piece continues; None where it begins a new one. Calls made in parallel may have one index, or
    none (Ollama, Gemini), and a call may change its ID from piece to piece: a new name with another ID begins one."""
    same_index = [
        call
        for call, index in zip(calls, indices, strict=True)
        if piece.index is None or index == piece.index
    ]
    if same_id := [call for call in same_index if piece.id and call["id"] == piece.id]:
        return same_id[-1]
    last, name = same_index[-1] if same_index else None, piece.function.name
    if last is None or not name:
        return last
    begun = last["function"]
    is_other = bool(piece.id and last["id"]) or piece.index is None
    return None if is_other or (begun["arguments"] and name != begun["name"]) else last
