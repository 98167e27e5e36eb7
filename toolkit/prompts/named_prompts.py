"""Prompts with names, by which tables show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit._internal.text import short_repr
from toolkit.prompts.messages import Message, is_message, messages
from toolkit.prompts.prompt import Prompt
from toolkit.prompts.rendered import Rendered


@dataclass(frozen=True)
class NamedPrompt:
    """A prompt that is no `Prompt`, whose name is a field of its own, with a name."""

    name: str
    prompt: str | Rendered | Sequence[Message]


Promptlike = str | Prompt | Rendered | Sequence[Message] | NamedPrompt
"""What a sweep takes as a prompt."""


def named_prompts(prompts: Mapping[Any, Any]) -> list[Prompt | NamedPrompt]:
    """The prompts of a dict, name → prompt. A name changes no request. Raises TypeError or ValueError for what is no
    name or no prompt, and for a single message."""
    if {"role", "content"} <= prompts.keys():
        raise TypeError(
            f"a message alone is no prompt, got {dict(prompts)!r}: write [{{'role': …, 'content': …}}]"
        )
    if not prompts:
        raise ValueError("prompts is empty: give at least one, {name: prompt}")
    return [_named(name, prompt) for name, prompt in prompts.items()]


def unnamed(prompt: Promptlike) -> str | Prompt | Rendered | Sequence[Message]:
    return prompt.prompt if isinstance(prompt, NamedPrompt) else prompt


def is_conversation(values: Any) -> bool:
    """Whether a value is a list of messages, which is one prompt."""
    return isinstance(values, (list, tuple)) and bool(values) and is_message(values[0])


def _named(name: Any, prompt: Any) -> Prompt | NamedPrompt:
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f"a prompt is named by a text that is not empty, got {name!r}")
    if isinstance(prompt, Prompt):
        return prompt.with_(name=name)
    if not isinstance(prompt, (str, Rendered)) and not is_conversation(prompt):
        raise TypeError(
            f"the prompt {name!r} must be a text, messages, a Prompt or a rendered one, got {short_repr(prompt)}"
        )
    if not isinstance(prompt, Rendered):
        messages(prompt)
    return NamedPrompt(name, prompt)
