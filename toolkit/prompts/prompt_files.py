"""Prompts in YAML and JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


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
