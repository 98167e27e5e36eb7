"""The registry of servers: a file for each, by which other notebooks find it, with its settings and its process. Only
the owner may read it."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from toolkit._internal.files import oldest_first, read_cache, toolkit_home, write_atomically
from toolkit.core.fingerprint import Fingerprint
from toolkit.serving import process_group


@dataclass(frozen=True)
class ServerRecord:
    """A server. The repr leaves out its API key, its environment and its engine arguments."""

    id: str
    model: str
    path: str
    """The model's folder or hub id, as vLLM takes it."""
    arguments: Mapping[str, Any] = field(repr=False)
    """Engine arguments, ours included."""
    spec: str
    """The key of the engine's spec."""
    host: str
    port: int
    names: tuple[str, ...]
    """Names of the model in requests, its own first."""
    api_key: str | None = field(repr=False)
    env: Mapping[str, str | None] = field(repr=False)
    """Variables on top of this process's environment; None for one to unset."""
    log: str
    allowed_hosts: tuple[str, ...] = ()
    """Further names by which others reach it."""
    machine: str = field(default_factory=platform.node)
    """The host name: machines may share a home folder, but not process numbers."""
    pid: int = 0
    born: str = ""
    """See `process_group.process_identity`."""
    output: str = ""
    """The log that its processes write to, even if renamed: see `process_group.inode_key`."""

    @classmethod
    def on_this_machine(cls) -> list[ServerRecord]:
        """The servers that run on this machine, the oldest first. Of dead ones it ends the processes that still run,
        and then removes the record."""
        records = [record for record in cls.on_all_machines() if record.machine == platform.node()]
        for record in records:
            if not (record.alive or record.end(0)):
                record.remove()
        return [record for record in records if record.alive]

    @classmethod
    def on_all_machines(cls) -> list[ServerRecord]:
        """The records of all machines that share this home folder, also of dead servers, the oldest first."""
        files = oldest_first(registry_folder().glob("[!.]*.json"))  # not their drafts
        return [record for file in files if (record := cls.read(file))]

    @classmethod
    def read(cls, file: Path) -> ServerRecord | None:
        """None for a file that is no record of this version, or is gone."""
        try:
            data = read_cache(file)
            lists = {name: tuple(data[name]) for name in ("names", "allowed_hosts") if name in data}
            return cls(**{**data, **lists})
        except (KeyError, TypeError):
            return None

    def write(self) -> None:
        write_atomically(self.file, json.dumps(asdict(self)), mode=0o600)

    def remove(self) -> None:
        for file in (self.file, self._fingerprint_file):
            file.unlink(missing_ok=True)

    def with_process(self, pid: int, log: int) -> ServerRecord:
        """The record with its process, which writes to `log`, a file descriptor."""
        return replace(
            self,
            pid=pid,
            born=process_group.process_identity(pid) or "",
            output=process_group.inode_key(log) or "",
        )

    def end(self, patience: float) -> list[int]:
        """Ends its processes, even when the first one is dead; returns those that still run (`process_group.end`)."""
        pids = process_group.end(self.pid, self.output, patience)
        return pids or [self.pid] * self.alive

    @property
    def alive(self) -> bool:
        """Whether the process that was started runs; not another one with its number."""
        return self.pid > 0 and process_group.process_identity(self.pid) == self.born

    @property
    def file(self) -> Path:
        return registry_folder() / f"{self.id}.json"

    @property
    def _fingerprint_file(self) -> Path:
        return registry_folder() / f"{self.id}.fingerprint"

    @property
    def fingerprint(self) -> Fingerprint | None:
        """The one that the server itself wrote before it accepted requests; None until then."""
        data = read_cache(self._fingerprint_file)
        return None if data is None else Fingerprint.from_json(data)

    def write_fingerprint(self, fingerprint: Fingerprint) -> None:
        write_atomically(self._fingerprint_file, json.dumps(fingerprint.to_json()))


def registry_folder() -> Path:
    """The folder of the records, for its owner only."""
    folder = toolkit_home() / "servers"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
