"""Response: choices in the shape of OpenAI's API."""

from __future__ import annotations

import codecs
from typing import Any

from toolkit.choice import UNLIKELY, UNNAMED, Choice, Token


def chat_choice(choice: Choice, refusal: str | None) -> dict[str, Any]:
    """A choice of a chat completion."""
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
        "logprobs": {"content": _chat_logprobs(choice), "refusal": None} if _has_logprobs(choice) else None,
        "finish_reason": choice.finish_reason,
    }


def _has_logprobs(choice: Choice) -> bool:
    """Raises ValueError for those of unknown tokens: the shape has the token beside each."""
    if choice.logprobs is None:
        return False
    if len(choice.logprobs) != len(choice.token_ids):
        raise ValueError(f"OpenAI's shape names each token: {UNNAMED}")
    return True


def _chat_logprobs(choice: Choice) -> list[dict[str, Any]]:
    def entry(token_id: int, logprob: float) -> dict[str, Any]:
        raw = choice.token_bytes(token_id)
        return {"token": _spelt(raw), "logprob": _finite(logprob), "bytes": list(raw)}

    return [
        {**entry(t.id, t.logprob), "top_logprobs": [entry(i, p) for i, _, p in t.top]}
        for t in choice.tokens
        if t.logprob is not None  # those of a prefix may not be known
    ]


def text_choice(choice: Choice, echoed: Choice | None) -> dict[str, Any]:
    """A choice of a text completion, after the prompt where that was to be echoed."""
    return {
        "index": choice.index,
        "text": choice.text,
        "logprobs": _text_logprobs(choice, echoed) if _has_logprobs(choice) else None,
        "finish_reason": choice.finish_reason,
    }


def _text_logprobs(choice: Choice, echoed: Choice | None) -> dict[str, Any]:
    tokens = (*(echoed.tokens if echoed else ()), *choice.tokens)
    # Offsets in characters of the text so far: bytes of an unfinished character do not count until it ends.
    decoder, offsets, length = codecs.getincrementaldecoder("utf-8")("replace"), [], 0
    for token in tokens:
        offsets.append(length)
        length += len(decoder.decode(token.bytes))

    def alternatives(token: Token) -> dict[str, float] | None:
        if token.logprob is None:
            return None
        # The API always lists the sampled token, so that there may be one more.
        found = {_spelt(choice.token_bytes(i), "bytes:"): _finite(p) for i, _, p in token.top}
        return {**found, _spelt(token.bytes, "bytes:"): _finite(token.logprob)}

    return {
        "tokens": [_spelt(t.bytes, "bytes:") for t in tokens],
        "token_logprobs": [None if t.logprob is None else _finite(t.logprob) for t in tokens],
        "top_logprobs": [alternatives(t) for t in tokens],
        "text_offset": offsets,
    }


def _spelt(raw: bytes, mark: str = "") -> str:
    """The bytes as text; of a part of a character as OpenAI writes it: after the mark, escaped unless ASCII."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return mark + "".join(chr(byte) if byte < 128 else f"\\x{byte:02x}" for byte in raw)


def _finite(logprob: float) -> float:
    """JSON has no infinity."""
    return max(logprob, UNLIKELY)
