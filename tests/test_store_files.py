"""A store as a file: copies, backups, reading without a trace, damage, and several runs at once."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from test_run import CannedEngine, workload

import toolkit as tk
from toolkit.core.fingerprint import Fingerprint
from toolkit.errors import StoreError
from toolkit.experiments.run import run as run_workload
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.store.store import Store

FINGERPRINT = Fingerprint({"model": "by-hand", "tokenizer": "t", "generation_config": {}})
SAVED = Path(__file__).parent / "saved"


def completion(made, seed, **changes):
    return replace(made(seed=seed), system_fingerprint=FINGERPRINT.id, id=f"id{seed}", **changes)


def begun(path, made, number=3):
    """A store in the middle of a run that has stored so many completions."""
    store = Store(path)
    requests = [made(seed=seed).request for seed in range(10)]
    store.define("s", {"prompts": [], "rows": []}, requests, [Cell(r.key, 1, {}) for r in requests])
    run = store.begin_run("s", FINGERPRINT, [b"t"] * 300)
    for seed in range(number):
        store.add([StoredCompletion(completion(made, seed), 0, run)])
    return store, run


def rows(path):
    return len(tk.results(path))


def copied(db, name="copy.db", with_log=False):
    copy = db.with_name(name)
    shutil.copy(db, copy)
    if with_log:
        shutil.copy(f"{db}-wal", f"{copy}-wal")
    return copy


# One complete file


@pytest.mark.parametrize(
    "end",
    [
        lambda store, run: store.end_run(run, 1.0, None),
        lambda store, run: store.close(),
        lambda store, run: (store.end_run(run, 1.0, None), store.close()),
    ],
    ids=["end of the run", "close", "both"],
)
def test_a_store_that_no_run_uses_is_one_complete_file(db, made, end):
    store, run = begun(db, made)
    end(store, run)
    assert os.listdir(db.parent) == ["run.db"]
    assert rows(copied(db)) == 3


def test_it_is_complete_while_others_have_it_open(db, made):
    store, run = begun(db, made)
    reader = tk.results(db)
    assert len(reader) == 3
    store.end_run(run, 1.0, None)
    assert rows(copied(db)) == 3
    grade = reader._store.grade(reader[0].request.key, FINGERPRINT.id, 0, thumb=1)
    store.close()
    assert tk.results(copied(db, "later.db")).frame()["grade.thumb"].count() == grade.thumb
    reader._store.close()
    assert {file for file in os.listdir(db.parent) if file.startswith("run.db")} == {"run.db"}


def test_a_copy_of_the_file_alone_is_refused_in_mid_run(db, made):
    store, run = begun(db, made)
    with pytest.raises(
        StoreError, match=r"copy\.db is a copy that was made while a run was writing.*backup\(path\)"
    ):
        tk.results(copied(db))
    with pytest.raises(StoreError, match="is a copy"):
        Store(copied(db))
    assert rows(db) == 3  # the original is read in mid-run
    store.end_run(run, 1.0, None)
    assert rows(copied(db)) == 3


def test_a_copy_with_its_log_is_complete_up_to_its_moment(db, made):
    store, run = begun(db, made)
    copy = copied(db, with_log=True)
    store.add([StoredCompletion(completion(made, 5), 0, run)])
    assert rows(copy) == 3
    with Store(copy) as other:  # whose run has ended with the copy
        assert other.query("SELECT count(*) FROM runs WHERE owner IS NOT NULL")[1] == [(0,)]
    assert rows(copied(copy, "again.db")) == 3
    assert rows(db) == 4


def test_a_copy_of_a_killed_run_says_what_it_lacks_and_the_original_is_complete(db, made):
    process = os.fork()
    if not process:
        begun(db, made)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(process, 0)
    assert Path(f"{db}-wal").exists()
    with pytest.raises(StoreError, match="is a copy"):
        tk.results(copied(db))
    moved = copied(db, "moved.db", with_log=True)
    assert rows(moved) == rows(db) == 3  # which makes each complete
    assert sorted(os.listdir(db.parent)) == ["copy.db", "moved.db", "run.db"]
    assert rows(copied(db)) == rows(copied(moved, "again.db")) == 3


def test_another_program_may_fold_the_log_in(db, made):
    store, _ = begun(db, made)
    process = os.fork()
    if not process:  # a run whose process has ended without a word
        os._exit(0)
    os.waitpid(process, 0)
    store._db.close()
    with sqlite3.connect(db) as bare:
        bare.execute("SELECT count(*) FROM completions").fetchone()
    bare.close()
    assert rows(db) == 3


@pytest.mark.parametrize("in_run", [True, False])
def test_a_backup_is_complete_also_in_mid_run(db, made, tmp_path, in_run):
    store, run = begun(db, made)
    if not in_run:
        store.end_run(run, 1.0, None)
    target = tmp_path / "new" / "folder" / "backup.db"
    assert store.backup(target) == target
    assert os.listdir(target.parent) == ["backup.db"]
    assert rows(target) == 3
    store.add([StoredCompletion(completion(made, 7), 0, run)])
    assert store.backup(str(target)) == target  # replaced
    assert rows(target) == 4
    with Store(target) as copy:
        assert copy.completion(made(seed=7).request.key, FINGERPRINT.id, 0).id == "id7"


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (
            lambda folder: folder / "run.db",
            StoreError,
            "run.db is the store itself: give its backup another path",
        ),
        (lambda folder: folder, OSError, "is a folder: name a file in it"),
        (lambda folder: folder / "run.db" / "x.db", OSError, "x.db"),
    ],
)
def test_a_backup_that_cannot_be_made_names_its_file(db, made, path, error, message):
    store, _ = begun(db, made)
    before = os.listdir(db.parent)
    with pytest.raises(error, match=message):
        store.backup(path(db.parent))
    assert os.listdir(db.parent) == before


def test_a_store_in_memory_can_be_kept(made, tmp_path):
    store = Store(":memory:")
    store.add([StoredCompletion(made(), 0)])
    with Store(store.backup(tmp_path / "kept.db")) as kept:
        assert kept.query("SELECT count(*) FROM completions")[1] == [(1,)]


# Reading


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("haiku.bd", r"there is no store .*haiku\.bd; there is .*haiku\.db"),
        ("hiaku.db", r"there is .*haiku\.db"),
        ("Haiku.db", r"there is .*haiku\.db"),
        ("zzz.db", r"there is .*haiku\.db"),
        ("no/folder/x.db", r"there is no store .*x\.db\. Reading makes none"),
        ("../rnus/haiku.db", r"there is .*runs/haiku\.db"),
    ],
)
def test_reading_what_is_not_there_names_what_is_near_and_makes_nothing(made, tmp_path, name, message):
    folder = tmp_path / "runs"
    folder.mkdir()
    Store(folder / "haiku.db").close()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match=message):
        tk.results(folder / name)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plan_makes_no_store(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = tk.sweep("Hi", tk.grid(seed=[1, 2]))
    for store in (tmp_path / "new" / "x.db", "x.db", "~nobody/x.db"):
        assert len(sweep.plan(CannedEngine(made), store).missing) == 2
    assert len(sweep.plan(CannedEngine(made)).missing) == 2
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("version", range(1, 7))
def test_reading_leaves_a_store_of_any_format_as_it_is(tmp_path, version):
    path = tmp_path / "run.db"
    shutil.copy(SAVED / f"format-{version}.db", path)
    before = path.read_bytes()
    results = tk.results(path)
    frame = results.frame()
    first = next(iter(results))
    results.costs(), results.summary(), first.tokens, repr(results)
    assert os.listdir(tmp_path) == ["run.db"]
    assert path.read_bytes() == before
    results._store.grade(first.request.key, first.system_fingerprint, 0, thumb=1)  # brings it up to date
    assert tk.results(path).frame()["grade.thumb"].count() == 1
    assert len(tk.results(path).frame()) == len(frame)
    with sqlite3.connect(path) as bare:
        assert bare.execute("PRAGMA user_version").fetchone() == (8,)


def test_what_writes_brings_an_old_store_up_to_date(tmp_path, made):
    path = tmp_path / "run.db"
    shutil.copy(SAVED / "format-2.db", path)
    before = tk.results(path).frame()
    with Store(path) as store:
        store.add([StoredCompletion(made(), 0)])
    assert tk.results(path).frame().equals(before)


READ_ONLY = """
import os, sys
import toolkit as tk
from toolkit.store.store import Store
warm, *paths = sys.argv[1:]
tk.results(warm).frame(), tk.results(warm).costs(), list(tk.results(warm))  # imports what it needs
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
for path in paths:
    results = tk.results(path)
    print(len(results), len(list(results)), sorted(os.listdir(os.path.dirname(path))))
    for write in (lambda: Store(path), lambda: results._store.grade(*results.frame().iloc[0][
            ["request", "system_fingerprint", "repeat"]], thumb=1)):
        try:
            write()
            print("written")
        except tk.StoreError as error:
            print("cannot be opened for writing" in str(error) or error)
    print(len(tk.results(path)), len(list(results)))
