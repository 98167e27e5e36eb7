"""Template: text with named variables, in Python's `{name}` syntax or in Jinja2."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from toolkit._internal.jsonable import data_value, holds_missing
from toolkit._internal.missing import is_missing
from toolkit._internal.text import short_repr, shortened
from toolkit._internal.validation import encodable

SYNTAXES = ("format", "jinja")
_DEFAULT_TEMPLATES = {"answer": "{answer}", "block": "{question}\n{answer}", "document": "[{number}] {text}"}
"""Of the parts of a prompt, in Python's syntax."""
_CONVERSIONS: dict[str, Callable[[Any], str]] = {"r": repr, "s": str, "a": ascii}
_HUGE_WIDTH = re.compile(r"\d{6}")
"""A field of so many characters would fill the memory."""
_BRACES = re.compile(r"\{\{|\}\}|(\{[^\W\d]\w*(?:![rsa])?(?::[^\s{}]+)?\})")
"""Doubled braces, or a variable (the group)."""
_PRESENT = "toolkit_present_value"
"""The name of a filter for our own use."""


def default_template(name: str, syntax: str) -> str:
    """The default template of a part of a prompt; in Jinja2 the braces are doubled."""
    text = _DEFAULT_TEMPLATES[name]
    return text.replace("{", "{{ ").replace("}", " }}") if syntax == "jinja" else text


class RowError(ValueError):
    """A value of a row that a template cannot write. Other rows are not affected."""


class _MissingValue(ValueError):
    """A Jinja2 template would write a missing value."""


class _Missing:
    """A missing value, or one inside a list or dict, as a Jinja2 template has it: false, none, and never text. It
    equals what the value itself does: nothing, or None."""

    def __init__(self, value: Any) -> None:
        self._is_none = value is None

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return self._is_none and (other is None or (isinstance(other, _Missing) and other._is_none))

    def __hash__(self) -> int:
        return hash(None)

    def __repr__(self) -> str:
        raise _MissingValue("the template writes a value that is missing: test for it, or give it a default")


@dataclass(frozen=True)
class Template:
    """Text with variables. In the syntax "format", `{name}` is a variable and `{{`, `}}` are braces; "jinja" is
    Jinja2 (sandboxed), with its conditions, loops and filters. Values are written as rows hold them (see
    `data_value`): dates in ISO 8601, a member of an Enum as its value.

    Raises ValueError, when created, for a malformed text.

    >>> Template("Review: {text}").fill({"text": "Great!"})
    'Review: Great!'
    """

    text: str
    syntax: str = "format"

    def __post_init__(self) -> None:
        if self.syntax not in SYNTAXES:
            raise ValueError(f"syntax must be one of {', '.join(SYNTAXES)}, got {short_repr(self.syntax)}")
        if not isinstance(self.text, str) or not self.text:
            raise ValueError(f"template must be a non-empty string, got {short_repr(self.text)}")
        encodable("template", self.text)
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

    def gaps(self, row: Mapping[str, Any]) -> list[str]:
        """The variables whose values are missing (None, NaN), or hold one that is. None in Jinja2, which can test for
        them: there `fill` refuses to write one."""
        if self.syntax == "jinja":
            return []
        return [name for name in self.variables if name in row and holds_missing(row[name])]

    def fill(self, row: Mapping[str, Any]) -> str:
        """The text with the variables of a row. Raises ValueError that names all that the row lacks at once, or a
        variable whose value is missing; RowError for a value that cannot be written."""
        if lacking := [name for name in self.variables if name not in row]:
            raise ValueError(lacking_message(lacking, row))
        if gaps := self.gaps(row):
            raise ValueError(gaps_message("the row", gaps, row))
        text = self._fill_jinja(row) if self.syntax == "jinja" else self._fill_format(row)
        try:
            return encodable("the text", text)
        except ValueError as error:
            raise RowError(self._surrogate_message(row) or str(error)) from None

    def _fill_format(self, row: Mapping[str, Any]) -> str:
        parts = []
        for literal, name, spec, conversion in string.Formatter().parse(self.text):
            parts.append(literal)
            if name is None:
                continue
            try:
                parts.append(_formatted(row[name], spec, conversion))
            except Exception as error:  # noqa: BLE001  # a value's own code may raise anything
                raise RowError(
                    f"the template cannot be filled with {short_repr(name)} ({_described(error)})"
                ) from None
        return "".join(parts)

    def _fill_jinja(self, row: Mapping[str, Any]) -> str:
        from toolkit.prompts.jinja_sandbox import limited_text

        try:
            values = {name: _marked(value) for name, value in row.items()}
            return limited_text(_compiled(self.text).generate(values))
        except _MissingValue as error:
            gaps = [name for name in self.mentions if holds_missing(row.get(name, ""))]
            raise ValueError(gaps_message("the row", gaps, row) if gaps else str(error)) from None
        except Exception as error:  # noqa: BLE001  # a template's own code may raise anything
            raise RowError(f"the template cannot be filled ({_described(error)})") from None

    def _surrogate_message(self, row: Mapping[str, Any]) -> str | None:
        """Names the variable with half of a surrogate pair."""
        for name in self.mentions:
            try:
                encodable(repr(name), str(row.get(name)))
            except ValueError as error:
                return str(error)
        return None


