"""Chat messages, validated and normalised."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from toolkit._internal.jsonable import data_value, library_value, to_plain
from toolkit._internal.missing import is_missing
from toolkit._internal.text import short_repr
from toolkit._internal.validation import encodable, unknown
from toolkit.prompts.images import image_part

ROLES = ("system", "developer", "user", "assistant", "tool")
Message = Mapping[str, Any]
Messages = tuple[dict[str, Any], ...]
_KEYS = (
    "role", "content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning", "reasoning_content",
    "annotations", "audio",
)  # fmt: skip
_ANSWERS = ("tool_calls", "refusal", "reasoning", "reasoning_content", "audio")
"""Fields that a response may have instead of content."""
_DERIVED = ("parsed",)
"""Fields that OpenAI's client adds to a response: the content in another form."""
_MAY_BE_EMPTY = ("assistant", "tool")
"""Roles whose text may be empty: a model may stop at once, and a tool may return nothing."""
_DETAILS = ("auto", "low", "high")


def messages(given: str | Sequence[Message]) -> Messages:
    """A conversation as a tuple of {"role", "content"}; a string is one user message.

    A message is a dict, or an object of OpenAI's client. Content is text or OpenAI's parts: texts are joined by line
    breaks, images stay parts, with their data: or https: URLs (`image` makes one of a file). The other fields of a
    response (`tool_calls`, `name`, …) are kept unless they are empty; a refusal without content becomes the content.

    Raises ValueError for an empty conversation, an unknown role or a message without content.
    """
    conversation: Sequence[Message] = (
        [{"role": "user", "content": given}] if isinstance(given, str) else given
    )
    if not isinstance(conversation, (list, tuple)):
        raise TypeError(f"messages must be a string or a list of messages, got {short_repr(conversation)}")
    if not conversation:
        raise ValueError("messages is empty: give at least one, such as {'role': 'user', 'content': 'Hi'}")
    return tuple(_message(f"messages[{i}]", m) for i, m in enumerate(conversation))


def is_message(value: Any) -> bool:
    """Whether a value is a dict or an object of OpenAI's client, as a conversation holds them."""
    return isinstance(value, Mapping) or hasattr(value, "model_dump")


def _message(where: str, source: Message) -> dict[str, Any]:
    message = _as_mapping(source)
    if (
        not isinstance(message, Mapping)
        or "role" not in message
        or not {"content", *_ANSWERS} & message.keys()
    ):
        hint = ": of a completion give the message of a choice" if hasattr(source, "choices") else ""
        raise ValueError(f"{where} must have 'role' and 'content', got {short_repr(source)}{hint}")
    role = message["role"]
    if not isinstance(role, str) or role not in ROLES:
        raise ValueError(f"{where} has the unknown role {short_repr(role)}: use one of {', '.join(ROLES)}")
    other = _other_fields(where, message)
    content = message.get("content")
    if is_missing(content) and role == "assistant" and not other.keys().isdisjoint(_ANSWERS):
        content = other.pop("refusal", "")
    is_empty = is_missing(content) or (isinstance(content, (str, list, tuple)) and not content)
    may_be_empty = "tool_calls" in other or (role in _MAY_BE_EMPTY and isinstance(content, str))
    text = "" if is_empty and may_be_empty else _content(where, content)
    return {"role": data_value(role), "content": text, **other}


def _as_mapping(value: Any) -> Any:
    """An object of OpenAI's client as a dict; any other value as it is."""
    is_object = hasattr(value, "model_dump") and not isinstance(value, Mapping)
    return value.model_dump(exclude_none=True) if is_object else value


def _other_fields(where: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """The fields beside role and content that are not empty, as JSON data."""
    fields: dict[str, Any] = {}
    for name, value in message.items():
        if name in ("role", "content", *_DERIVED) or is_missing(value):
            continue
        try:
            data = to_plain(value, _response_value)
        except (TypeError, RecursionError):
            raise ValueError(
                f"{where} has {short_repr(name)} of type {type(value).__name__}, which is no data"
            ) from None
        if data and name not in _KEYS:
            raise ValueError(f"{where} has an {unknown('key', str(name), _KEYS)}")
        if data:
            encodable(f"{where}, {name}", json.dumps(data, ensure_ascii=False))
            fields[name] = data
    return fields


def _response_value(value: Any) -> Any:
    """A part of a response, such as a tool call, as JSON data."""
    if hasattr(value, "to_openai"):
        return value.to_openai()
    return value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else library_value(value)


def _content(where: str, content: Any) -> str | list[dict[str, Any]]:
    if isinstance(content, (list, tuple)):
        parts = [_part(where, part) for part in content]
        if any(part["type"] != "text" for part in parts):
            return parts
        content = "\n".join(part["text"] for part in parts)  # as vLLM joins them
    if not isinstance(content, str) or not content:
        raise ValueError(f"{where} has no text, got {short_repr(content)}: content is a non-empty string")
    return encodable(where, data_value(content))


def _part(where: str, source: Any) -> dict[str, Any]:
    part = _as_mapping(source)
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in ("text", "refusal") and isinstance(part.get(kind), str):
        return {"type": "text", "text": encodable(where, data_value(part[kind]))}
    if kind == "image_url":
        source = part.get("image_url")
        source = {"url": source} if isinstance(source, str) else source
        if not isinstance(source, Mapping) or not isinstance(source.get("url"), str):
            raise ValueError(f"{where} has an image without its url, got {short_repr(part)}")
        detail = source.get("detail", "auto")
        if detail not in _DETAILS:
            raise ValueError(
                f"{where}: detail must be one of {', '.join(_DETAILS)}, got {short_repr(detail)}"
            )
        content_part = image_part(source["url"])
        content_part["image_url"] |= {} if detail == "auto" else {"detail": detail}
        return content_part
    raise ValueError(f"{where} has a part that is neither text nor image_url, got {short_repr(part)}")


def check_tool_calls(turns: Sequence[Message]) -> None:
    """Raises ValueError for a call of a function without its name or its arguments, which chat templates and servers
    need."""
    for number, turn in enumerate(turns):
        for call in turn.get("tool_calls") or ():
            function = call.get("function") if isinstance(call, Mapping) else None
            is_call = isinstance(function, Mapping) and {"name", "arguments"} <= function.keys()
            if not is_call and not (isinstance(call, Mapping) and "custom" in call):
                raise ValueError(
                    f"messages[{number}] has the tool call {short_repr(call)}, which must have a function with a "
                    "name and arguments, as JSON text: {'id': '1', 'type': 'function', 'function': {'name': 'f', "
                    "'arguments': '{}'}}"
                )


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
    """Copies of messages, which may be changed at any depth without changing the originals."""
    return tuple({n: v if isinstance(v, str) else copy.deepcopy(v) for n, v in m.items()} for m in turns)


def plain_text(turn: Message) -> str:
    """The content of a message as one string; an image is [image]."""
    content = turn["content"]
    return content if isinstance(content, str) else " ".join(str(p.get("text", "[image]")) for p in content)
