"""Runs that write to a store, and the leases by which those that go on at once share the work."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from toolkit._internal.processes import machine_identity, process_identity
from toolkit.errors import StoreError
from toolkit.store.blobs import dump_json
from toolkit.store.queries import LOST_ATTEMPTS, PEER_FINGERPRINTS
from toolkit.store.reader import StoreReader
from toolkit.store.schema import RUNNING

if TYPE_CHECKING:
    import pandas as pd

HEARTBEAT_SECONDS = 15.0
"""A run says so often that it goes on."""
_LEASE_SECONDS = 60.0
"""After so long without a heartbeat a run on another machine has ended."""
Pair = tuple[str, int]
"""The key of a request, and one of its repeats."""
_open_runs: WeakValueDictionary[tuple[str, int], RunStore] = WeakValueDictionary()
"""The runs of this process, by file and number."""


class RunStore(StoreReader):
    """A store with the beginning and the end of runs."""

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        super().__init__(path, create=create)
        if not self._reading:
            self._settle()
        elif self._user_version() >= RUNNING and not self._live_runs():
            with contextlib.suppress(StoreError):  # where nothing can be written it is read as it is
                self._settle()

    def close(self) -> None:
        with contextlib.suppress(StoreError):
            self._end_runs(self._own_runs())
        super().close()

    def _settle(self) -> None:
        """Ends runs whose process has ended, and folds in what they left."""
        if self._user_version() >= RUNNING:
            with self._writing():
                self._end_dead_runs()
        self._fold()

    def _check_copy(self) -> None:
        owners = [
            json.loads(owner)
            for (owner,) in self._fetch_all("SELECT owner FROM runs WHERE owner IS NOT NULL")
        ]
        for owner in owners:
            if owner["inode"] == self._inode and (self._had_log or owner["path"] == self.path):
                return
        if owners and self._had_log and self._fetch_all("PRAGMA integrity_check(1)") == [("ok",)]:
            return
        raise StoreError(
            f"{self.path} is a copy that was made while a run was writing, without what that run had stored: copy it "
            "again when the run has ended, or make the copy with Store(…).backup(path). To open it as it is: "
            f"sqlite3 {self.path} 'PRAGMA user_version = {self._user_version() % RUNNING}'"
        )

    @property
    def _inode(self) -> int:
        return 0 if self.path == ":memory:" else os.stat(self.path).st_ino

    # Begin and end

    def _own(self, run: int) -> None:
        """Marks a run as one of this process, and the file as one that a run is writing. Within a transaction."""
        owner = {
            "machine": machine_identity(), "pid": os.getpid(), "born": process_identity(os.getpid()),
            "inode": self._inode, "path": self.path,
        }  # fmt: skip
        values = (dump_json(owner), time.time(), run)
        self._db.execute("UPDATE runs SET owner = ?, heartbeat = ? WHERE id = ?", values)
        version = self._user_version() % RUNNING + RUNNING
        self._db.execute(f"PRAGMA user_version = {version}")
        _open_runs[self.path, run] = self

    def _start_log(self) -> None:
        """From now on what is written goes to the write-ahead log: readers do not wait for it, and the file itself
        says that a run is writing."""
        if self.path == ":memory:":
            return
        with contextlib.suppress(StoreError):  # a long read elsewhere: the run does without
            self._fetch_all("PRAGMA journal_mode = WAL")
            if len(self._unended_runs()) == 1:  # the first one: others have their log already
                self._fetch_all("PRAGMA wal_checkpoint(PASSIVE)")

    def _own_runs(self) -> list[int]:
        return [run for (path, run), store in list(_open_runs.items()) if store is self and path == self.path]

    def _end_runs(self, runs: Sequence[int]) -> None:
        """The leases that they still have stay, for what they have spent is not known."""
        if not runs:
            return
        try:
            with self._waiting(5.0):
                if self._unended_runs() <= set(runs):
                    # First all else: whoever copies the file meanwhile finds it marked until it is complete.
                    self._fetch_all("PRAGMA wal_checkpoint(TRUNCATE)")
            with self._writing():
                self._release(runs)
            self._fold()
        finally:
            for run in runs:
                _open_runs.pop((self.path, run), None)

    def _release(self, runs: Iterable[int]) -> None:
        self._db.executemany(
            "UPDATE runs SET owner = NULL, heartbeat = NULL WHERE id = ?", [(run,) for run in runs]
        )
        if not self._unended_runs():
            self._db.execute(f"PRAGMA user_version = {self._user_version() % RUNNING}")

    def _end_dead_runs(self) -> None:
        """Within a transaction."""
        if (dead := self._unended_runs() - self._live_runs()) or self._user_version() >= RUNNING:
            self._release(dead)

    def _unended_runs(self) -> set[int]:
        return {run for (run,) in self._fetch_all("SELECT id FROM runs WHERE owner IS NOT NULL")}

    def _live_runs(self) -> set[int]:
        """The runs that have not ended, and whose process goes on."""
        rows = self._fetch_all("SELECT id, owner, heartbeat FROM runs WHERE owner IS NOT NULL")
        return {run for run, owner, heartbeat in rows if self._is_alive(run, json.loads(owner), heartbeat)}

    def _is_alive(self, run: int, owner: dict[str, Any], heartbeat: float) -> bool:
        if owner["inode"] != self._inode:  # this file is a copy of the one that it writes to
            return False
        if owner["machine"] == machine_identity() and owner["born"] is not None:
            if (owner["pid"], owner["born"]) == (os.getpid(), process_identity(os.getpid())):
                return (self.path, run) in _open_runs
            return bool(process_identity(owner["pid"]) == owner["born"])
        return time.time() - heartbeat < _LEASE_SECONDS

    def heartbeat(self, run: int) -> None:
        """Tells other machines that a run goes on."""
        with self._waiting(0.0), self._writing():
            self._db.execute("UPDATE runs SET heartbeat = ? WHERE id = ?", (time.time(), run))

    # Leases

    def last_failure(self) -> int:
        """The number of the newest failed attempt; 0 before the first."""
        ((number,),) = self._fetch_all("SELECT coalesce(max(rowid), 0) FROM failures")
        return int(number)

    def lease(self, run: int, pairs: Iterable[Pair], last_failure: int = 0) -> tuple[list[Pair], list[Pair]]:
        """Takes those of some pairs that nobody has: (taken, held by another run that goes on). The others are done:
        stored, or failed after `last_failure`. A lease ends when its pair is stored, or its run ends."""
        leased: list[Pair] = []
        held: list[Pair] = []
        with self._writing():
            self._end_dead_runs()
            peers = {name for (name,) in self._fetch_all(PEER_FINGERPRINTS, run)}
            query = "SELECT DISTINCT run FROM took WHERE fingerprint IN (SELECT value FROM json_each(?))"
            runs = {other for (other,) in self._fetch_all(query, dump_json(sorted(peers)))}
            others = runs & self._unended_runs() - {run}
            for pair in pairs:
                if self._is_done(pair, peers, last_failure):
                    continue
                holders = self._fetch_all("SELECT run FROM leases WHERE request = ? AND repeat = ?", *pair)
                (held if others & {holder for (holder,) in holders} else leased).append(pair)
            rows = [(*pair, run) for pair in leased]
            self._db.executemany("INSERT OR IGNORE INTO leases VALUES (?, ?, ?)", rows)
        return leased, held

    def _is_done(self, pair: Pair, fingerprints: set[str], last_failure: int) -> bool:
        for table, since in (("completions", "choice = 0"), ("failures", f"rowid > {last_failure}")):
            query = f"SELECT fingerprint FROM {table} WHERE request = ? AND repeat = ? AND {since}"
            if any(name in fingerprints for (name,) in self._fetch_all(query, *pair)):
                return True
        return False

    def give_back(self, run: int, pairs: Iterable[Pair]) -> None:
        """Ends leases of pairs that were not asked."""
        rows = [(*pair, run) for pair in pairs]
        if rows:
            with self._writing():
                self._db.executemany("DELETE FROM leases WHERE request = ? AND repeat = ? AND run = ?", rows)

    def lost_attempts(self) -> pd.DataFrame:
        """What runs had taken and not stored when they were killed or interrupted, by sweep, request,
        system_fingerprint and repeat: how often (`lost`), and whether it has not been stored since (`pending`). What
        was lost has spent what nobody knows."""
        import pandas as pd

        columns, rows = self.query(LOST_ATTEMPTS, [dump_json(sorted(self._live_runs()))])
        return pd.DataFrame(rows, columns=columns)
