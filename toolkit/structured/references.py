"""References in a JSON Schema ($ref): what they refer to, and which of them never end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from toolkit._internal.text import short_repr
from toolkit.structured.json_schema import children

_SAME_VALUE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
"""Keywords whose schemas apply to the value itself, not to a part of it."""
_DEFINITIONS = ("$defs", "definitions")


def check_references(root: Any) -> None:
    """Raises ValueError for a $ref to a place that the schema does not have, and for one that leads back to itself
    with no property or item between, so that what it allows is never said."""
    if not isinstance(root, dict):
        return
    finished: dict[int, bool] = {}
    for part in _used(root):
        _follow(part, "", root, finished)


def _used(root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every schema that takes part: definitions only where something refers to them."""
    waiting, seen = list[Any]([root]), set[int]()
    while waiting:
        part = waiting.pop()
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        waiting.append(_target(part, root))
        waiting += [inner for (keyword, *_), inner in children(part) if keyword not in _DEFINITIONS]


def _follow(part: Any, reference: str, root: dict[str, Any], finished: dict[int, bool]) -> None:
    """Visits what applies to the same value, depth first; `reference` led here."""
    if not isinstance(part, dict) or finished.get(id(part)):
        return
    if id(part) in finished:
        raise ValueError(
            f"the reference {short_repr(reference)} leads back to itself, and so never says what is allowed: let it "
            "refer to a schema with a type, or put it into a property or an item"
        )
    finished[id(part)] = False
    if "$ref" in part:
        _follow(_target(part, root), str(part["$ref"]), root, finished)
    for (keyword, *_), inner in children(part):
        if keyword in _SAME_VALUE:
            _follow(inner, reference, root, finished)
    finished[id(part)] = True


def _target(part: dict[str, Any], root: dict[str, Any]) -> Any:
    """What a schema's $ref refers to in the same schema; None without one, and for a name or an address. Raises
    ValueError for a place that does not exist."""
    reference = part.get("$ref")
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    target: Any = root
    for step in reference.split("/")[1:]:
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        try:
            target = target[int(name) if isinstance(target, list) else name]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ValueError(
                f"the reference {short_repr(reference)} refers to nothing in the schema"
            ) from None
    return target