"""


def test_a_store_in_a_folder_where_nothing_can_be_written_is_read():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        paths = []
        for version, mode in product((2, 6), ("delete", "wal")):
            paths.append(folder / f"{version}-{mode}" / "run.db")
            paths[-1].parent.mkdir()
            shutil.copy(SAVED / f"format-{version}.db", paths[-1])
            with sqlite3.connect(paths[-1]) as bare:
                bare.execute(f"PRAGMA journal_mode = {mode}")
            bare.close()
            paths[-1].chmod(0o444)
            paths[-1].parent.chmod(0o555)
        command = [sys.executable, "-c", READ_ONLY, str(SAVED / "format-6.db"), *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stderr
        expected = []
        for path in paths:
            number = rows(path)
            expected += [f"{number} {number} ['run.db']", "True", "True", f"{number} {number}"]
            path.parent.chmod(0o755)
        assert done.stdout.splitlines() == expected


# What is no store, and what is damaged


def _corrupt(path):
    with path.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xff" * 4096 * 8)


def _of_something_else(path):
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t (x)")


def _sql(statement):
    def change(path):
        with sqlite3.connect(path) as db:
            db.execute(statement)
        db.close()

    return change


@pytest.mark.parametrize("open_", [tk.results, Store], ids=["reading", "writing"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_text("text " * 1000), "is not a store .*: give the store another path"),
        (_of_something_else, "is an SQLite file of something else: give the store another path"),
        (
            _sql("PRAGMA user_version = 9"),
            r"written by a newer toolkit \(format 9, this one knows 8\): update toolkit",
        ),
        (lambda path: (path.unlink(), path.mkdir()), "is a folder: name a file in it"),
        (lambda path: path.write_bytes(path.read_bytes()[:100] + b"\xff" * 5000), "is (damaged|not a store)"),
    ],
    ids=["text", "foreign", "newer", "folder", "header only"],
)
def test_what_is_no_store_says_what_to_do(db, made, open_, spoil, message):
    store, run = begun(db, made)
    store.end_run(run, 1.0, None)
    store.close()
    spoil(db)
    with pytest.raises(StoreError, match=message):
        open_(db)


def test_an_empty_file_is_no_store_to_read(db):
    db.touch()
    with pytest.raises(StoreError, match=r"run\.db is empty, and no store"):
        tk.results(db)
    assert db.read_bytes() == b""
    Store(db).close()  # but one to write


def test_a_corrupt_store_says_how_to_save_what_can_be_read(db, made):
    store, run = begun(db, made, number=10)
    store.end_run(run, 1.0, None)
    store.close()
    _corrupt(db)
    with pytest.raises(
        StoreError, match=r"run\.db is damaged \(.*\): put a backup in its place, or .*\.recover"
    ):
        tk.results(db).frame()


@pytest.mark.parametrize(
    "ask",
    [
        lambda results: results[0],
        lambda results: list(results),
        lambda results: results._store.sweeps(),
        lambda results: results._store.query("SELECT 1"),
        lambda results: results._store.add([]),
        lambda results: results._store.grade("a", "b", 0, thumb=1),
        lambda results: results._store.backup(f"{results._store.path}.copy"),
        lambda results: results._store.completion("a", "b", 0),
    ],
)
def test_a_closed_store_says_how_to_go_on(db, made, ask):
    store, run = begun(db, made)
    store.end_run(run, 1.0, None)
    results = tk.Results.of(store)
    store.close()
    store.close()
    assert repr(store) == f"Store({str(db)!r}, closed)"
    with pytest.raises(StoreError, match=r"run\.db has been closed: open it again, with toolkit\.results\('"):
        ask(results)
    assert len(results.frame()) == 3


KEY = "(SELECT request FROM completions ORDER BY number LIMIT 1)"


@pytest.mark.parametrize(
    ("statement", "left", "message"),
    [
        ("UPDATE cells SET labels = '{broken' WHERE position = 0", 2, "1 row cannot be read: cell s/0"),
        (
            """UPDATE cells SET labels = iif(position, '{"case": [NaN, -Infinity]}', '{')""",
            2,
            "1 row cannot be read: cell s/0",
        ),
        (f"DELETE FROM requests WHERE key = {KEY}", 2, "1 row cannot be read: request "),
        (f"UPDATE requests SET sampling = 'x' WHERE key = {KEY}", 2, "1 row cannot be read: request "),
        (f"DELETE FROM cells WHERE request = {KEY}", 2, "1 row cannot be read: answer of no sweep "),
        ("DELETE FROM cells", 0, "3 rows cannot be read: answer of no sweep .*, .*, "),
        ("UPDATE sweeps SET body = '{'", 0, "3 rows cannot be read: sweep s"),
        ("DELETE FROM fingerprints", 0, f"3 rows cannot be read: fingerprint {FINGERPRINT.id}"),
        ("UPDATE fingerprints SET body = ''", 0, f"3 rows cannot be read: fingerprint {FINGERPRINT.id}"),
        (
            "UPDATE completions SET stop_reason = '{' WHERE number = 1",
            2,
            "1 row cannot be read: stop reason .*/0/0",
        ),
    ],
)
def test_rows_that_cannot_be_read_are_counted_and_named_and_the_others_are_read(
    db, made, capsys, statement, left, message
):
    store, run = begun(db, made)
    store.end_run(run, 1.0, None)
    store.close()
    _sql(statement)(db)
    assert len(tk.results(db)) == left
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(f"run.db: {message}", line)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE arrays SET token_ids = x'00'",
        "DELETE FROM arrays",
        "UPDATE completions SET notes = '{'",
        "UPDATE completions SET tool_calls = '[1]'",
        "UPDATE vocabularies SET body = x'00'",
        "UPDATE inputs SET body = '['",
    ],
)
def test_a_completion_that_cannot_be_read_is_named(db, made, statement):
    store, run = begun(db, made)
    store.end_run(run, 1.0, None)
    store.close()
    _sql(statement)(db)
    results = tk.results(db)
    assert len(results) == 3
    with pytest.raises(
        StoreError, match=r"^the .* cannot be read from .*run\.db \(.*\): the file is damaged"
    ):
        _ = results[0].tokens


# Runs at once


def pair(made, seed):
    return made(seed=seed).request.key, 0


def test_what_another_run_has_leased_is_held_until_it_is_stored(db, made):
    (one, first), two = begun(db, made, 0), Store(db)
    second = two.begin_run("s", FINGERPRINT, [])
    pairs = [pair(made, seed) for seed in range(6)]
    assert one.lease(first, pairs[:3]) == (pairs[:3], [])
    assert two.lease(second, pairs) == (pairs[3:], pairs[:3])
    one.add([StoredCompletion(completion(made, 0), 0, first)])
    since = two.last_failure()
    failed = replace(completion(made, 1), error="broke")
    one.add([StoredCompletion(failed, 0, first)])
    assert two.lease(second, pairs[:3], since) == (
        [],
        pairs[2:3],
    )  # stored, and failed just now: not asked again
    assert two.lease(second, pairs[1:2], two.last_failure()) == (pairs[1:2], [])  # failed before
    one.give_back(first, pairs[2:3])
    assert two.lease(second, pairs[2:3]) == (pairs[2:3], [])


@pytest.mark.parametrize(
    "end",
    [lambda store, run: store.end_run(run, 1.0, None), lambda store, run: store.close()],
    ids=["end", "close"],
)
def test_the_leases_of_a_run_end_with_it_and_are_counted_as_lost(db, made, end):
    (one, first), two = begun(db, made, 0), Store(db)
    second = two.begin_run("s", FINGERPRINT, [])
    pairs = [pair(made, seed) for seed in range(3)]
    one.lease(first, pairs)
    assert len(two.lost_attempts()) == 0
    end(one, first)
    assert two.lease(second, pairs) == (pairs, [])
    lost = two.lost_attempts()
    assert lost["lost"].tolist() == [1, 1, 1]
    assert set(lost["sweep"]) == {"s"}


@pytest.mark.parametrize(
    ("owner", "age", "is_held"),
    [
        ({}, 0, True),  # this process
        ({"pid": 2**22 + 1}, 0, False),  # a process that has ended, on this machine
        ({"born": "another boot 1"}, 0, False),  # another process has its number now
        ({"machine": "elsewhere x"}, 0, True),
        ({"machine": "elsewhere x"}, 59, True),
        ({"machine": "elsewhere x"}, 61, False),
        ({"inode": 1}, 0, False),  # this file is a copy
    ],
)
def test_a_run_goes_on_while_its_process_does(db, made, owner, age, is_held):
    (one, first), two = begun(db, made, 0), Store(db)
    pairs = [pair(made, 0)]
    one.lease(first, pairs)
    ((text,),) = one.query("SELECT owner FROM runs")[1]
    values = (json.dumps({**json.loads(text), **owner}), time.time() - age, first)
    one._db.execute("UPDATE runs SET owner = ?, heartbeat = ? WHERE id = ?", values)
    second = two.begin_run("s", FINGERPRINT, [])
    assert two.lease(second, pairs) == (([], pairs) if is_held else (pairs, []))


def test_a_heartbeat_keeps_a_run_on_another_machine(db, made, monkeypatch):
    one, first = begun(db, made, 0)
    one._db.execute("UPDATE runs SET heartbeat = 0")
    one.heartbeat(first)
    assert one.query("SELECT heartbeat FROM runs")[1][0][0] == pytest.approx(time.time(), abs=60)


def test_a_run_of_a_store_that_is_gone_has_ended(db, made):
    one, first = begun(db, made, 0)
    pairs = [pair(made, 0)]
    one.lease(first, pairs)
    del one
    two = Store(db)
    assert two.lease(two.begin_run("s", FINGERPRINT, []), pairs) == (pairs, [])


def test_runs_of_other_systems_do_not_share(db, made):
    one, first = begun(db, made, 0)
    other = Fingerprint({"model": "other"})
    second = one.begin_run("s", other, [])
    pairs = [pair(made, 0)]
    assert one.lease(first, pairs) == one.lease(second, pairs) == (pairs, [])


def test_what_was_generated_twice_is_counted_as_spent(db, made):
    store, run = begun(db, made)
    store.add([StoredCompletion(completion(made, 0), 0, run)])  # the same one again
    assert store.query("SELECT count(*) FROM failures")[1] == [(0,)]
    again = replace(completion(made, 0), id="another")
    store.add([StoredCompletion(again, 0, run)])
    assert store.completion(again.request.key, FINGERPRINT.id, 0).id == "id0"
    total = tk.results(store).costs(price="gpt-4o").total
    assert total["failed_attempts"] == 1
    assert total["spent_on_failures"] == pytest.approx(total["spent"] / 3)
    assert not tk.results(store).frame()["error"].notna().any()


def test_costs_say_what_is_not_known(db, made):
    store, run = begun(db, made)
    store.lease(run, [pair(made, seed) for seed in range(2, 7)])
    results = tk.results(store)
    assert "lost_attempts" not in results.costs().total  # the run goes on
    store.end_run(run, 1.0, None)
    costs = tk.results(store).costs()
    assert costs.total["lost_attempts"] == 4  # the first of the five was stored before
    assert "Not known, and in no sum: what 4 requests at most had spent" in repr(costs)
    with Store(db) as other:
        other.add([StoredCompletion(completion(made, 3), 0)])
    assert tk.results(db).costs().total["lost_attempts"] == 4  # the attempt before is still unknown
    assert tk.results(db).costs(by="seed").frame()["lost_attempts"].to_dict() == {0: 0, 1: 0, 2: 0, 3: 1}


class SlowEngine(CannedEngine):
    def generate(self, requests):
        for request in requests:
            time.sleep(0.01)
            yield from super().generate([request])


def test_two_threads_share_a_sweep(made, db):
    engines = [SlowEngine(made), SlowEngine(made)]
    work = workload(*(f"text {i}" for i in range(100)))
    found = []
    threads = [threading.Thread(target=lambda e=e: found.append(run_workload(work, e, db))) for e in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(results) for results in found] == [100, 100]
    asked = [[r.key for r in engine.answered] for engine in engines]
    assert all(asked)
    assert len(set(asked[0]) | set(asked[1])) == len(asked[0]) + len(asked[1]) == 100
    with Store(db) as store:
        assert len(store.lost_attempts()) == 0
    assert rows(copied(db)) == 100
    for results in found:
        results._store.close()
    assert not any(name.startswith("run.db-") for name in os.listdir(db.parent))
