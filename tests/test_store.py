import json
import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest

import toolkit as tk
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import Request
from toolkit.errors import StoreBusy, StoreError
from toolkit.store import store as store_module
from toolkit.store.rows import Cell, Grade, StoredCompletion
from toolkit.store.store import Store

FINGERPRINT = Fingerprint({"model": "by-hand", "tokenizer": "t", "generation_config": {}})


@pytest.fixture
def filled(db, made):
    """A store with one completion of two choices, on a known engine."""
    import dataclasses

    store = Store(db)
    vocabulary = [b"", b"\x00\xff", "é".encode(), b"x" * 300] + [b"t"] * 100
    store.begin_run("s", FINGERPRINT, vocabulary)
    completion = dataclasses.replace(made(top_logprobs=2, n=2), system_fingerprint=FINGERPRINT.id)
    store.add([StoredCompletion(completion, 0, 1)])
    return store, completion, vocabulary


def test_a_completion_comes_back_as_it_went_in(filled):
    store, completion, _ = filled
    again = store.completion(completion.request.key, FINGERPRINT.id, 0)
    assert again.request == completion.request
    for name in (
        "usage",
        "model",
        "system_fingerprint",
        "id",
        "created",
        "seconds",
        "first_token_seconds",
        "queued_seconds",
        "position",
    ):
        assert getattr(again, name) == getattr(completion, name), name
    assert np.array_equal(again.prompt_token_ids, completion.prompt_token_ids)
    for one, other in zip(again.choices, completion.choices, strict=True):
        assert (one.index, one.text, one.finish_reason) == (other.index, other.text, other.finish_reason)
        for name in ("token_ids", "logprobs", "ranks", "top_ids", "top_logprobs"):
            a, b = getattr(one, name), getattr(other, name)
            assert a.dtype == b.dtype
            assert np.array_equal(a, b), name


@pytest.mark.parametrize(
    ("steps", "options", "shape"), [(3, {"top_logprobs": 0}, (3, 0)), (0, {"top_logprobs": 2}, (0, 0))]
)
def test_empty_arrays_keep_their_length(db, made, steps, options, shape):
    store = Store(db)
    completion = made(steps=steps, **options)
    store.add_engine(Fingerprint({"model": "by-hand"}), None)
    store._db.execute("UPDATE fingerprints SET id = ?", (completion.system_fingerprint,))
    store.add([StoredCompletion(completion, 0)])
    again = store.completion(completion.request.key, completion.system_fingerprint, 0)
    assert again.top_ids.shape == shape
    assert len(again.logprobs) == steps


def test_the_vocabulary_comes_back_byte_for_byte(filled):
    store, _, vocabulary = filled
    assert list(Store(store.path).vocabulary(FINGERPRINT.id)) == vocabulary


def test_the_same_completion_is_never_stored_twice(filled, made):
    import dataclasses

    store, completion, _ = filled
    store.add([StoredCompletion(dataclasses.replace(completion, id="later"), 0, 2)])
    assert store.completion(completion.request.key, FINGERPRINT.id, 0).id == completion.id
    assert store.stored(FINGERPRINT.id) == {completion.request.key: {0}}


def test_every_failed_attempt_is_kept_beside_the_completion(db, made):
    store = Store(db)
    for error in ("first", "second"):
        store.add([StoredCompletion(made(error=error), 0)])
    store.add([StoredCompletion(made(), 0)])
    assert [row[0] for row in store.query("SELECT error FROM failures")[1]] == ["first", "second"]
    assert store.stored("fp_0000000000") == {made().request.key: {0}}


@pytest.mark.parametrize(
    "request_",
    [
        Request.chat([{"role": "system", "content": "é\0"}, {"role": "user", "content": "🎉"}], stop=["a"]),
        Request(prompt="text"),
        Request(prompt=(1, 2, 3)),
        Request.chat("x", logit_bias={5: -1.5}),
    ],
)
def test_requests_come_back_equal(db, request_):
    store, request_ = Store(db), request_.resolve({})
    store.define("s", {}, [request_], [Cell(request_.key, 1, {})])
    assert store.request(request_.key) == request_


