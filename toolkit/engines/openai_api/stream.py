"""Assembles the chunks of a streamed response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit.engines.openai_api.dialect import PARSE_ERRORS, malformed_response
from toolkit.engines.openai_api.response_parser import REASONING_FIELDS


class StreamAccumulator:
    """Assembles the chunks of a streamed response into the response that it would have been without streaming."""

    def __init__(self, chat: bool) -> None:
        self._chat = chat
        self.response: dict[str, Any] = {"choices": []}
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, chunk: Mapping[str, Any]) -> list[tuple[int, str, str | None]]:
        """Takes a chunk; (index, text, finish_reason) of each of its choices. Raises MalformedResponse."""
        try:
            choices = chunk.get("choices") or []
            self.response |= {n: v for n, v in chunk.items() if n != "choices" and v is not None}
            return [self._add(choice) for choice in choices]
        except PARSE_ERRORS as error:
            raise malformed_response(error, chunk) from None

    def _add(self, piece: Mapping[str, Any]) -> tuple[int, str, str | None]:
        index = int(piece["index"])
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = {"index": index, "finish_reason": None}
            choice |= {"message": {"content": ""}} if self._chat else {"text": ""}
            self.response["choices"].append(choice)
        for name in ("finish_reason", "stop_reason", "prompt_token_ids", "prompt_logprobs"):
            if piece.get(name) is not None:
                choice[name] = piece[name]
        if piece.get("token_ids"):
            choice["token_ids"] = [*choice.get("token_ids", ()), *piece["token_ids"]]
        if piece.get("logprobs"):
            choice["logprobs"] = _extended_logprobs(choice.get("logprobs") or {}, piece["logprobs"])
        return index, self._add_text(choice, piece), piece.get("finish_reason")

    def _add_text(self, choice: dict[str, Any], piece: Mapping[str, Any]) -> str:
        if not self._chat:
            text = str(piece.get("text") or "")
            choice["text"] += text
            return text
        delta, message = piece.get("delta") or {}, choice["message"]
        for name in ("refusal", *REASONING_FIELDS):
            if delta.get(name):
                message[name] = message.get(name, "") + delta[name]
        for call in delta.get("tool_calls") or ():
            _add_call_delta(message.setdefault("tool_calls", []), call)
        text = str(delta.get("content") or "")
        message["content"] += text
        return text


def _extended_logprobs(logprobs: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """The lists of log probabilities, each extended by the added one."""
    return {
        **logprobs,
        **{n: [*(logprobs.get(n) or ()), *v] for n, v in added.items() if isinstance(v, list)},
    }


def _add_call_delta(calls: list[dict[str, Any]], delta: Mapping[str, Any]) -> None:
    """Adds a delta to the tool call that it belongs to."""
    index = int(delta.get("index", len(calls)))
    while len(calls) <= index:
        calls.append({"id": None, "function": {"name": "", "arguments": ""}})
    call, function = calls[index], delta.get("function") or {}
    call["id"] = call["id"] or delta.get("id")
    for name in ("name", "arguments"):
        call["function"][name] += function.get(name) or ""
