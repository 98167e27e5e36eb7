"""Response: choices in the shape of OpenAI's API."""

from __future__ import annotations

from typing import Any

from toolkit.choice import Choice


def chat_choice(choice: Choice, refusal: str | None) -> dict[str, Any]:
    calls = {"tool_calls": [call.to_openai() for call in choice.tool_calls]} if choice.tool_calls else {}
    silent = refusal is not None or (calls and not choice.text)
    return {
        "index": choice.index,
        "message": {
            "role": "assistant",
            "content": None if silent else choice.text,
            "refusal": refusal,
            **calls,
        },
        "logprobs": None if choice.logprobs is None else {"content": _chat_logprobs(choice), "refusal": None},
        "finish_reason": choice.finish_reason,
    }


def _chat_logprobs(choice: Choice) -> list[dict[str, Any]]:
    def entry(token_id: int, text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(choice.token_bytes(token_id))}

    return [
        {
            **entry(t.id, t.text, t.logprob or 0.0),
            "top_logprobs": [entry(*alternative) for alternative in t.top],
        }
        for t in choice.tokens
    ]


def text_choice(choice: Choice, echoed: Choice | None) -> dict[str, Any]:
    return {
        "index": choice.index,
        "text": choice.text,
        "logprobs": None if choice.logprobs is None else _text_logprobs(choice, echoed),
        "finish_reason": choice.finish_reason,
    }


def _text_logprobs(choice: Choice, echoed: Choice | None) -> dict[str, Any]:
    before = echoed.tokens if echoed else ()
    tokens = (*before, *choice.tokens)
    # Offsets in characters of the text so far: bytes of an unfinished character do not count until it ends.
    raw, offsets = b"", []
    for token in tokens:
        offsets.append(len(raw.decode("utf-8", "ignore")))
        raw += token.bytes
    known = [None if i == 0 and before else t for i, t in enumerate(tokens)]
    return {
        "tokens": [t.text for t in tokens],
        "token_logprobs": [t and t.logprob for t in known],
        "top_logprobs": [t and {text: p for _, text, p in t.top} for t in known],
        "text_offset": offsets,
    }
