"""Chat messages, validated and normalised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit._internal.validation import encodable, unknown
from toolkit.prompts.images import image_part

ROLES = ("system", "developer", "user", "assistant", "tool")
Message = Mapping[str, Any]
Messages = tuple[dict[str, Any], ...]
_KEYS = ("role", "content", "name", "tool_calls", "tool_call_id", "refusal", "annotations", "audio")
_MAY_BE_EMPTY = ("assistant", "tool")
"""Roles whose text may be empty: a model may stop at once, and a tool may return nothing."""
_DETAILS = ("auto", "low", "high")


def messages(given: str | Sequence[Message]) -> Messages:
    """A conversation as a tuple of {"role", "content"}; a string is one user message.

    Content is text or OpenAI's parts: texts are joined by line breaks, images stay parts, with their data: or https:
    URLs (`image` makes one of a file). The other fields of a response (`tool_calls`, …) are kept unless they are
    empty.

    Raises ValueError for an empty conversation, an unknown role or a message without content.
    """
    conversation: Sequence[Message] = (
        [{"role": "user", "content": given}] if isinstance(given, str) else given
    )
    if not isinstance(conversation, (list, tuple)):
        raise TypeError(f"messages must be a string or a list of messages, got {conversation!r}")
    if not conversation:
        raise ValueError("messages is empty: give at least one, such as {'role': 'user', 'content': 'Hi'}")
    return tuple(_message(f"messages[{i}]", m) for i, m in enumerate(conversation))


def _message(where: str, message: Message) -> dict[str, Any]:
    if (
        not isinstance(message, Mapping)
        or "role" not in message
        or not {"content", "tool_calls"} & message.keys()
    ):
        raise ValueError(f"{where} must have 'role' and 'content', got {message!r}")
    role = message["role"]
    if role not in ROLES:
        raise ValueError(f"{where} has the unknown role {role!r}: use one of {', '.join(ROLES)}")
    for name in message.keys() - set(_KEYS):
        raise ValueError(f"{where} has an {unknown('key', str(name), _KEYS)}")
    content = message.get("content")
    other = {n: v for n, v in message.items() if n not in ("role", "content") and v}
    if not content and (other.get("tool_calls") or (role in _MAY_BE_EMPTY and content == "")):
        return {"role": role, "content": "", **other}
    return {"role": role, "content": _content(where, content), **other}


def _content(where: str, content: Any) -> str | list[dict[str, Any]]:
    if isinstance(content, (list, tuple)):
        parts = [_part(where, part) for part in content]
        if any(part["type"] != "text" for part in parts):
            return parts
        content = "\n".join(part["text"] for part in parts)  # as vLLM joins them
    if not isinstance(content, str) or not content:
        raise ValueError(f"{where} has no text, got {content!r}: content is a non-empty string")
    return encodable(where, content)


def _part(where: str, part: Any) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": encodable(where, part["text"])}
    if kind == "image_url":
        source = part.get("image_url")
        source = {"url": source} if isinstance(source, str) else source
        if not isinstance(source, Mapping) or not isinstance(source.get("url"), str):
            raise ValueError(f"{where} has an image without its url, got {part!r}")
        detail = source.get("detail", "auto")
        if detail not in _DETAILS:
            raise ValueError(f"{where}: detail must be one of {', '.join(_DETAILS)}, got {detail!r}")
        content_part = image_part(source["url"])
        content_part["image_url"] |= {} if detail == "auto" else {"detail": detail}
        return content_part
    raise ValueError(f"{where} has a part that is neither text nor image_url, got {part!r}")


def fold_system(given: str | Sequence[Message]) -> Messages:
    """Puts system and developer text before the first user message, for models without a system role.

    >>> fold_system([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])
    ({'role': 'user', 'content': 'Be brief.\\n\\nHi'},)
    """
    turns = messages(given)
    instructions = [m["content"] for m in turns if m["role"] in ("system", "developer")]
    rest = [dict(m) for m in turns if m["role"] not in ("system", "developer")]
    first = next((m for m in rest if m["role"] == "user"), None)
    if first is None:
        raise ValueError("there is no user message to fold the system text into: add one")
    if instructions and isinstance(first["content"], str):
        first["content"] = "\n\n".join([*instructions, first["content"]])
    elif instructions:
        first["content"] = [{"type": "text", "text": "\n\n".join(instructions) + "\n\n"}, *first["content"]]
    return tuple(rest)


def copy_messages(turns: Sequence[Message]) -> Messages:
    """Copies of messages and of their content parts, which may be changed without changing the originals."""
    return tuple({**m, "content": _copy_content(m["content"])} for m in turns)


def _copy_content(content: Any) -> Any:
    return content if isinstance(content, str) else [dict(part) for part in content]


def plain_text(turn: Message) -> str:
    """The content of a message as one string; an image is [image]."""
    content = turn["content"]
    return content if isinstance(content, str) else " ".join(str(p.get("text", "[image]")) for p in content)
