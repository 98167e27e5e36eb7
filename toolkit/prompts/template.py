"""Template: text with named variables, in Python's `{name}` syntax or in Jinja2."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

SYNTAXES = ("format", "jinja")


@dataclass(frozen=True)
class Template:
    """Text with variables. In the syntax "format", `{name}` is a variable and `{{`, `}}` are braces; "jinja" is
    Jinja2 (sandboxed), with its conditions, loops and filters.

    Raises ValueError, when created, for a malformed text.

    >>> Template("Review: {text}").fill({"text": "Great!"})
    'Review: Great!'
    """

    text: str
    syntax: str = "format"

    def __post_init__(self) -> None:
        if self.syntax not in SYNTAXES:
            raise ValueError(f"syntax must be one of {', '.join(SYNTAXES)}, got {self.syntax!r}")
        if not isinstance(self.text, str) or not self.text:
            raise ValueError(f"template must be a non-empty string, got {self.text!r}")
        self.variables  # noqa: B018  # a malformed template fails here, not at the first row

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Names that a row must have: in order of appearance, or sorted for Jinja2 (where a name that is tested
        with `is defined` or has a `default` may be missing)."""
        return _jinja_names(self.text)[0] if self.syntax == "jinja" else _format_names(self.text)

    @cached_property
    def mentions(self) -> tuple[str, ...]:
        """All names, including optional ones."""
        return _jinja_names(self.text)[1] if self.syntax == "jinja" else self.variables

    def fill(self, row: Mapping[str, Any]) -> str:
        """The text with the variables of a row. Raises ValueError that names all missing ones at once."""
        missing = [name for name in self.variables if name not in row]
        if missing:
            raise ValueError(missing_message(missing, row))
        if self.syntax == "format":
            try:
                return self.text.format_map(row)
            except TypeError as error:
                raise ValueError(f"the template cannot be filled ({error})") from None
        from jinja2 import TemplateError

        try:
            return str(_compiled(self.text).render(row))
        except (TemplateError, TypeError, ArithmeticError, LookupError) as error:
            raise ValueError(f"the template cannot be filled ({type(error).__name__}: {error})") from None


def missing_message(missing: list[str], row: Mapping[str, Any]) -> str:
    """The error message for a row without some variables."""
    return f"the row lacks {', '.join(missing)} (it has {', '.join(map(str, row)) or 'nothing'})"


def _format_names(text: str) -> tuple[str, ...]:
    try:
        fields = [(name, spec) for _, name, spec, _ in string.Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise ValueError(f"template {text!r} is malformed ({error}): write {{{{ for a brace") from None
    for name, spec in fields:
        if not name.isidentifier() or "{" in (spec or ""):
            variable = f"{name}:{spec}" if spec else name
            raise ValueError(
                f"template has the variable {{{variable}}}: use a plain name, or {{{{ and }}}} for braces"
            )
    return tuple(dict.fromkeys(name for name, _ in fields))


def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # A template may come from an untrusted file.
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)


@cache
def _compiled(text: str) -> Any:
    return _environment().from_string(text)


def _jinja_names(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The required names, and all names."""
    from jinja2 import TemplateSyntaxError, meta, nodes

    try:
        tree = _environment().parse(text)
    except TemplateSyntaxError as error:
        raise ValueError(f"template {text!r} is malformed (line {error.lineno}: {error.message})") from None
    optional = {
        node.node.name
        for node in tree.find_all((nodes.Test, nodes.Filter))
        if node.name in ("defined", "undefined", "default", "d") and isinstance(node.node, nodes.Name)
    }
    names = meta.find_undeclared_variables(tree)
    return tuple(sorted(names - optional)), tuple(sorted(names))
