"""Conversations as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toolkit._internal.text import short_repr
from toolkit.display.markup import Markup, escape, joined, markup
from toolkit.prompts.messages import Message, Messages

counter: Callable[[Messages], int] | None = None
"""Counts the tokens of a conversation for its caption, with the engine loaded last."""
_COLOURS = {"system": "#777", "developer": "#777", "user": "#0072b2", "assistant": "#009e73"}


def view(turns: Sequence[Message], caption: str = "") -> Markup:
    """A conversation as HTML: roles, texts, tool calls, images held as data: URLs, and the caption."""
    rows = joined(map(_row, turns))
    return markup("<div>{}<small>{}</small></div>", rows, caption)


def _row(turn: Any) -> Markup:
    try:
        return _message_html(turn["role"], turn["content"], turn.get("tool_calls"))
    except (TypeError, KeyError, AttributeError):  # no message: an engine refuses it; a view must not fail
        return markup("<div>{}</div>", short_repr(turn))


def _message_html(role: str, content: Any, calls: Any) -> Markup:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    functions = [call["function"] for call in calls or ()]
    body = joined(_part_html(part) for part in parts)
    body += joined(f"→ {function['name']}({function['arguments']})\n" for function in functions)
    style = (
        "white-space:pre-wrap;overflow-wrap:anywhere;text-align:left;margin:0 0 6px 0;padding-left:8px;"
        f"border-left:3px solid {_COLOURS.get(role, '#cc79a7')}"
    )
    return markup('<div style="{}"><small style="opacity:.7">{}</small>\n{}</div>', style, role, body)


def _part_html(part: Mapping[str, Any]) -> Markup:
    if part["type"] == "text":
        return escape(part["text"])
    url = str(part["image_url"]["url"])
    if url.startswith("data:"):
        return markup('<img style="max-width:240px;display:block" src="{}">', url)
    return escape(f"[image {url}]")


def caption(turns: Messages) -> str:
    """The number of messages, and of tokens once an engine is loaded to count them."""
    if any(isinstance(m, Mapping) and isinstance(m.get("content"), list | tuple) for m in turns):
        return f"{len(turns)} messages; tokens of images are counted only on request"
    if counter is None:
        return f"{len(turns)} messages; tokens are counted once an engine is loaded"
    try:
        return f"{len(turns)} messages, {counter(turns):,} tokens"
    except (ValueError, RuntimeError) as error:  # shown, not raised: a view must not fail
        return f"{len(turns)} messages ({error})"
