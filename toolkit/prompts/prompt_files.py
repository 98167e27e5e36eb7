"""Prompts in YAML and JSON files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from toolkit._internal.files import read_text
from toolkit._internal.text import is_valid_unicode, short_repr
from toolkit.prompts.images import image

_SETTINGS = frozenset({"k", "selector", "order_seed", "fold_system"})
"""Fields of a prompt that are no texts."""
_GUESSED = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "timestamp", "value"))

_MOST_REPEATED = 10_000_000
"""Characters by which a file may grow when its aliases are written out."""
_WHOLE = re.compile("0|-?[1-9][0-9]*")


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. In YAML, what stands without quotes is a number or a truth value only where
    `file_text` would write it so (8, 0.5, true); else it is text as it stands there: no, 12:30, 010, 2026-01-02.

    Raises ValueError, which names the file.
    """
    file_type = file_format(path)
    text = read_text(path)
    import yaml

    try:
        data = json.loads(text) if file_type == "json" else yaml.load(text, _text_loader())
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(f"{path} is not valid {file_type.upper()}: {reason}") from None
    if not isinstance(data, dict) or not all(isinstance(name, str) for name in data):
        raise ValueError(
            f"{path} must hold the fields of a prompt, such as `template:`, got {short_repr(data)}"
        )
    return data


def file_text(path: Path, data: dict[str, Any]) -> str:
    """The text of a file that holds a mapping of JSON data."""
    text = json.dumps(data, ensure_ascii=False, indent=2)
    if file_format(path) == "json":
        return (text if is_valid_unicode(text) else json.dumps(data, indent=2)) + "\n"
    import yaml

    # YAML reads these line separators as line breaks, unless they are escaped; so are halves of surrogate pairs.
    escape = any(mark in text for mark in "\x85\u2028\u2029") or not is_valid_unicode(text)
    return str(yaml.safe_dump(data, allow_unicode=not escape, sort_keys=False, width=100))


def file_format(path: Path) -> str:
    """json or yaml, by the file's extension. Raises ValueError for any other."""
    formats = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}
    if path.suffix.lower() not in formats:
        raise ValueError(f"a prompt is saved as .yaml or .json, got {short_repr(path.name)}")
    return formats[path.suffix.lower()]


def with_files_read(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a prompt, with the files that images in its `history` name in place of their names.

    Raises ValueError for what `image` refuses.
    """
    history = data.get("history")
    if not isinstance(history, list):
        return dict(data)
    return {**data, "history": [_message_with_files(turn) for turn in history]}


def _message_with_files(turn: Any) -> Any:
    if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), list):
        return turn
    return {**turn, "content": [_part_with_file(part) for part in turn["content"]]}


def _part_with_file(part: Any) -> Any:
    source = part.get("image_url") if isinstance(part, Mapping) else None
    source = {"url": source} if isinstance(source, str) else source
    if not isinstance(source, Mapping) or not isinstance(source.get("url"), str):
        return part
    return {**part, "image_url": {**source, **image(source["url"])["image_url"]}}


@cache
def _text_loader() -> Any:
    import yaml

    class TextLoader(yaml.SafeLoader):
        """YAML as it stands: see `read_mapping`."""

        def __init__(self, stream: Any) -> None:
            super().__init__(stream)
            self._path: list[Any] = []
            """Keys and positions of the node that is read."""

        def get_single_node(self) -> Any:
            node = super().get_single_node()
            _check_aliases(node)
            return node

        def compose_node(self, parent: Any, index: Any) -> Any:
            self._path.append(getattr(index, "value", index))
            try:
                return super().compose_node(parent, index)
            finally:
                self._path.pop()

        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            tag: Any = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
            guessed = kind is yaml.ScalarNode and tag in _GUESSED and not self._in_settings()
            return "tag:yaml.org,2002:str" if guessed and not _is_canonical(value) else tag

        def _in_settings(self) -> bool:
            in_list = any(isinstance(key, int) for key in self._path)
            return not in_list and any(isinstance(key, str) and key in _SETTINGS for key in self._path)

    return TextLoader


def _check_aliases(root: Any) -> None:
    """Raises ValueError for aliases (*name) that contain themselves, or repeat so much that a short file is a huge
    prompt."""
    sizes: dict[int, int | None] = {}  # by node, which an alias shares with its anchor; None while it is open

    def size(node: Any) -> int:
        """Characters of the values in a node, those of aliases written out."""
        if id(node) not in sizes:
            sizes[id(node)] = None
            sizes[id(node)] = 1 + sum(map(size, _children(node))) + len(node.value)
        total = sizes[id(node)]
        if total is None:
            raise ValueError(
                f"the alias in line {node.start_mark.line + 1} contains itself: write its value out"
            )
        return total

    if root is not None and size(root) > _MOST_REPEATED + root.end_mark.index:
        raise ValueError(
            f"with its aliases (*name) written out it has {size(root):,} characters, and they may add "
            f"{_MOST_REPEATED:,}: use fewer of them"
        )


def _children(node: Any) -> list[Any]:
    """The nodes in a list or a mapping; none in a scalar, whose value is text."""
    if isinstance(node.value, str):
        return []
    return [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]


def _is_canonical(written: str) -> bool:
    """Whether a number or a truth value is written as `file_text` writes it."""
    if _WHOLE.fullmatch(written):
        return True
    import yaml

    try:
        value = yaml.safe_load(written)
    except (ValueError, yaml.YAMLError):
        return False
    return isinstance(value, int | float) and yaml.safe_dump(value).split("\n")[0] == written
