"""HTML as a type: Markup is HTML already, and every other value is escaped where it becomes part of it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape as escape_text

from markupsafe import Markup as Markup  # for everything that makes HTML


def escape(value: object) -> Markup:
    """A value as HTML: Markup as it stands, the text of anything else escaped."""
    return _markup(_escaped(value))


def markup(template: str, *values: object) -> Markup:
    """HTML from a template of the program's own, each {} of which is replaced by a value, escaped.

    >>> markup("<b>{}</b> {}", "a < b", markup("<i>{}</i>", 3))
    Markup('<b>a &lt; b</b> <i>3</i>')
    """
    # Not Markup's own format, which is written in Python, and several times as slow for a table of many cells.
    return _markup(template.format(*map(_escaped, values)))


def joined(parts: Iterable[object], separator: str | Markup = "") -> Markup:
    """The parts one after another, each escaped."""
    return _markup(_escaped(separator).join(map(_escaped, parts)))


def _escaped(value: object) -> str:
    return value if isinstance(value, Markup) else escape_text(str(value))


def _markup(text: str) -> Markup:
    """Text that is HTML, as Markup(text), whose own constructor is several times as slow."""
    return str.__new__(Markup, text)
