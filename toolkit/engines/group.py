"""Group: the processes of a server, which a session of their own holds together, told apart from any others that
get the same number later."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

_KILLED = 10.0
"""Seconds within which the system removes killed processes."""


def born(pid: int) -> str | None:
    """What no other process shares with this one, not even a later one of the same number: the boot and the clock
    tick that it began in. None where there is no such process, or it has ended."""
    found = _stat(pid)
    if found is None or found[0] == "Z":
        return None
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {found[19]}"


def members(leader: int) -> list[int]:
    """The processes of the session that this one began, those that have ended but for their parent left out."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if (s := _stat(pid)) and s[3] == str(leader) and s[0] != "Z"]


def end(leader: int, patience: float) -> None:
    """Interrupts the session's leader, which ends its children; kills all that is left after `patience` seconds."""
    _send(leader, signal.SIGINT)
    if not _gone(leader, patience):
        for pid in members(leader):
            _send(pid, signal.SIGKILL)
        _gone(leader, _KILLED)


def _gone(leader: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while members(leader):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the third on (state, parent, group, session, …): the second is the
    program's name, which may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
