"""What identifies a process and a machine, also in files that outlive them."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path


def process_identity(pid: int) -> str | None:
    """What identifies a process, also among later ones with the same number: boot id and clock tick of its start.
    None where there is no such process, or it has ended."""
    fields = process_fields(pid)
    if fields is None or fields[0] == "Z":
        return None
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {fields[19]}"


def process_fields(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the third on (state, parent, group, session, …): the second is the
    program's name, which may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def machine_identity() -> str:
    """The machine, and the container in it, within which a process number means one process."""
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return f"{platform.node()} {namespace}"
