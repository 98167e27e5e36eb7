"""Messages: a conversation as OpenAI's API has it, checked and made plain data."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toolkit.image import image
from toolkit.sampling import unknown

ROLES = ("system", "developer", "user", "assistant", "tool")
Message = Mapping[str, Any]
Messages = tuple[dict[str, Any], ...]

_KEYS = ("role", "content", "name", "tool_calls", "tool_call_id", "refusal", "annotations", "audio")
_MAY_BE_EMPTY = ("assistant", "tool")
"""A model may end its text at once, and a tool may have nothing to say."""
_DETAILS = ("auto", "low", "high")

counter: Callable[[Messages], int] | None = None
"""Counts the tokens that a conversation is shown with: that of the engine loaded last."""


def messages(given: str | Sequence[Message]) -> Messages:
    """A conversation as a tuple of {"role", "content"}; a string is one user message.

    Content is text or OpenAI's parts: texts are joined by line breaks, images stay parts (see `image`). What a
    response holds beside its text (`tool_calls`, `name`, …) is kept; its empty fields are not.

    Raises ValueError for an empty conversation, an unknown role or a message without content.
    """
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, (list, tuple)):
        raise TypeError(f"messages must be a string or a list of messages, got {given!r}")
    if not given:
        raise ValueError("messages is empty: give at least one, such as {'role': 'user', 'content': 'Hi'}")
    return tuple(_message(f"messages[{i}]", m) for i, m in enumerate(given))


def _message(where: str, given: Message) -> dict[str, Any]:
    if not isinstance(given, Mapping) or "role" not in given or not {"content", "tool_calls"} & given.keys():
        raise ValueError(f"{where} must have 'role' and 'content', got {given!r}")
    role = given["role"]
    if role not in ROLES:
        raise ValueError(f"{where} has the unknown role {role!r}: use one of {', '.join(ROLES)}")
    for name in given.keys() - set(_KEYS):
        raise ValueError(f"{where} has an {unknown('key', str(name), _KEYS)}")
    more = {n: v for n, v in given.items() if n not in ("role", "content") and v}
    if not given.get("content") and (
        more.get("tool_calls") or (role in _MAY_BE_EMPTY and given.get("content") == "")
    ):
        return {"role": role, "content": "", **more}
    return {"role": role, "content": _content(where, given.get("content")), **more}


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
        given = part.get("image_url")
        given = {"url": given} if isinstance(given, str) else given
        if not isinstance(given, Mapping) or not isinstance(given.get("url"), str):
            raise ValueError(f"{where} has an image without its url, got {part!r}")
        detail = given.get("detail", "auto")
        if detail not in _DETAILS:
            raise ValueError(f"{where}: detail must be one of {', '.join(_DETAILS)}, got {detail!r}")
        found = image(given["url"])
        found["image_url"] |= {} if detail == "auto" else {"detail": detail}
        return found
    raise ValueError(f"{where} has a part that is neither text nor image_url, got {part!r}")


def encodable(where: str, text: str) -> str:
    """The text as it is. Raises ValueError for lone surrogates, which no tokenizer and no file takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where} is not valid Unicode: {text[error.start]!r} at character {error.start} is half of a "
            "surrogate pair; decode the text with errors='replace'"
        ) from None
    return text


def fold_system(given: str | Sequence[Message]) -> Messages:
    """System and developer text put before the first user message, for models that take none of their own.

    >>> fold_system([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])
    ({'role': 'user', 'content': 'Be brief.\\n\\nHi'},)
    """
    turns = messages(given)
    said = [m["content"] for m in turns if m["role"] in ("system", "developer")]
    rest = [dict(m) for m in turns if m["role"] not in ("system", "developer")]
    first = next((m for m in rest if m["role"] == "user"), None)
    if first is None:
        raise ValueError("there is no user message to fold the system text into: add one")
    if said and isinstance(first["content"], str):
        first["content"] = "\n\n".join([*said, first["content"]])
    elif said:
        first["content"] = [{"type": "text", "text": "\n\n".join(said) + "\n\n"}, *first["content"]]
    return tuple(rest)


def copied(turns: Sequence[Message]) -> Messages:
    """Messages that may be changed without a change to those they were made from."""
    return tuple({**m, "content": _copied(m["content"])} for m in turns)


def _copied(content: Any) -> Any:
    return content if isinstance(content, str) else [dict(part) for part in content]


def plain_text(turn: Message) -> str:
    """What a message says, in one line of text; an image is [image]."""
    content = turn["content"]
    return content if isinstance(content, str) else " ".join(str(p.get("text", "[image]")) for p in content)


_COLOURS = {"system": "#777", "developer": "#777", "user": "#0072b2", "assistant": "#009e73"}


def view(turns: Sequence[Message], caption: str = "") -> str:
    """A conversation as escaped HTML: roles, texts, images that are at hand, the number of tokens."""
    rows = "".join(_row(m["role"], m["content"], m.get("tool_calls")) for m in turns)
    return f"<div>{rows}<small>{html.escape(caption)}</small></div>"


def _row(role: str, content: Any, calls: Any) -> str:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    body = "".join(_shown(part) for part in parts)
    for call in calls or ():
        body += html.escape(f"→ {call['function']['name']}({call['function']['arguments']})\n")
    style = (
        "white-space:pre-wrap;overflow-wrap:anywhere;text-align:left;margin:0 0 6px 0;padding-left:8px;"
        f"border-left:3px solid {_COLOURS.get(role, '#cc79a7')}"
    )
    return f'<div style="{style}"><small style="opacity:.7">{role}</small>\n{body}</div>'


def _shown(part: Mapping[str, Any]) -> str:
    if part["type"] == "text":
        return html.escape(part["text"])
    url = str(part["image_url"]["url"])
    if url.startswith("data:"):
        return f'<img style="max-width:240px;display:block" src="{html.escape(url)}">'
    return html.escape(f"[image {url}]")


def caption(turns: Messages) -> str:
    """How many tokens a conversation has, when an engine is there to count them."""
    if any(not isinstance(m["content"], str) for m in turns):
        return f"{len(turns)} messages; tokens of images are counted when they are asked about"
    if counter is None:
        return f"{len(turns)} messages; tokens are counted once an engine is loaded"
    try:
        return f"{len(turns)} messages, {counter(turns):,} tokens"
    except (ValueError, RuntimeError) as error:  # shown, not raised: a view must not fail
        return f"{len(turns)} messages ({error})"
