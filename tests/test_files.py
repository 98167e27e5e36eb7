"""Where files lie, and files that several processes read and write."""

import os
import threading
from pathlib import Path

import pytest
from ngram_engine import NGramEngine

import toolkit as tk
from toolkit._internal.files import (
    create_private,
    data_folder,
    delete_unused,
    oldest_first,
    read_cache,
    read_text,
    toolkit_home,
    user_path,
    whole_file,
    write_atomically,
)
from toolkit.store.store import Store


def test_home_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TOOLKIT_HOME", str(tmp_path / "a"))
    assert toolkit_home() == tmp_path / "a"
    monkeypatch.delenv("TOOLKIT_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert toolkit_home() == tmp_path / "toolkit"


def test_the_data_is_that_of_the_repository_or_the_wheel():
    assert (data_folder("prompts") / "classify-sentiment.yaml").is_file()


def test_files_that_another_process_deletes_meanwhile_are_not_among_the_oldest(tmp_path):
    for seconds, name in enumerate(["c", "a", "b"]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (seconds, seconds))
    assert oldest_first(tmp_path / name for name in "abcd") == [tmp_path / name for name in "cab"]


def test_a_file_that_is_written_is_old_or_whole_to_those_who_read_it(tmp_path):
    file, texts = tmp_path / "a.json", ["a" * 100_000, "b" * 100_000]
    write_atomically(file, texts[0], mode=0o600)
    assert file.stat().st_mode & 0o777 == 0o600

    def write():
        for text in texts * 20:
            write_atomically(file, text)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(file.read_text())
    assert seen <= set(texts)
    assert os.listdir(tmp_path) == ["a.json"]  # no drafts


def test_a_private_file_is_its_owners_and_stays_what_it_was(tmp_path):
    assert create_private(tmp_path / "log") == tmp_path / "log"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    (tmp_path / "log").write_text("old")
    create_private(tmp_path / "log")
    assert (tmp_path / "log").read_text() == "old"


def test_the_folders_of_a_file_are_made_and_a_path_may_begin_with_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert write_atomically("~/new/folder/a.txt", "é") == tmp_path / "new" / "folder" / "a.txt"
    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == "é".encode()


@pytest.mark.parametrize(
    "write",
    [
        lambda file: write_atomically(file, "half \ud83d"),
        lambda file: _interrupted(file, KeyboardInterrupt),
        lambda file: _interrupted(file, OSError(28, "No space left on device")),
    ],
    ids=["not to be encoded", "interrupted", "disk full"],
)
@pytest.mark.parametrize("before", [None, "as it was"])
def test_a_file_is_written_whole_or_not_at_all(tmp_path, write, before):
    file = tmp_path / "a.json"
    if before is not None:
        file.write_text(before)
    with pytest.raises((ValueError, KeyboardInterrupt, OSError)) as caught:
        write(file)
    assert str(file) in str(caught.value) or caught.type is KeyboardInterrupt
    assert os.listdir(tmp_path) == ([] if before is None else ["a.json"])
    assert before is None or file.read_text() == before


def _interrupted(file, error):
    with whole_file(file) as draft:
        draft.write_text("the first half")
        raise error


def test_half_of_a_surrogate_pair_is_named_with_its_file_and_place(tmp_path):
    with pytest.raises(ValueError, match=r"a\.txt: nothing was written, .*'\\ud83d' at character 5 is half"):
        write_atomically(tmp_path / "a.txt", "half \ud83d")


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (lambda folder: folder, IsADirectoryError, "is a folder: name a file in it"),
        (lambda folder: folder / "file" / "a.txt", OSError, r"a\.txt"),
        (lambda folder: folder / ("x" * 300), OSError, "xxx"),
    ],
)
def test_errors_of_writing_name_the_file_and_not_its_draft(tmp_path, path, error, message):
    (tmp_path / "file").touch()
    with pytest.raises(error, match=message) as caught:
        write_atomically(path(tmp_path), "text")
    assert "draft" not in str(caught.value)
    assert os.listdir(tmp_path) == ["file"]


def test_links_pipes_and_permissions_stay(tmp_path):
    file, link, pipe = (tmp_path / name for name in ("file", "link", "pipe"))
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    write_atomically(link, "new")
    assert link.is_symlink()
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o640)
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    read = []
    reader.start()
    write_atomically(pipe, "through the pipe")
    reader.join(10)
    assert read == ["through the pipe"]


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/full", "/dev/null", "pipe.json"])
@pytest.mark.parametrize(
    "read",
    [
        tk.Results.from_csv,
        tk.Results.from_jsonl,
        tk.Results.from_parquet,
        lambda path: tk.models.verify(path, "abc"),
        lambda path: tk.Conversation.load(NGramEngine("ab"), path),
        read_text,
    ],
)
def test_what_may_have_no_end_is_not_read(tmp_path, monkeypatch, read, path):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.json")
    with pytest.raises(
        ValueError, match=f"'{path}' is a device, a pipe or a socket, whose end may never come: give"
    ):
        read(path)


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"a\xc3\xa9", "aé"), (b"\xef\xbb\xbfa", "a"), (b"", "")],
)
def test_text_is_utf_8_with_or_without_a_mark(tmp_path, data, text):
    file = tmp_path / "a.txt"
    file.write_bytes(data)
    assert read_text(file) == text


def test_another_encoding_is_named_with_its_file(tmp_path):
    file = tmp_path / "latin.yaml"
    file.write_bytes("template: café".encode("latin-1"))
    with pytest.raises(
        ValueError, match=r"latin\.yaml is not UTF-8 text \(byte 0xe9 at 13\): save it as UTF-8"
    ):
        read_text(file)


@pytest.mark.parametrize("data", [b"", b'"abc', b"\xff", None])
def test_a_cache_that_cannot_be_read_is_none(tmp_path, data):
    file = tmp_path / "a.json"
    if data is not None:
        file.write_bytes(data)
    assert read_cache(file) is None


def test_what_changed_today_is_not_deleted(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    new.touch(), old.touch()
    os.utime(old, (0, 0))
    for file in (new, old, tmp_path / "gone"):
        delete_unused(file)
    assert os.listdir(tmp_path) == ["new"]


@pytest.mark.parametrize("path", ["a/b.txt", "~/b.txt", "é.txt", "."])
def test_a_path_is_expanded(path):
    assert user_path(path) == user_path(Path(path)) == Path(path).expanduser()


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (
            "~no-such-user/x.db",
            ValueError,
            "'~no-such-user/x.db' begins with the home folder of a user who is not known",
        ),
        ("a\0b", ValueError, r"'a\\x00b' cannot be the name of a file: it has a NUL or half"),
        ("\ud800.db", ValueError, r"'\\ud800.db' cannot be the name of a file"),
        (None, TypeError, "a path must be a text or a pathlib.Path, got None"),
        (b"a", TypeError, "a path must be a text or a pathlib.Path, got b'a'"),
        (3, TypeError, "got 3"),
        ([], TypeError, r"got \[\]"),
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        user_path,
        read_text,
        lambda path: write_atomically(path, "a"),
        lambda path: tk.Prompt("a").save(path),
        tk.Prompt.load,
        tk.Results.from_csv,
        tk.Results.from_jsonl,
        tk.Results.from_parquet,
        lambda path: tk.results([path]),
        Store,
        lambda path: Store(":memory:").backup(path),
    ],
)
def test_what_is_no_path_is_named(use, path, error, message):
    with pytest.raises(error, match=message):
        use(path)
