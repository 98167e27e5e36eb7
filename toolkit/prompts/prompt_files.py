"""Prompts in YAML and JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.prompts.images import image


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file."""
    text = path.read_text(encoding="utf-8")
    import yaml

    try:
        data = json.loads(text) if file_format(path) == "json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is not valid {file_format(path).upper()}: {error}") from None
    if not isinstance(data, dict) or not all(isinstance(name, str) for name in data):
        raise ValueError(f"{path} must hold the fields of a prompt, such as `template:`, got {data!r:.80}")
    return data


def file_format(path: Path) -> str:
    """json or yaml, by the file's extension. Raises ValueError for any other."""
    formats = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}
    if path.suffix.lower() not in formats:
        raise ValueError(f"a prompt is saved as .yaml or .json, got {path.name!r}")
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
