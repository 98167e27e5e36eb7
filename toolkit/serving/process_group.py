"""The processes of a server, which form a session, and are not mistaken for later ones with the same numbers."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from toolkit._internal.processes import process_fields, process_identity

__all__ = ["end", "inode_key", "members", "process_identity"]

_KILL_SECONDS = 10.0
"""Seconds within which the system removes killed processes."""


def inode_key(file: str | int) -> str | None:
    """What identifies a file, by path or descriptor, even when it is renamed, deleted or linked: device and inode.
    None for a file that is gone, or that this user cannot access."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return f"{status.st_dev} {status.st_ino}"


def members(leader: int, output: str) -> list[int]:
    """The processes of a session that write to a file (its `inode_key`), without zombies. The file distinguishes
    it from later sessions whose leader has the same number."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    session = [
        pid for pid in pids if (stat := process_fields(pid)) and stat[3] == str(leader) and stat[0] != "Z"
    ]
    return [pid for pid in session if inode_key(f"/proc/{pid}/fd/1") == output]


def end(leader: int, output: str, patience: float) -> list[int]:
    """Interrupts the leader, which ends its children; kills those that still run after `patience` seconds. Returns
    the processes that run even then."""
    pids = members(leader, output)
    if leader in pids:
        _send(leader, signal.SIGINT)
        pids = _wait_for_end(leader, output, patience)
    for pid in pids:
        _send(pid, signal.SIGKILL)
    return _wait_for_end(leader, output, _KILL_SECONDS)


def _wait_for_end(leader: int, output: str, patience: float) -> list[int]:
    """Waits until all members have ended, at most `patience` seconds; returns those that have not."""
    deadline = time.monotonic() + patience
    while (pids := members(leader, output)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return pids


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
