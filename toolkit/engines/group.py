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


def members(leader: int, output: str) -> list[int]:
    """The processes of the session that this one began and that write to this file, which no other session shares,
    even if its leader gets the same number; without those that have ended but for their parent."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    own = [pid for pid in pids if (found := _stat(pid)) and found[3] == str(leader) and found[0] != "Z"]
    return [pid for pid in own if _output(pid) == output]


def end(leader: int, output: str, patience: float) -> None:
    """Interrupts the leader, which ends its children; kills all that is left after `patience` seconds."""
    left = members(leader, output)
    if leader in left:
        _send(leader, signal.SIGINT)
        left = _gone(leader, output, patience)
    for pid in left:
        _send(pid, signal.SIGKILL)
    _gone(leader, output, _KILLED)


def _gone(leader: int, output: str, patience: float) -> list[int]:
    """The members that are left when all are gone, or the time is over."""
    deadline = time.monotonic() + patience
    while (left := members(leader, output)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


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


def _output(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/fd/1")
    except OSError:  # gone, or of another user
        return None
