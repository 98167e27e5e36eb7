"""Where the toolkit keeps its files, those that come with it, and how files are read and written."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from toolkit._internal.text import short_repr

_DAY = 86_400.0
_ENDLESS = (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)


def toolkit_home() -> Path:
    """The folder for models, logs and records: `TOOLKIT_HOME`, by default `toolkit` in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TOOLKIT_HOME") or Path(cache) / "toolkit").expanduser()


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path as the caller gave it, with ~ expanded. Raises TypeError for what is no path, ValueError for one that no
    file can have, or that begins with ~ and a user who is not known."""
    try:
        expanded = Path(path).expanduser()
    except TypeError:
        raise TypeError(f"a path must be a text or a pathlib.Path, got {short_repr(path)}") from None
    except RuntimeError:
        raise ValueError(
            f"{short_repr(str(path))} begins with the home folder of a user who is not known"
        ) from None
    try:
        if b"\0" not in os.fsencode(expanded):
            return expanded
    except UnicodeEncodeError:
        pass
    raise ValueError(
        f"{short_repr(str(path))} cannot be the name of a file: it has a NUL or half of a surrogate pair"
    )


def file_to_read(path: str | os.PathLike[str]) -> Path:
    """As `user_path`, for a file that is read to its end. Raises ValueError for a device, a pipe or a socket, whose
    end may never come, OSError where there is no file."""
    file = user_path(path)
    if stat.S_IFMT(file.stat().st_mode) in _ENDLESS:
        raise ValueError(
            f"{short_repr(str(path))} is a device, a pipe or a socket, whose end may never come: give a file"
        )
    return file


def oldest_first(files: Iterable[Path]) -> list[Path]:
    """Files in the order of their last change; without those that another process has deleted meanwhile."""
    changed = {}
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            changed[file] = file.stat().st_mtime_ns
    return sorted(changed, key=changed.__getitem__)


def delete_unused(file: Path) -> None:
    """Deletes a file, unless it was changed within a day: another machine or container, whose processes are not
    seen here, may be using it."""
    with contextlib.suppress(OSError):
        if time.time() - file.stat().st_mtime > _DAY:
            file.unlink()


@contextlib.contextmanager
def whole_file(path: str | Path, mode: int | None = None) -> Iterator[Path]:
    """An empty draft beside a file, which takes the file's place, whole, when the block ends. After an error the file
    is as it was. Makes the folders of the file. mode: permissions, before the umask; those that the file has when
    None.

    Raises OSError that names the file, not its draft.
    """
    file = user_path(path)
    target = Path(os.path.realpath(file))  # a link stays a link
    if target.exists() and not target.is_file():
        _check_no_folder(target)
        yield target  # a pipe or a device cannot be replaced
        return
    draft = target.with_name(f".draft-{secrets.token_hex(4)}-{target.name[-50:]}")  # its end tells the format
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode))
        if mode is None and target.exists():
            draft.chmod(stat.S_IMODE(target.stat().st_mode))
        yield draft
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())  # else a rename may reach the disk before the content
        draft.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(file)) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def write_atomically(path: str | Path, text: str, mode: int | None = None) -> Path:
    """Writes a text as UTF-8: whole, or not at all (see `whole_file`). Returns the path, without ~.

    Raises ValueError for a text that cannot be encoded, OSError; both name the file.
    """
    file = user_path(path)
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{file}: nothing was written, since the text cannot be encoded: {error.object[error.start]!r} at "
            f"character {error.start} is half of a surrogate pair"
        ) from None
    with whole_file(file, mode) as draft:
        draft.write_bytes(data)
    return file


def _check_no_folder(target: Path) -> None:
    if target.is_dir():
        raise IsADirectoryError(21, "is a folder: name a file in it", str(target))


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file, without a byte order mark. Raises ValueError that names the file for another
    encoding, or for what is no file; OSError."""
    try:
        return file_to_read(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text (byte 0x{error.object[error.start]:02x} at {error.start}): save it as UTF-8"
        ) from None


def read_cache(file: Path) -> Any:
    """The data in a JSON file that can be made anew; None where it is missing, or cannot be read."""
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None


def data_folder(name: str) -> Path:
    """A folder of the data that comes with the package: `data/` of the repository, `toolkit.data` where installed."""
    return Path(str(resources.files("toolkit.data") / name))


def create_private(file: Path) -> Path:
    """Makes an empty file that only its owner may read, unless there is one: for logs, which may hold prompts.
    Returns the file."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return file
