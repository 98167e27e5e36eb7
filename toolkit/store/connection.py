"""Connections to a store's file: to write, or to read without leaving a trace; and SQLite's errors as ours."""

from __future__ import annotations

import contextlib
import difflib
import sqlite3
from pathlib import Path

from toolkit._internal.text import shortened
from toolkit.errors import StoreBusy, StoreError

PATIENCE = 60.0
"""Seconds to wait for another process that has locked the file, before giving up."""
_LOG_PAGES = 65536
"""Pages of the write-ahead log (256 MiB) after which a run folds it into the file."""
_NO_ACCESS = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")


def connect_to_write(path: str) -> sqlite3.Connection:
    """Makes the file, and its folder, where they do not exist."""
    if path != ":memory:":
        _make_folder(Path(path))
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = FULL")  # a commit is on disk when it returns
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_to_read(path: str) -> sqlite3.Connection:
    """Opens a file without changing it, or making another, as far as its folder allows. Raises StoreError where there
    is none."""
    file = Path(path)
    _check_no_folder(file)
    if not file.exists():
        raise StoreError(_missing_message(file))
    # An unfinished transaction must be undone first, and the log of a killed run folded in: both need writing.
    modes = ["mode=rw", "mode=ro"]
    if not has_unfolded(path):
        modes.append("immutable=1")  # a folder in which nothing can be written, by nobody
    for mode in modes:
        try:
            return _opened(f"{file.absolute().as_uri()}?{mode}")
        except sqlite3.Error as error:
            if mode == modes[-1] or not getattr(error, "sqlite_errorname", "").startswith(_NO_ACCESS):
                raise
    raise AssertionError("the last mode returns or raises")


def _opened(uri: str) -> sqlite3.Connection:
    """A connection that has read something: SQLite looks at a file only then."""
    connection = sqlite3.connect(
        uri, uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def write_ahead_log(path: str) -> Path:
    """The file in which SQLite keeps what it has not folded into a store yet."""
    return Path(f"{path}-wal")


def has_unfolded(path: str) -> bool:
    """Whether something is in the write-ahead log."""
    with contextlib.suppress(OSError):
        return write_ahead_log(path).stat().st_size > 0
    return False


def _make_folder(path: Path) -> None:
    _check_no_folder(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder of {path}: {error}") from error


def _check_no_folder(path: Path) -> None:
    try:
        is_folder = path.is_dir()
    except OSError as error:  # as of a name that is too long
        raise StoreError(f"{shortened(str(path), 200)} cannot be a store: {error.strerror}") from None
    if is_folder:
        raise StoreError(f"{path} is a folder: name a file in it, such as {path / 'run.db'}")


def _missing_message(path: Path) -> str:
    folder = path.parent
    if folder.is_dir():
        files = [file for file in folder.iterdir() if file.is_file()]
    else:  # a folder's name may be the one that is wrong
        files = list(folder.parent.glob("*/*.db")) if folder.parent.is_dir() else []
    names = {str(file): file for file in files if not file.name.endswith(("-wal", "-shm", "-journal"))}
    near = difflib.get_close_matches(str(path), names, 3, 0.6)
    near = [name for name in near if names[name].suffix in (path.suffix, ".db")] or sorted(
        name for name in names if name.endswith(".db")
    )[:5]
    hint = f"; there is {', '.join(near)}" if near else ""
    return f"there is no store {path}{hint}. Reading makes none: a sweep's run does"


def store_error(path: str, error: sqlite3.Error) -> StoreError:
    name = getattr(error, "sqlite_errorname", "")
    if "closed database" in str(error):
        return StoreError(
            f"{path} has been closed: open it again, with toolkit.results({path!r}) or Store({path!r})"
        )
    if name == "SQLITE_FULL":
        return StoreError(f"the disk is full: {path} cannot grow. Free space and run again")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreBusy(f"{path} is locked by another process: end that one and run again")
    if name == "SQLITE_NOTADB":
        return StoreError(f"{path} is not a store (not an SQLite file): give the store another path")
    if name.startswith("SQLITE_CORRUPT"):
        return StoreError(
            f"{path} is damaged ({error}): put a backup in its place, or save what can be read, with "
            f"`sqlite3 {path} .recover | sqlite3 recovered.db`"
        )
    if name.startswith(_NO_ACCESS):
        return StoreError(f"{path} cannot be opened for writing ({error}): check its permissions")
    return StoreError(f"{path}: {error} ({name or type(error).__name__})")