def _text(path):
    path.write_text("this is not a database, but long enough to look like a file of some other kind" * 20)


def _foreign(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t (x)")


def _newer(path):
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_text, "is not a store"),
        (_foreign, "is an SQLite file of something else"),
        (_newer, r"written by a newer toolkit \(format 99, this one knows 8\): update toolkit"),
        (lambda path: path.mkdir(), "is a folder: name a file in it"),
        (lambda path: path.parent.joinpath("file").write_text("x"), None),
    ],
    ids=["text", "foreign", "newer", "folder", "unrelated"],
)
def test_what_is_no_store_is_refused_and_left_alone(db, spoil, message):
    spoil(db)
    before = db.read_bytes() if db.is_file() else None
    if message is None:
        Store(db).close()
        return
    with pytest.raises(StoreError, match=message):
        Store(db)
    assert (db.read_bytes() if db.is_file() else None) == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot make the folder"):
        Store(tmp_path / "file" / "run.db")


def test_a_full_disk_keeps_what_was_finished_for_the_next_run(db, made):
    store = Store(db)
    ((pages,),) = store.query("PRAGMA page_count")[1]
    store._db.execute(f"PRAGMA max_page_count = {pages + 1}")  # SQLite reports it as it does a full disk
    answers = [StoredCompletion(made(text="x" * 5000, seed=i), 0) for i in range(20)]
    with pytest.raises(StoreError, match=r"the disk is full: .* cannot grow\. Free space and run again"):
        store.add(answers)
    assert store.query("SELECT count(*) FROM completions")[1] == [(0,)]
    store.hold_unsaved(answers)
    again = Store(db)
    assert again.query("SELECT count(*) FROM completions")[1] == [(20,)]
    assert store_module._unsaved == {}


def test_a_file_that_another_process_holds_is_waited_for(db, made):
    store = Store(db)
    held = sqlite3.connect(db, isolation_level=None, check_same_thread=False)
    held.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy, match="is locked by another process"):
        store.add([StoredCompletion(made(), 0)], patience=0.1)
    threading.Timer(0.5, held.rollback).start()
    store.add([StoredCompletion(made(), 0)], patience=10)
    assert store.query("SELECT count(*) FROM completions")[1] == [(1,)]


def test_others_read_while_one_writes(db, made):
    store, reader = Store(db), Store(db)
    store._db.execute("BEGIN IMMEDIATE")
    store._db.execute("INSERT INTO sweeps VALUES ('s', 0, '{}')")
    assert reader.sweeps() == []
    store._db.execute("COMMIT")
    assert reader.sweeps() == [("s", {})]


WRITER = """
import sys
from toolkit.core.choice import Choice
from toolkit.core.completion import Completion, Usage
from toolkit.core.request import Request
from toolkit.store.rows import StoredCompletion
from toolkit.store.store import Store
store = Store(sys.argv[1])
for seed in range(100):
    asked = Request.chat("Hi", seed=seed).resolve({})
    done = Completion(asked, (Choice(0, "x", "stop"),), Usage(), "m", "fp_0", "id", 0.0)
    store.add([StoredCompletion(done, 0)])
    print(seed, flush=True)
"""


def _writer(db):
    return subprocess.Popen([sys.executable, "-c", WRITER, str(db)], stdout=subprocess.PIPE, text=True)


def test_several_processes_write_the_same_completions_once(db):
    writers = [_writer(db) for _ in range(3)]
    for writer in writers:
        writer.communicate(timeout=60)
    assert [w.returncode for w in writers] == [0, 0, 0]
    assert Store(db).query("SELECT count(*), count(DISTINCT request) FROM completions")[1] == [(100, 100)]


def test_a_commit_survives_sigkill(db):
    process = _writer(db)
    reported = [int(process.stdout.readline()) for _ in range(20)]
    process.kill()
    process.wait()
    seeds = {
        json.loads(text)["seed"] for (text,) in
        Store(db).query("SELECT sampling FROM completions JOIN requests ON key = request")[1]
    }  # fmt: skip
    assert set(reported) <= seeds


