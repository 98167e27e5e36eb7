"""Choices in the response format of OpenAI's API."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from toolkit.core.choice import UNLIKELY, UNNAMED, Choice, Token


def chat_choice(choice: Choice, refusal: str | None) -> dict[str, Any]:
    """A choice of a chat completion."""
    tool_calls = {"tool_calls": [call.to_openai() for call in choice.tool_calls]} if choice.tool_calls else {}
    no_content = refusal is not None or (tool_calls and not choice.text)
    return {
        "index": choice.index,
        "message": {
            "role": "assistant",
            "content": None if no_content else choice.text,
            "refusal": refusal,
            **tool_calls,
        },
        "logprobs": {"content": _chat_logprobs(choice), "refusal": None} if _has_logprobs(choice) else None,
        "finish_reason": choice.finish_reason,
    }


def _has_logprobs(choice: Choice) -> bool:
    """Raises ValueError for log probabilities of unknown tokens: the format has the token beside each."""
    if choice.logprobs is None:
        return False
    if len(choice.logprobs) != len(choice.token_ids):
        raise ValueError(f"OpenAI's format names each token: {UNNAMED}")
    return True


def _chat_logprobs(choice: Choice) -> list[dict[str, Any]]:
    def entry(token_id: int, logprob: float) -> dict[str, Any]:
        raw = choice.token_bytes(token_id)
        return {"token": _token_text(raw), "logprob": _finite(logprob), "bytes": list(raw)}

    return [
        {**entry(t.id, t.logprob), "top_logprobs": [entry(i, p) for i, _, p in t.top]}
        for t in choice.tokens
        if t.logprob is not None  # unknown for the tokens of some prefixes
    ]


def text_choice(choice: Choice, echoed: Choice | None) -> dict[str, Any]:
    """A choice of a text completion, with the prompt's log probabilities in front where it was echoed."""
    return {
        "index": choice.index,
        "text": choice.text,
        "logprobs": _text_logprobs(choice, echoed) if _has_logprobs(choice) else None,
        "finish_reason": choice.finish_reason,
    }


def _text_logprobs(choice: Choice, echoed: Choice | None) -> dict[str, Any]:
    tokens = (*(echoed.tokens if echoed else ()), *choice.tokens)

    def top_logprobs(token: Token) -> dict[str, float] | None:
        if token.logprob is None:
            return None
        # The API always lists the sampled token, so there may be one entry more.
        top = {_token_text(choice.token_bytes(i), "bytes:"): _finite(p) for i, _, p in token.top}
        return {**top, _token_text(token.bytes, "bytes:"): _finite(token.logprob)}

    return {
        "tokens": [_token_text(t.bytes, "bytes:") for t in tokens],
        "token_logprobs": [None if t.logprob is None else _finite(t.logprob) for t in tokens],
        "top_logprobs": [top_logprobs(t) for t in tokens],
        "text_offset": _text_offsets([token.bytes for token in tokens], choice.text),
    }


def _text_offsets(tokens: Sequence[bytes], text: str) -> list[int]:
    """Where each token begins in a text, in characters: bytes of an unfinished character do not count until it ends.

    The text may lack special tokens, which then have no length, and what a stop string has cut.
    """
    hidden = _hidden_tokens(tokens, text)
    decoder, offsets, length = codecs.getincrementaldecoder("utf-8")("replace"), [], 0
    for token, is_hidden in zip(tokens, hidden, strict=True):
        offsets.append(min(length, len(text)))
        length += 0 if is_hidden else len(decoder.decode(token))
    return offsets


def _hidden_tokens(tokens: Sequence[bytes], text: str) -> list[bool]:
    """Which tokens a text lacks. None, where leaving out those that are not at their place does not give the text
    (some tokenizers change white space), or its beginning, since a stop string may have cut the end."""
    if _is_beginning(b"".join(tokens), text):
        return [False] * len(tokens)
    decoder, length, hidden = codecs.getincrementaldecoder("utf-8")("replace"), 0, []
    for token in tokens:
        state = decoder.getstate()
        piece = decoder.decode(token)
        end = min(len(text), length + len(piece))
        hidden.append(text[length:end] != piece[: end - length] or (length == len(text) and bool(piece)))
        if hidden[-1]:
            decoder.setstate(state)
        else:
            length = end
    rest = b"".join(token for token, is_hidden in zip(tokens, hidden, strict=True) if not is_hidden)
    return hidden if _is_beginning(rest, text) else [False] * len(tokens)


def _is_beginning(raw: bytes, text: str) -> bool:
    """Whether a text is what bytes say, or its beginning."""
    return raw.decode("utf-8", "replace").startswith(text)


def _token_text(raw: bytes, mark: str = "") -> str:
    """The bytes as text. Bytes that are part of a character, as OpenAI writes them: `mark`, then each byte, escaped
    unless it is ASCII."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return mark + "".join(chr(byte) if byte < 128 else f"\\x{byte:02x}" for byte in raw)


def _finite(logprob: float) -> float:
    """The log probability, or `UNLIKELY` for −inf: JSON has no infinity."""
    return max(logprob, UNLIKELY)
