"""Workloads on an engine of canned answers: what is run, what is stored, and in which order."""

import os
import signal
import threading
from dataclasses import replace

import pytest

import toolkit as tk
from toolkit.core.request import Request
from toolkit.engines.base import Engine
from toolkit.errors import StoreError
from toolkit.experiments.determinism_ladder import _interleaved
from toolkit.experiments.plan import plan
from toolkit.experiments.run import completions, run
from toolkit.experiments.workload import Workload
from toolkit.store.store import Store


class CannedEngine(Engine):
    """Answers each request with the text of its prompt; its fingerprint is another one once it has started."""

    model, window, generated_tokens, vocabulary, ends = "by hand", 100, 0, (), frozenset()

    def __init__(self, made, temperatures=(0.5, 0.5)):
        self.made, self.temperatures, self.started, self.answered = made, temperatures, False, []

    @property
    def fingerprint(self):
        return tk.Fingerprint({"model": "by hand", "generation_config": self.defaults})

    @property
    def fingerprints(self):
        return (self.fingerprint,)

    @property
    def defaults(self):
        return {"temperature": self.temperatures[self.started]}

    def start(self):
        self.started = True

    def close(self):
        pass

    def encode(self, request):
        return (0, 0, 0)

    def stream_request(self, request):
        raise NotImplementedError

    def generate(self, requests):
        for request in requests:
            self.answered.append(request)
            text = request.messages[0]["content"]
            yield replace(self.made(text=text), request=request, system_fingerprint=self.fingerprint.id)


def workload(*texts, **options):
    def requests(defaults):
        return [(Request.chat(text).resolve(defaults), {"row": i}) for i, text in enumerate(texts)]

    return Workload(requests, **options)


def test_only_what_is_missing_is_run(made, db):
    engine = CannedEngine(made)
    assert len(run(workload("a", "b", repeats=2), engine, db)) == 4
    assert len(engine.answered) == 4
    assert len(run(workload("a", "b", "c", repeats=2), engine, db)) == 6
    assert [r.messages[0]["content"] for r in engine.answered[4:]] == ["c", "c"]


def test_reserved_repeats_never_count_what_other_sweeps_have(made, db):
    engine = CannedEngine(made)
    run(workload("a", repeats=3), engine, db)
    for _ in range(2):  # the same sweep again asks nothing
        assert len(run(workload("a", repeats=2, reserved_sweep="own", name="alone"), engine, db)) == 2
    assert len(engine.answered) == 5
    with Store(db) as store:
        assert [body for name, body in store.sweeps() if name == "own"] == [{"prompts": [], "rows": []}]
        assert plan(workload("a", repeats=2, reserved_sweep="other"), engine, store).cells[0].first == 5


def test_requests_are_made_again_when_the_defaults_turn_out_to_be_others(made, db):
    engine = CannedEngine(made, temperatures=(0.5, 0.8))
    (completion,) = run(workload("a"), engine, db)
    assert completion.request.sampling.temperature == 0.8
    assert len(Store(db).sweeps()) == 1


def test_each_request_has_its_completion_in_order(made, db):
    engine = CannedEngine(made)
    assert [c.text for c in completions(workload("b", "a", "b"), engine, db)] == ["b", "a", "b"]
    assert len(engine.answered) == 2


def test_requests_become_completions_as_the_caller_says(made, db):
    engine = CannedEngine(made)

    def backwards(requests):
        yield from engine.generate(reversed(requests))

    run(workload("a", "b"), engine, db, generate=backwards)
    assert [r.messages[0]["content"] for r in engine.answered] == ["b", "a"]


@pytest.mark.parametrize(("texts", "turns"), [("aabb", "abab"), ("aab", "aba"), ("abc", "abc"), ("", "")])
def test_repeats_of_one_request_are_spread(texts, turns):
    requests = [Request.chat(text) for text in texts]
    assert [r.messages[0]["content"] for r in _interleaved(requests)] == list(turns)


# Interrupts


class InterruptedEngine(CannedEngine):
    """Interrupts this process, so many times, when it has answered so many requests; after an interrupt it gives what
    it has finished, as engines do."""

    def __init__(self, made, after, times):
        super().__init__(made)
        self.after, self.times, self.closed = after, times, False

    def generate(self, requests):
        finished = []
        try:
            for completion in super().generate(requests):
                finished.append(completion)
                if len(self.answered) == self.after:
                    for _ in range(self.times):
                        os.kill(os.getpid(), signal.SIGINT)
                if len(finished) == 2:
                    yield from [finished.pop(0), finished.pop(0)]
        except KeyboardInterrupt:
            yield from finished
            raise
        finally:
            self.closed = True


