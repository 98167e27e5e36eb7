"""Prompt: the messages sent to a model, made from a template and a row of data."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool")
Message = Mapping[str, Any]


def messages(given: str | list[Message] | tuple[Message, ...]) -> tuple[dict[str, str], ...]:
    """A conversation as a tuple of {"role", "content"}; a string is one user message.

    Raises ValueError for an empty conversation, an unknown role or a message without text.
    """
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, (list, tuple)):
        raise TypeError(f"messages must be a string or a list of messages, got {given!r}")
    if not given:
        raise ValueError("messages is empty: give at least one, such as {'role': 'user', 'content': 'Hi'}")
    return tuple(_message(i, m) for i, m in enumerate(given))


def _message(index: int, given: Message) -> dict[str, str]:
    if not isinstance(given, Mapping) or not {"role", "content"} <= given.keys():
        raise ValueError(f"messages[{index}] must have 'role' and 'content', got {given!r}")
    role, content = given["role"], given["content"]
    if role not in ROLES:
        raise ValueError(f"messages[{index}] has the unknown role {role!r}: use one of {', '.join(ROLES)}")
    if isinstance(content, (list, tuple)):
        # OpenAI's content parts; a text model reads their texts one after the other.
        content = "".join(_text_part(index, part) for part in content)
    if not isinstance(content, str) or not content:
        raise ValueError(
            f"messages[{index}] has no text, got {given['content']!r}: content is a non-empty string"
        )
    return {"role": role, "content": encodable(f"messages[{index}]", content)}


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


def _text_part(index: int, part: Any) -> str:
    if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise ValueError(f"messages[{index}] has a part that is not text, got {part!r}")
    return str(part["text"])


@dataclass(frozen=True)
class Prompt:
    """A template with named variables: `{text}` is filled from a row, `{{` and `}}` are literal braces.

    >>> Prompt("Review: {text}", system="Be brief.").messages({"text": "Great!"})[1]["content"]
    'Review: Great!'
    """

    template: str
    system: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.template, str) or not self.template:
            raise ValueError(f"template must be a non-empty string, got {self.template!r}")
        self.variables  # noqa: B018  # a malformed template fails here, not at the first row

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the variables, in order of appearance."""
        names: dict[str, None] = {}
        for part in (self.system or "", self.template):
            try:
                fields = [name for _, name, _, _ in string.Formatter().parse(part) if name is not None]
            except ValueError as error:
                raise ValueError(
                    f"template {part!r} is malformed ({error}): write {{{{ for a brace"
                ) from None
            for name in fields:
                if not name.isidentifier():
                    raise ValueError(
                        f"template has the variable {{{name}}}: use a plain name, or {{{{ and }}}} for braces"
                    )
                names[name] = None
        return tuple(names)

    def messages(self, row: Mapping[str, Any] | None = None) -> tuple[dict[str, str], ...]:
        """The conversation for one row. Raises ValueError that names all missing variables at once."""
        row = row or {}
        missing = [name for name in self.variables if name not in row]
        if missing:
            have = ", ".join(map(str, row)) or "nothing"
            raise ValueError(f"the row lacks {', '.join(missing)} (it has {have})")
        turns = [{"role": "system", "content": self.system.format_map(row)}] if self.system else []
        return messages([*turns, {"role": "user", "content": self.template.format_map(row)}])
