"""The SQLite file: opening, upgrades, queries, transactions, and SQLite's errors as ours."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from toolkit.errors import StoreBusy, StoreError
from toolkit.store.schema import APPLICATION_ID, FORMAT_VERSION, MIGRATIONS, SCHEMA

PATIENCE = 60.0
"""Seconds to wait for another process that has locked the file, before giving up."""


class Database:
    """A file of our format, created when it does not exist. Several processes may read it, and write to it, at once.

    Raises StoreError for a file that is something else, or was written by a newer version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        if self.path != ":memory:":
            self.path = str(Path(path).expanduser().resolve())
            self._make_folder()
        self._lock = threading.RLock()
        self._stored_requests: set[str] = set()
        """Keys of requests that are known to be in the file."""
        try:
            self._db = sqlite3.connect(
                self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
            self._open()
        except sqlite3.Error as error:
            raise self._store_error(error) from error

    def _make_folder(self) -> None:
        path = Path(self.path)
        if path.is_dir():
            raise StoreError(f"{path} is a folder: name a file in it, such as {path / 'run.db'}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the folder of {path}: {error}") from error

    def _open(self) -> None:
        if self._is_empty():
            # Readers and one writer at a time do not wait for each other.
            self._db.execute("PRAGMA journal_mode = WAL")
            with self._transaction():
                if self._is_empty():  # no other process was faster
                    for statement in SCHEMA.split(";\n"):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    self._db.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        ((application,),) = self._fetch_all("PRAGMA application_id")
        ((version,),) = self._fetch_all("PRAGMA user_version")
        if application != APPLICATION_ID:
            raise StoreError(f"{self.path} is an SQLite file of something else: give the store another path")
        if version > FORMAT_VERSION:
            raise StoreError(
                f"{self.path} was written by a newer toolkit (format {version}, this one knows {FORMAT_VERSION}): "
                "update toolkit, or give the store another path"
            )
        if version < FORMAT_VERSION:
            self._upgrade()
        self._db.execute("PRAGMA synchronous = FULL")  # a commit is on disk when it returns

    def _upgrade(self) -> None:
        with self._transaction():
            ((version,),) = self._fetch_all("PRAGMA user_version")  # another process may have been faster
            for older in range(version, FORMAT_VERSION):
                for statement in MIGRATIONS[older]:
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {FORMAT_VERSION}")

    def _is_empty(self) -> bool:
        return not self._fetch_all("SELECT 1 FROM sqlite_master LIMIT 1")

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._lock, self._transaction():
                yield
        except sqlite3.Error as error:
            raise self._store_error(error) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._stored_requests.clear()
            with contextlib.suppress(sqlite3.Error):  # SQLite itself rolls back when the disk is full
                self._db.execute("ROLLBACK")
            raise

    def _store_error(self, error: sqlite3.Error) -> StoreError:
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_FULL":
            return StoreError(f"the disk is full: {self.path} cannot grow. Free space and run again")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return StoreBusy(f"{self.path} is locked by another process: end that one and run again")
        if name == "SQLITE_NOTADB":
            return StoreError(f"{self.path} is not a store (not an SQLite file): give the store another path")
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            return StoreError(f"{self.path} cannot be opened for writing ({error}): check its permissions")
        return StoreError(f"{self.path}: {error} ({name or type(error).__name__})")

    def _fetch_all(self, query: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def query(self, sql: str, values: Sequence[Any] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of an SQL query on the tables named in `toolkit.store.schema`."""
        with self._lock:
            cursor = self._db.execute(sql, values)
            return [column[0] for column in cursor.description], cursor.fetchall()
