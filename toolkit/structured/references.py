"""References in a JSON Schema ($ref): what they refer to, which of them never end, and whether an answer can end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote

from toolkit._internal.text import short_repr
from toolkit.structured.json_schema import children

_SAME_VALUE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
"""Keywords whose schemas apply to the value itself, not to a part of it."""
_DEFINITIONS = ("$defs", "definitions")


def check_references(root: Any) -> None:
    """Raises ValueError for a $ref to a place that the schema does not have; for one that leads back to itself with
    no property or item between, so that what it allows is never said; and where every answer would have to contain
    another one, and so on without end."""
    if not isinstance(root, dict):
        return
    finished: dict[int, bool] = {}
    parts = list(_used(root))
    for part in parts:
        _follow(part, "", root, finished)
    _check_ends(root, parts)


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


def _check_ends(root: dict[str, Any], parts: list[dict[str, Any]]) -> None:
    """Finds which schemas have a value that ends: those that need no other one first, then those that need these."""
    ending: set[int] = set()
    before = -1
    while len(ending) > before:
        before = len(ending)
        # Backwards, since what a schema needs comes mostly after it.
        ending.update(id(part) for part in reversed(parts) if _may_end(part, root, ending))
    if id(root) not in ending:
        reference = next(part["$ref"] for part in parts if "$ref" in part and id(part) not in ending)
        raise ValueError(
            f"an answer would never end: it must contain what {reference!r} refers to, and that must contain it "
            "again. Make the property optional, the list one that may be empty, or allow null with anyOf"
        )


def _may_end(part: dict[str, Any], root: dict[str, Any], ending: set[int]) -> bool:
    """Whether a value of a schema can end, as far as those that `ending` lists are known to."""
    if "enum" in part or "const" in part:
        return True

    def end(schemas: Iterable[Any]) -> Iterator[bool]:
        return (not isinstance(schema, dict) or id(schema) in ending for schema in schemas)

    alternatives = (part[name] for name in ("anyOf", "oneOf") if name in part)
    if not (
        all(end([_target(part, root), *(part.get("allOf") or ())]))
        and all(any(end(schemas)) for schemas in alternatives)
    ):
        return False
    kinds = part.get("type")
    needed = {"object": _required(part), "array": _items(part)}
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return kinds is None or any(all(end(needed.get(kind, ()))) for kind in kinds)


def _required(part: dict[str, Any]) -> list[Any]:
    """The schemas of the properties that every object has."""
    properties = part.get("properties") or {}
    return [properties.get(name) for name in part.get("required") or ()]


def _items(part: dict[str, Any]) -> list[Any]:
    """The schemas of the items that every list has."""
    first, least = part.get("prefixItems") or [], part.get("minItems") or 0
    return [*first[: int(least)], *([part.get("items")] if least > len(first) else [])]


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