def test_unknown_names_raise_key_errors(db):
    store = Store(db)
    for ask in (store.request, store.fingerprint, store.vocabulary):
        with pytest.raises(KeyError, match="nothing"):
            ask("nothing")


ADDED = {
    1: (("completions", "notes"),),
    2: (("completions", "tool_calls"), ("requests", "response_format")),
    3: (
        ("failures", "prompt_tokens"),
        ("failures", "completion_tokens"),
        ("failures", "seconds"),
        ("runs", "seconds"),
        ("runs", "joules"),
        ("cells", "first"),
    ),
    6: (("runs", "owner"), ("runs", "heartbeat")),
    7: (("completions", "queued_seconds"),),
}
"""Columns that came after each format, and are in all later ones."""


@pytest.mark.parametrize("version", range(1, 8))
def test_a_file_of_an_older_format_is_brought_up_to_date(db, made, version):
    import dataclasses

    from toolkit.structured.tools import ToolCall

    with Store(db) as store:
        store.begin_run("s", FINGERPRINT, [b"t"])
        store.add([StoredCompletion(dataclasses.replace(made(), system_fingerprint=FINGERPRINT.id), 0, 1)])
    with sqlite3.connect(db) as bare:
        for table, column in (pair for since, pairs in ADDED.items() if since >= version for pair in pairs):
            bare.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        for table, since in {"took": 4, "grades": 5, "leases": 6}.items():
            if version <= since:
                bare.execute(f"DROP TABLE {table}")
        bare.execute(f"PRAGMA user_version = {version}")
    new = made(messages="Other", response_format={"type": "object"})
    choice = dataclasses.replace(new.choices[0], tool_calls=(ToolCall("1", "f", "{}"),))
    new = dataclasses.replace(
        new, system_fingerprint=FINGERPRINT.id, notes={"examples": [1]}, choices=(choice,)
    )
    for _ in range(2):
        with Store(db) as store:
            older = store.completion(made().request.key, FINGERPRINT.id, 0)
            assert older.notes == {}
            assert older.queued_seconds is None  # it is not known, and not 0
            assert store.query("SELECT * FROM took")[1] == [(1, FINGERPRINT.id)]
            store.add([StoredCompletion(new, 0, 1)])
            again = store.completion(new.request.key, FINGERPRINT.id, 0)
            assert (again.notes, again.tool_calls) == (new.notes, new.tool_calls)
            assert again.request.response_format == new.request.response_format
            usage = dataclasses.replace(new.usage, prompt_tokens=7, completion_tokens=3)
            failed = dataclasses.replace(made(error="broke"), system_fingerprint=FINGERPRINT.id, usage=usage)
            store.add([StoredCompletion(failed, 1, 1)])
            assert store.query("SELECT prompt_tokens, completion_tokens FROM failures")[1][-1] == (7, 3)
            assert store.grade(new.request.key, FINGERPRINT.id, 0, thumb=1).thumb == 1


def without_time(grade):
    return (grade.thumb, grade.score, grade.note)


def test_what_is_not_given_of_a_grade_stays(filled):
    store, completion, _ = filled
    place = (completion.request.key, FINGERPRINT.id, 0, 1)
    for given, now in [
        ({"thumb": 1}, (1, None, "")),
        ({"score": 2}, (1, 2.0, "")),
        ({"note": "né\n"}, (1, 2.0, "né\n")),
        ({"thumb": -1, "score": np.float32(0.5)}, (-1, 0.5, "né\n")),
        ({"thumb": np.int64(1)}, (1, 0.5, "né\n")),
        ({"thumb": np.sign(-0.3)}, (-1, 0.5, "né\n")),
        ({"score": None}, (-1, None, "né\n")),
    ]:
        assert without_time(store.grade(*place, **given)) == now
        assert {k: without_time(g) for k, g in Store(store.path).grades().items()} == {place: now}
    store.grade(*place, thumb=None, note="")
    assert store.grades() == {}
    assert store.query("SELECT count(*) FROM grades")[1] == [(8,)]  # none is overwritten


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"thumb": 2}, ValueError, "thumb must be 1, -1 or None, got 2"),
        ({"thumb": True}, ValueError, "thumb must be 1, -1 or None, got True"),
        ({"thumb": np.True_}, ValueError, "thumb must be 1, -1 or None, got .*True"),
        ({"score": float("nan")}, ValueError, "score must be a number"),
        ({"score": "5"}, ValueError, "score must be a number"),
        ({"note": None}, TypeError, "note must be a text, got None"),
        ({"note": "half \ud83d"}, ValueError, "note is not valid Unicode"),
        ({"stars": 5}, TypeError, "unknown part of a grade 'stars'"),
    ],
)
def test_a_bad_grade_is_refused_and_nothing_is_written(filled, given, error, message):
    store, completion, _ = filled
    with pytest.raises(error, match=message):
        store.grade(completion.request.key, FINGERPRINT.id, 0, **given)
    assert store.grades() == {}


