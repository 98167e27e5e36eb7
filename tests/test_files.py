"""Where files lie, and files that several processes read and write."""

import os
import threading

from toolkit._internal.files import create_private, data_folder, oldest_first, toolkit_home, write_atomically


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