def texts_of(db):
    with Store(db) as store:
        return sorted(text for (text,) in store.query("SELECT text FROM completions")[1])


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("after", [1, 2, 5])
def test_an_interrupt_stores_what_is_finished_and_later_ones_do_not_prevent_it(made, db, after, times):
    engine = InterruptedEngine(made, after, times)
    letters = "abcdefgh"
    with pytest.raises(KeyboardInterrupt):
        run(workload(*letters), engine, db)
    assert texts_of(db) == list(letters[:after])
    assert engine.closed
    assert not [t for t in threading.enumerate() if t.name == "toolkit-completion-writer"]
    assert os.listdir(db.parent) == ["run.db"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    again = CannedEngine(made)
    assert len(run(workload(*letters), again, db)) == 8
    assert [r.messages[0]["content"] for r in again.answered] == list(letters[after:])


def test_interrupts_while_completions_are_stored_come_after_it(made, db, monkeypatch):
    add = Store.add

    def interrupted_add(self, *arguments, **options):
        os.kill(os.getpid(), signal.SIGINT)
        add(self, *arguments, **options)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Store, "add", interrupted_add)
    with pytest.raises(KeyboardInterrupt):
        run(workload("a", "b"), CannedEngine(made), db)
    assert texts_of(db) == ["a", "b"]


def test_an_interrupt_says_how_far_the_run_is(made, db, capsys):
    with pytest.raises(KeyboardInterrupt):
        run(workload(*"abcd"), InterruptedEngine(made, 3, 2), db)
    assert f"interrupted: 3 of 4 completions are in {db}; run again to go on" in capsys.readouterr().err


def test_requests_that_were_with_the_engine_are_counted_as_lost(made, db):
    with pytest.raises(KeyboardInterrupt):
        run(workload(*"abcd"), InterruptedEngine(made, 3, 1), db)
    with Store(db) as store:
        # The engine takes a request when it answers it: none was lost.
        assert len(store.lost_attempts()) == 0

    class Batch(InterruptedEngine):
        def generate(self, requests):
            yield from super().generate(list(requests))

    with pytest.raises(KeyboardInterrupt):
        run(workload(*"efgh"), Batch(made, 3, 1), db)
    with Store(db) as store:
        assert store.lost_attempts()["lost"].tolist() == [1]
    results = run(workload(*"efgh"), CannedEngine(made), db)
    assert results.costs().total["lost_attempts"] == 1


def test_requests_are_leased_when_the_engine_takes_them(made, db):
    leases = []

    class Watched(CannedEngine):
        def generate(self, requests):
            for completion in super().generate(requests):
                leases.append(store.query("SELECT count(*) FROM leases")[1][0][0])
                yield completion

    store = Store(db)
    assert len(run(workload(*map(str, range(1000))), Watched(made), store)) == 1000
    assert len(leases) == 1000
    assert all(number <= 64 + position for position, number in enumerate(leases))  # what was stored is none


def test_requests_are_asked_in_the_order_of_the_engine(made, db):
    class Sorted(CannedEngine):
        def ordered(self, requests):
            return sorted(requests, key=lambda request: request.messages[0]["content"])

    engine = Sorted(made)
    results = run(workload(*"badc", repeats=2), engine, db)
    assert [r.messages[0]["content"] for r in engine.answered] == list("aabbccdd")
    assert [(row.text, row.row, row.repeat) for row in results.frame().itertuples()] == [
        (letter, number, repeat) for number, letter in enumerate("badc") for repeat in range(2)
    ]
    answered = []

    def by_hand(requests):
        answered.extend(request.messages[0]["content"] for request in requests)
        yield from CannedEngine.generate(engine, requests)

    run(workload(*"zyx"), engine, db, generate=by_hand)
    assert answered == list("zyx")  # a caller's own function has an order of its own


def test_a_run_waits_for_what_another_one_asks_and_takes_over_when_that_ends(made, db, capsys):
    work = workload("a", "b")
    engine = CannedEngine(made)
    planned = plan(work, engine, db)
    other = Store(db)
    engine.start()
    number = other.begin_run(planned.sweep, engine.fingerprint, [])
    other.lease(number, [(request.key, repeat) for request, repeat in planned.missing[:1]])
    threading.Timer(1.0, lambda: other.end_run(number, 1.0, None)).start()
    assert len(run(work, engine, db)) == 2
    assert [r.messages[0]["content"] for r in engine.answered] == ["b", "a"]
    assert f"another run on {db} asks 1 completion: waiting for them" in capsys.readouterr().out


def test_waiting_is_interrupted(made, db):
    work, engine = workload("a"), CannedEngine(made)
    planned, other = plan(work, engine, db), Store(db)
    number = other.begin_run(planned.sweep, engine.fingerprint, [])
    other.lease(number, [(request.key, repeat) for request, repeat in planned.missing])
    threading.Timer(0.7, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        run(work, engine, db)
    assert engine.answered == []


def test_an_engine_that_leaves_requests_out_keeps_no_lease(made, db):
    class Forgetful(CannedEngine):
        def generate(self, requests):
            yield from super().generate(list(requests)[1:])

    assert len(run(workload("a", "b"), Forgetful(made), db)) == 1
    with Store(db) as store:
        assert store.query("SELECT count(*) FROM leases")[1] == [(0,)]


def test_what_cannot_be_written_at_the_end_is_stored_by_the_next_run(made, db, monkeypatch):
    def full(self, *arguments, **options):
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", full)
        with pytest.raises(StoreError, match=r"the disk is full\. 2 finished completions are kept"):
            run(workload("a", "b"), CannedEngine(made), db)
    engine = CannedEngine(made)
    assert len(run(workload("a", "b"), engine, db)) == 2
    assert engine.answered == []