def lacking_message(names: Sequence[str], row: Mapping[str, Any]) -> str:
    """The error message for a row without some variables."""
    present = shortened(", ".join(map(str, row)) or "nothing", 1000)
    return f"the row lacks {shortened(', '.join(names), 1000)} (it has {present})"


def gaps_message(where: str, names: Sequence[str], row: Mapping[str, Any]) -> str:
    """The error message for a row with missing values, which would be sent as the words None and nan."""
    values = (
        f"{names[0]!r}, got {short_repr(row[names[0]])}" if len(names) == 1 else ", ".join(map(repr, names))
    )
    kind = "no value for" if all(is_missing(row[name]) for name in names) else "a missing value in"
    return f"{where} has {kind} {values}: fill it, or leave the row out"


def single_brace_variables(text: str) -> tuple[str, ...]:
    """The variables in a text that other braces may surround, as they stand there: `{name}`, but not `{{name}}`."""
    return tuple(dict.fromkeys(filter(None, _BRACES.findall(text))))


def written_value(value: Any) -> Any:
    """The value that a prompt writes: as a row holds it; one that is no data as it is."""
    try:
        return data_value(value)
    except (TypeError, ValueError, RecursionError):
        return value


def _formatted(value: Any, spec: str | None, conversion: str | None) -> str:
    if conversion:
        value = _CONVERSIONS[conversion](written_value(value))
    return format(value, spec) if spec else format(written_value(value))


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _format_names(text: str) -> tuple[str, ...]:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(
            f"template {short_repr(text)} is malformed ({error}): write {{{{ for a brace"
        ) from None
    names: dict[str, None] = {}
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if not name.isidentifier() or "{" in (spec or "") or (conversion and conversion not in _CONVERSIONS):
            variable = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            raise ValueError(
                f"template has the variable {{{variable:.200}}}: use a plain name, or {{{{ and }}}} for braces"
            )
        if _HUGE_WIDTH.search(spec or ""):
            raise ValueError(
                f"template has the variable {{{name}:{spec:.200}}}: a field of that width is too long"
            )
        names[name] = None
    return tuple(names)


@cache
def _environment() -> Any:
    from jinja2 import StrictUndefined

    from toolkit.prompts.jinja_sandbox import LimitedSandbox

    # A template may come from an untrusted file.
    environment = LimitedSandbox(
        undefined=StrictUndefined, keep_trailing_newline=True, finalize=_present_value
    )
    environment.filters[_PRESENT] = _present_value
    environment.tests["none"] = lambda value: value is None or isinstance(value, _Missing)
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "default": _none_if_missing}
    return environment


def _none_if_missing(value: Any) -> None:
    """For the filter `tojson`, whose null is written on purpose."""
    if not isinstance(value, _Missing):
        raise TypeError(f"{type(value).__name__} is not JSON: write what it holds")


def _present_value(value: Any) -> Any:
    """The value that a prompt writes. Raises _MissingValue for one that is missing."""
    from toolkit.prompts.jinja_sandbox import check_size

    if isinstance(value, str):
        check_size(len(value))  # a ~ a in a loop doubles it each time
    return str(_Missing(value)) if holds_missing(value) else written_value(value)


def _marked(value: Any) -> Any:
    """A value of a row with `_Missing` in place of what is missing in it."""
    if is_missing(value):
        return _Missing(value)
    if not holds_missing(value):
        return value
    data = data_value(value)
    return (
        {name: _marked(item) for name, item in data.items()}
        if isinstance(data, dict)
        else [*map(_marked, data)]
    )


@cache
def _compiled(text: str) -> Any:
    from jinja2 import nodes

    tree = _environment().parse(text)
    for joined in tree.find_all(nodes.Concat):  # a ~ b writes values, too
        joined.nodes = [nodes.Filter(n, _PRESENT, [], [], None, None, lineno=n.lineno) for n in joined.nodes]
    tree.set_environment(_environment())
    return _environment().from_string(tree)


@cache
def _jinja_names(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The required names, and all names."""
    from jinja2 import TemplateSyntaxError, meta, nodes

    try:
        tree = _environment().parse(text)
        names = meta.find_undeclared_variables(tree)
        _compiled(text)
    except TemplateSyntaxError as error:
        raise ValueError(
            f"template {short_repr(text)} is malformed (line {error.lineno}: {error.message})"
        ) from None
    except Exception as error:  # noqa: BLE001  # Python's compiler has limits of its own
        raise ValueError(f"template {short_repr(text)} is malformed ({_described(error)})") from None
    optional = {
        node.node.name
        for node in tree.find_all((nodes.Test, nodes.Filter))
        if node.name in ("defined", "undefined", "default", "d") and isinstance(node.node, nodes.Name)
    }
    return tuple(sorted(names - optional)), tuple(sorted(names))
