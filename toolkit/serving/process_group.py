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


def file(place: str | int) -> str | None:
    """What stays the same of an open file when its name is changed, deleted or a link: its device and its number
    there. None for what is gone, or is of another user."""
    try:
        found = os.stat(place)
    except OSError:
        return None
    return f"{found.st_dev} {found.st_ino}"


def members(leader: int, output: str) -> list[int]:
    """The processes of the session that this one began and that write to this file (see `file`), which no other
    session shares, even if its leader gets the same number; without those that have ended but for their parent."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    own = [pid for pid in pids if (found := _stat(pid)) and found[3] == str(leader) and found[0] != "Z"]
    return [pid for pid in own if file(f"/proc/{pid}/fd/1") == output]


def end(leader: int, output: str, patience: float) -> list[int]:
    """Interrupts the leader, which ends its children; kills all that is left after `patience` seconds. Returns what
    is left then."""
    left = members(leader, output)
    if leader in left:
        _send(leader, signal.SIGINT)
        left = _gone(leader, output, patience)
    for pid in left:
        _send(pid, signal.SIGKILL)
    return _gone(leader, output, _KILLED)


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