@pytest.mark.parametrize("place", [("nothing", FINGERPRINT.id, 0, 0), (None, FINGERPRINT.id, 0, -1)])
def test_only_stored_answers_are_graded(filled, place):
    store, completion, _ = filled
    with pytest.raises(KeyError):
        store.grade(place[0] or completion.request.key, *place[1:], thumb=1)


def test_a_copy_in_memory_takes_no_grade_that_would_be_lost(made):
    store = Store(":memory:")
    store.add([StoredCompletion(made(), 0)])
    with pytest.raises(StoreError, match=r"a copy without a file to keep a grade in: .* toolkit\.results"):
        store.grade(made().request.key, "fp_0000000000", 0, thumb=1)


GRADER = """
import sys
from toolkit.store.store import Store
store = Store(sys.argv[1])
for score in range(40):
    store.grade(sys.argv[2], sys.argv[3], 0, 0, **{sys.argv[4]: score if sys.argv[4] == "score" else f"{score}"})
"""


def test_several_processes_grade_one_answer_while_another_writes(filled, made):
    """Each sets another part: none may take back what the others have set."""
    store, completion, _ = filled
    own = [completion.request.key, FINGERPRINT.id]
    graders = [
        subprocess.Popen([sys.executable, "-c", GRADER, store.path, *own, part]) for part in ("score", "note")
    ]
    for seed in range(40):
        store.add([StoredCompletion(made(seed=seed), 0)])
    assert [grader.wait(60) for grader in graders] == [0, 0]
    assert [without_time(grade) for grade in store.grades().values()] == [(None, 39.0, "39")]


def test_a_closed_store_tells_the_last_grade_that_it_knew(filled):
    store, completion, _ = filled
    store.grade(completion.request.key, FINGERPRINT.id, 0, thumb=1)
    assert store.last_grade() == 1
    store.close()
    assert store.last_grade() == 1
    assert bool(Grade()) is False


@pytest.mark.parametrize("key", [2**70, -(2**63) - 1, "\ud800", 1.5, None, b"a", {}, [1], 1j])
def test_what_can_be_no_key_is_not_stored(filled, key):
    store = filled[0]
    for find in (store.request, store.fingerprint, lambda k: store.completion(k, "f", 0)):
        with pytest.raises(KeyError):
            find(key)
    with pytest.raises(KeyError):
        store.completion("a", "f", key)


def test_a_grade_of_a_place_that_no_store_can_hold(filled):
    store = filled[0]
    with pytest.raises(KeyError):
        store.grade("a", "f", 2**70, thumb=1)
    with pytest.raises(TypeError, match=r"repeat and choice must be whole numbers, got 0\.5, 0"):
        store.grade("a", "f", 0.5, thumb=1)


@pytest.mark.parametrize("value", [2**70, "\ud800"])
def test_values_of_a_query_that_sqlite_cannot_hold(filled, value):
    store = filled[0]
    with pytest.raises(StoreError, match="SQLite cannot hold the values"):
        store.query("SELECT ?", [value])


@pytest.mark.parametrize("opened", [Store, tk.results])
def test_a_path_that_is_too_long_is_no_store(opened, tmp_path):
    with pytest.raises(StoreError, match=r"x… .* cannot be a store: File name too long"):
        opened(tmp_path / ("x" * 300))
