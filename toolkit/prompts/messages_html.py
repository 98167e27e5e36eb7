"""Conversations as HTML, for notebooks."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toolkit.prompts.messages import Message, Messages

counter: Callable[[Messages], int] | None = None
"""Counts the tokens of a conversation for its caption, with the engine loaded last."""
_COLOURS = {"system": "#777", "developer": "#777", "user": "#0072b2", "assistant": "#009e73"}


def view(turns: Sequence[Message], caption: str = "") -> str:
    """A conversation as escaped HTML: roles, texts, tool calls, images held as data: URLs, and the caption."""
    rows = "".join(_message_html(m["role"], m["content"], m.get("tool_calls")) for m in turns)
    return f"<div>{rows}<small>{html.escape(caption)}</small></div>"


def _message_html(role: str, content: Any, calls: Any) -> str:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    body = "".join(_part_html(part) for part in parts)
    for call in calls or ():
        body += html.escape(f"→ {call['function']['name']}({call['function']['arguments']})\n")
    style = (
        "white-space:pre-wrap;overflow-wrap:anywhere;text-align:left;margin:0 0 6px 0;padding-left:8px;"
        f"border-left:3px solid {_COLOURS.get(role, '#cc79a7')}"
    )
    return f'<div style="{style}"><small style="opacity:.7">{role}</small>\n{body}</div>'


def _part_html(part: Mapping[str, Any]) -> str:
    if part["type"] == "text":
        return html.escape(part["text"])
    url = str(part["image_url"]["url"])
    if url.startswith("data:"):
        return f'<img style="max-width:240px;display:block" src="{html.escape(url)}">'
    return html.escape(f"[image {url}]")


def caption(turns: Messages) -> str:
    """The number of messages, and of tokens once an engine is loaded to count them."""
    if any(not isinstance(m["content"], str) for m in turns):
        return f"{len(turns)} messages; tokens of images are counted only on request"
    if counter is None:
        return f"{len(turns)} messages; tokens are counted once an engine is loaded"
    try:
        return f"{len(turns)} messages, {counter(turns):,} tokens"
    except (ValueError, RuntimeError) as error:  # shown, not raised: a view must not fail
        return f"{len(turns)} messages ({error})"
