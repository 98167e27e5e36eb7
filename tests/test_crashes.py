"""Sweeps that are killed or interrupted at random moments, or have company, on a small server. `TOOLKIT_TRIALS=60` in
the environment tries each so often."""

import os
import random
import shutil
import signal
import sqlite3
import time

import pytest
from answering_server import AnsweringServer, SweepProcess

import toolkit as tk
from toolkit.errors import StoreError
from toolkit.store.store import Store

pytestmark = pytest.mark.slow
TRIALS = int(os.environ.get("TOOLKIT_TRIALS", "3"))
NUMBER = 400


@pytest.fixture(scope="module")
def server():
    with AnsweringServer() as server:
        yield server


@pytest.fixture(autouse=True)
def forget(server):
    server.answered.clear()


def stored_ids(db):
    with Store(db) as store:
        ids = [name for (name,) in store.query("SELECT id FROM completions")[1]]
    assert len(ids) == len(set(ids))
    return set(ids)


def finished(server, db):
    """Runs the sweep to its end in this process."""
    engine = tk.connect(server.url, model="m", concurrency=8)
    sweep = tk.sweep("Tell a story.", tk.grid(seed=range(NUMBER), max_tokens=4))
    return sweep.run(engine, db)


@pytest.mark.parametrize("trial", range(TRIALS))
def test_a_kill_loses_nothing_that_was_reported_and_asks_nothing_twice(server, db, trial):
    with_copy = db.with_name("copy.db")
    sweep = SweepProcess(server, db, NUMBER)
    sweep.begin()
    reported = sweep.reported(1)
    time.sleep(random.uniform(0, 0.8))
    reported = max(reported, sweep.kill())
    shutil.copy(db, with_copy)
    before = dict(server.answered)
    if before and len(before) < NUMBER:
        with pytest.raises(StoreError, match="is a copy that was made while a run was writing"):
            tk.results(with_copy)
    kept = stored_ids(db)
    assert reported <= len(kept)
    assert sorted(os.listdir(db.parent)) == ["copy.db", "run.db"]
    results = finished(server, db)
    assert len(results) == NUMBER
    assert kept <= stored_ids(db)
    asked_again = sum(server.answered.values()) - len(server.answered)
    lost = results.costs().total.get("lost_attempts", 0)
    assert asked_again <= lost  # what was asked before the kill, and not stored
    with_text = results.frame()
    assert (with_text["text"] == "answer " + with_text["seed"].astype(str)).all()


@pytest.mark.parametrize("trial", range(TRIALS))
def test_interrupts_lose_no_answer_that_has_come_and_leave_no_thread(server, db, trial):
    sweep = SweepProcess(server, db, NUMBER)
    sweep.begin()
    sweep.reported(1)
    time.sleep(random.uniform(0, 0.8))
    for _ in range(trial % 3 + 1):  # single, double, triple
        sweep.process.send_signal(signal.SIGINT)
        time.sleep(random.uniform(0, 0.02))
    result = sweep.result()
    assert result["left"] == []
    assert stored_ids(db) == set(result["received"])
    assert os.listdir(db.parent) == ["run.db"]
    with sqlite3.connect(db) as bare:
        assert bare.execute("SELECT count(*) FROM runs WHERE owner IS NOT NULL").fetchone() == (0,)
    assert len(finished(server, db)) == NUMBER


def test_two_processes_share_a_sweep(server, db):
    sweeps = [SweepProcess(server, db, NUMBER) for _ in range(2)]
    for sweep in sweeps:
        sweep.begin()
    results = [sweep.result() for sweep in sweeps]
    assert [result["rows"] for result in results] == [NUMBER, NUMBER]
    assert all(result["received"] for result in results)
    assert set(server.answered.values()) == {1}
    assert tk.results(db).costs().total["failed_attempts"] == 0


def test_one_of_two_is_killed_and_the_other_takes_over(server, db):
    killed, other = (SweepProcess(server, db, NUMBER) for _ in range(2))
    killed.begin(), other.begin()
    killed.reported(10)
    killed.kill()
    assert other.result()["rows"] == NUMBER
    assert len(stored_ids(db)) == NUMBER
