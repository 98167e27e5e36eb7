"""Workloads on an engine of canned answers: what is run, what is stored, and in which order."""

from dataclasses import replace

import pytest

import toolkit as tk
from toolkit.core.request import Request
from toolkit.experiments.determinism_ladder import _interleaved
from toolkit.experiments.plan import plan
from toolkit.experiments.run import completions, run
from toolkit.experiments.workload import Workload
from toolkit.store.store import Store


class CannedEngine:
    """Answers each request with the text of its prompt; its fingerprint is another one once it has started."""

    model, window, generated_tokens, vocabulary = "by hand", 100, 0, ()

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

    def count(self, request):
        return 3

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
