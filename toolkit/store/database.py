"""The SQLite file: opening, upgrades, queries, transactions."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from toolkit._internal.files import user_path, whole_file
from toolkit._internal.text import is_valid_unicode, short_repr
from toolkit.errors import StoreBusy, StoreError
from toolkit.store.blobs import is_json
from toolkit.store.connection import PATIENCE, connect_to_read, connect_to_write, has_unfolded, store_error
from toolkit.store.schema import APPLICATION_ID, FORMAT_VERSION, MIGRATIONS, RUNNING, SCHEMA, views_of

_FOLD_PATIENCE = 5.0
"""Seconds to wait for readers before the write-ahead log is folded in."""


class Database:
    """A file of our format. Several processes may read it, and write to it, at once.

    While no run writes it is one complete file. A run keeps what it stores in a write-ahead log beside it, and folds
    that in at its end.

    create: whether it is made when it does not exist, and brought up to date when it is of an older format; else it
    is only read, until something is written.

    Raises StoreError for a file that is something else, was written by a newer version, or is missing.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        file = user_path(path)
        self.path = ":memory:" if str(file) == ":memory:" else str(file.resolve())
        self._lock = threading.RLock()
        self._stored_requests: set[str] = set()
        """Keys of requests that are known to be in the file."""
        self._reading = not create
        self._had_log = self.path != ":memory:" and has_unfolded(self.path)
        """Whether there was a write-ahead log beside the file before it was opened."""
        self._closed = False
        with self._errors():
            self._db = self._connected()

    def _connected(self) -> sqlite3.Connection:
        self._db = (connect_to_read if self._reading else connect_to_write)(self.path)
        try:
            self._db.create_function("is_json", 1, is_json, deterministic=True)
            if not self._reading:
                self._create()
            version, is_running = self._checked_version()
            if is_running:
                self._check_copy()
            if not self._reading:
                self._upgrade()
            else:
                self._read_older(version)
                self._db.execute("PRAGMA query_only = ON")
        except BaseException:
            self._db.close()
            raise
        return self._db

    def _create(self) -> None:
        if self._is_empty():
            with self._transaction():
                if self._is_empty():  # no other process was faster
                    for statement in SCHEMA.split(";\n"):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    self._db.execute(f"PRAGMA user_version = {FORMAT_VERSION}")

    def _checked_version(self) -> tuple[int, bool]:
        """The file's format, and whether it is, or was when this copy was made, in the middle of a run."""
        ((application,),) = self._fetch_all("PRAGMA application_id")
        is_running, version = divmod(self._user_version(), RUNNING)
        if application != APPLICATION_ID:
            if self._is_empty():
                raise StoreError(f"{self.path} is empty, and no store: give the path of a store")
            raise StoreError(f"{self.path} is an SQLite file of something else: give the store another path")
        if version > FORMAT_VERSION:
            raise StoreError(
                f"{self.path} was written by a newer toolkit (format {version}, this one knows {FORMAT_VERSION}): "
                "update toolkit, or give the store another path"
            )
        return version, bool(is_running)

    def _user_version(self) -> int:
        ((version,),) = self._fetch_all("PRAGMA user_version")
        return int(version)

    def _upgrade(self) -> None:
        if self._user_version() % RUNNING == FORMAT_VERSION:
            return
        with self._transaction():
            for older in range(self._user_version(), FORMAT_VERSION):  # another process may have been faster
                for statement in MIGRATIONS[older].upgrade():
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {FORMAT_VERSION}")

    def _read_older(self, version: int) -> None:
        """Shows a file of an older format as one of this format, and leaves it as it is."""
        for statement in ("PRAGMA temp_store = MEMORY", *views_of(version)):  # none for this format
            self._db.execute(statement)

    def _check_copy(self) -> None:
        """Raises StoreError for a copy, made in the middle of a run, that lacks what the run had stored."""

    def _is_empty(self) -> bool:
        return not self._fetch_all("SELECT 1 FROM sqlite_master LIMIT 1")

    def backup(self, path: str | Path) -> Path:
        """Copies the store as it is now, also in the middle of a run, to a file that is complete in itself; one that
        is there already is replaced. Returns its path. Raises StoreError, OSError."""
        target = user_path(path)
        if str(target.resolve()) == self.path:
            raise StoreError(f"{target} is the store itself: give its backup another path")
        with (
            whole_file(target) as draft,
            self._errors(),
            contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as copy,
        ):
            with self._lock:
                self._db.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            ((version,),) = copy.execute("PRAGMA user_version")
            copy.execute(f"PRAGMA user_version = {version % RUNNING}")
        return target

    def close(self) -> None:
        """Closes the file; what is beside it is folded in. Closing twice is fine."""
        with self._lock, contextlib.suppress(StoreError):
            self._fold()
        self._db.close()
        self._closed = True

    def _fold(self) -> None:
        """Makes the file complete in itself, unless a run writes: what is in the write-ahead log is folded in, and
        the log removed where no other connection uses it."""
        if (
            self._reading
            or self._user_version() >= RUNNING
            or self._fetch_all("PRAGMA journal_mode") != [("wal",)]
        ):
            return
        with self._waiting(_FOLD_PATIENCE):
            try:
                self._fetch_all("PRAGMA journal_mode = DELETE")
            except StoreBusy:  # others have it open
                self._fetch_all("PRAGMA wal_checkpoint(TRUNCATE)")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock, self._errors():
            if self._reading:
                self._reopen_to_write()
            with self._transaction():
                yield

    def _reopen_to_write(self) -> None:
        self._db.close()
        self._reading = False
        try:
            self._db = self._connected()
        except BaseException:
            self._reading = True
            self._db = self._connected()
            raise

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._stored_requests.clear()
            with contextlib.suppress(sqlite3.Error):  # SQLite itself rolls back when the disk is full
                self._db.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _waiting(self, patience: float) -> Iterator[None]:
        """Waits so many seconds, and no longer, for a file that another process has locked."""
        with self._lock:
            self._fetch_all(f"PRAGMA busy_timeout = {int(patience * 1000)}")
            try:
                yield
            finally:
                self._fetch_all(f"PRAGMA busy_timeout = {int(PATIENCE * 1000)}")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise store_error(self.path, error) from error

    def _fetch_all(self, query: str, *values: Any) -> list[Any]:
        with self._lock, self._errors():
            return self._db.execute(query, values).fetchall()

    def _find(self, query: str, *key: Any) -> list[Any]:
        """The rows of a key; none for a key that no store can hold."""
        return self._fetch_all(query, *key) if is_key(*key) else []

    def query(self, sql: str, values: Sequence[Any] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of an SQL query on the tables named in `toolkit.store.schema`. Raises StoreError for
        a query that SQLite refuses."""
        with self._lock, self._errors():
            try:
                cursor = self._db.execute(sql, values)
            except (OverflowError, UnicodeEncodeError) as error:
                raise StoreError(
                    f"{self.path}: SQLite cannot hold the values {short_repr(values)}: {error}"
                ) from None
            return [column[0] for column in cursor.description], cursor.fetchall()


def is_key(*values: Any) -> bool:
    """Whether a store can hold these values as a key: texts and whole numbers."""
    return all(
        is_valid_unicode(value)
        if isinstance(value, str)
        else isinstance(value, int) and -(2**63) <= value < 2**63
        for value in values
    )
