"""Record: what a server was started with and which process it is, in a file that only its owner may read: so that
another notebook finds it."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from toolkit import models
from toolkit.engines import group
from toolkit.fingerprint import Fingerprint


@dataclass(frozen=True)
class Record:
    """A server. Its key and the values of its environment are in no repr."""

    id: str
    model: str
    path: str
    """The model's folder or hub id, as vLLM takes it."""
    arguments: Mapping[str, Any]
    """Engine arguments, ours included."""
    spec: str
    """The key of the engine's spec."""
    host: str
    port: int
    names: tuple[str, ...]
    """What the model may be called in requests, its own name first."""
    api_key: str | None = field(repr=False)
    env: Mapping[str, str | None] = field(repr=False)
    """Variables on top of the environment; None for one that is not to be set."""
    log: str
    machine: str = field(default_factory=platform.node)
    """Home folders are shared between machines, process numbers are not."""
    pid: int = 0
    born: str = ""
    """See `group.born`."""
    output: str = ""
    """The log that its processes write to, whatever its name is by now: see `group.file`."""

    @classmethod
    def all(cls) -> list[Record]:
        """Those on this machine, the oldest first; of dead ones the record goes, and what they have left running."""
        here = [record for record in cls.every() if record.machine == platform.node()]
        for record in here:
            if not (record.alive or record.end(0)):
                record.remove()
        return [record for record in here if record.alive]

    @classmethod
    def every(cls) -> list[Record]:
        """Those of all machines that share this home, dead ones too, the oldest first."""
        files = models.oldest_first(folder().glob("*.json"))
        return [record for file in files if (record := cls.read(file))]

    @classmethod
    def read(cls, file: Path) -> Record | None:
        """None for what is no record of this version, or is gone by now."""
        try:
            data = json.loads(file.read_text())
            return cls(**{**data, "names": tuple(data["names"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self) -> None:
        models.write_atomically(self.file, json.dumps(asdict(self)), mode=0o600)

    def remove(self) -> None:
        for file in (self.file, self._note):
            file.unlink(missing_ok=True)

    def with_process(self, pid: int, log: int) -> Record:
        """As it is once it runs and writes to an open log."""
        return replace(self, pid=pid, born=group.born(pid) or "", output=group.file(log) or "")

    def end(self, patience: float) -> list[int]:
        """Ends its processes, those without their first one too; returns what is left: see `group.end`."""
        left = group.end(self.pid, self.output, patience)
        return left or [self.pid] * self.alive

    @property
    def alive(self) -> bool:
        """The very process that was started is running."""
        return self.pid > 0 and group.born(self.pid) == self.born

    @property
    def file(self) -> Path:
        return folder() / f"{self.id}.json"

    @property
    def _note(self) -> Path:
        return folder() / f"{self.id}.fingerprint"

    @property
    def fingerprint(self) -> Fingerprint | None:
        """As the server itself found it, before it opened; None until then."""
        try:
            return Fingerprint.from_json(json.loads(self._note.read_text()))
        except FileNotFoundError:
            return None

    def note(self, fingerprint: Fingerprint) -> None:
        models.write_atomically(self._note, json.dumps(fingerprint.to_json()))


def folder() -> Path:
    """Where the records are; for its owner only."""
    found = models.home() / "servers"
    found.mkdir(mode=0o700, parents=True, exist_ok=True)
    return found
