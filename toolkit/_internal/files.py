"""Where the toolkit keeps its files, and those that come with it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path


def toolkit_home() -> Path:
    """The folder for models, logs and records: `TOOLKIT_HOME`, by default `toolkit` in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TOOLKIT_HOME") or Path(cache) / "toolkit").expanduser()


def oldest_first(files: Iterable[Path]) -> list[Path]:
    """Files in the order of their last change; without those that another process has deleted meanwhile."""
    changed = {}
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            changed[file] = file.stat().st_mtime_ns
    return sorted(changed, key=changed.__getitem__)


def write_atomically(file: Path, text: str, mode: int = 0o666) -> None:
    """Another process that reads the file finds its old text or all of the new one. mode: before the umask."""
    draft = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as stream:
        stream.write(text)
    draft.replace(file)


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """The path of a draft that becomes the file, whose folder is made, once all of it is written; after an error the
    file stays as it was."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        yield draft
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def data_folder(name: str) -> Path:
    """A folder of the data that comes with the package: `data/` of the repository, `toolkit.data` where installed."""
    return Path(str(resources.files("toolkit.data") / name))


def create_private(file: Path) -> Path:
    """Makes an empty file that only its owner may read, unless there is one: for logs, which may hold prompts.
    Returns the file."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return file
