"""Gallery: prompts that come with the project, as starting points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit._internal.files import data_folder
from toolkit._internal.validation import position, unknown
from toolkit.display.markup import Markup, joined, markup
from toolkit.prompts.prompt import Prompt
from toolkit.prompts.prompt_files import read_mapping

FOLDER = data_folder("prompts")


@dataclass(frozen=True)
class Entry:
    """A prompt of the gallery, with rows to try it on."""

    name: str
    title: str
    description: str
    kind: str
    """What kind of answer is expected: text, label, number, list, json or code."""
    tags: tuple[str, ...]
    prompt: Prompt
    rows: tuple[dict[str, Any], ...]
    """Each has the prompt's variables, and `expected` where there is a correct answer."""

    @classmethod
    def load(cls, path: Path) -> Entry:
        """From a YAML file. Raises ValueError or TypeError that names the file."""
        data = read_mapping(path)
        try:
            prompt = Prompt(**data.pop("prompt"), name=data["name"])
            return cls(**{**data, "tags": tuple(data["tags"]), "prompt": prompt, "rows": tuple(data["rows"])})
        except (KeyError, ValueError, TypeError) as error:
            kind = ValueError if isinstance(error, KeyError) else type(error)
            raise kind(f"{path}: {error}") from None

    def _repr_html_(self) -> Markup:
        preview = self.prompt.render(self.rows[0])._repr_html_()
        texts = self.title, self.description, self._summary()
        return markup("<p><b>{}</b> {} <i>{}</i></p>{}", *texts, preview)

    def _summary(self) -> str:
        return f"{self.kind}; {', '.join(self.tags)}; {len(self.rows)} rows"


class Gallery(Sequence[Entry]):
    """Entries by position or name; `search` narrows them."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = tuple(entries)

    def __getitem__(self, which: Any) -> Any:
        """The entry with a name or at a position. Raises KeyError with the nearest name, IndexError."""
        if not isinstance(which, str):
            if isinstance(which, slice):
                return Gallery(self._entries[which])
            return self._entries[position("the position of an entry", which, len(self))]
        names = {entry.name: entry for entry in self._entries}
        if which not in names:
            raise KeyError(unknown("prompt", which, names))
        return names[which]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def search(self, text: str = "", *, kind: str | None = None, tag: str | None = None) -> Gallery:
        """The entries whose name, title, description, tags or templates contain all the words, ignoring case."""
        for name, value, allowed in (("kind", kind, self.kinds), ("tag", tag, self.tags)):
            if value is not None and value not in allowed:
                raise ValueError(unknown(name, value, allowed))
        words = text.casefold().split()
        return Gallery(
            [
                e
                for e in self._entries
                if kind in (None, e.kind)
                and (tag is None or tag in e.tags)
                and all(w in _searched_text(e) for w in words)
            ]
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(sorted({e.kind for e in self._entries}))

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(sorted({tag for e in self._entries for tag in e.tags}))

    def __repr__(self) -> str:
        width = max((len(e.name) for e in self._entries), default=0)
        return "\n".join(f"{e.name:<{width}}  {e.title} ({e._summary()})" for e in self._entries)

    def _repr_html_(self) -> Markup:
        names = ("name", "title", "kind", "tags", "description")
        head = joined(markup('<th style="text-align:left">{}</th>', name) for name in names)
        cell = '<td style="text-align:left">{}</td>'
        rows = joined(
            markup("<tr>{}</tr>", joined(markup(cell, _cell_text(getattr(e, n))) for n in names))
            for e in self._entries
        )
        return markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", head, rows)


def gallery() -> Gallery:
    """The prompts in data/prompts, by name.

    >>> gallery()["classify-sentiment"].prompt  # doctest: +SKIP
    """
    paths = sorted(FOLDER.glob("*.yaml"))
    if not paths:
        raise FileNotFoundError(
            f"there are no prompts in {FOLDER}: install from the repository, with make install"
        )
    return Gallery([Entry.load(path) for path in paths])


def _searched_text(entry: Entry) -> str:
    parts = [entry.name, entry.title, entry.description, entry.kind, *entry.tags, entry.prompt.template]
    return " ".join([*parts, entry.prompt.system or ""]).casefold()


def _cell_text(value: str | tuple[str, ...] | Mapping[str, Any]) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
