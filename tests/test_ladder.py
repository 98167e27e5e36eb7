from dataclasses import replace

import pytest

import toolkit as tk
from toolkit.experiments.determinism_ladder import _batches, _report, _requests, _rungs, _workload
from toolkit.experiments.ladder_report import Ladder, Rung
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.store.store import Store

QUESTIONS = ["What is the capital of France?", "Name a colour."]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("ladder") / "run.db"


@pytest.fixture(scope="module")
def ladder(engine, path):
    return tk.determinism_ladder(engine, QUESTIONS, n=2, sizes=[2], variants=[], store=path, max_tokens=8)


@pytest.mark.slow
def test_every_condition_is_asked_and_compared_with_the_answer_alone(ladder, engine):
    assert ladder.table.index.tolist() == [
        "alone", "from the prefix cache", "batch of 2", "batch of 2, shuffled", "among other traffic",
        "sampled without a seed", "after a restart",
    ]  # fmt: skip
    assert (ladder.table["requests"] == 2).all()
    assert (ladder.table["runs"] == 4).all()
    assert set(ladder.table["system_fingerprint"]) == {engine.fingerprint.id}
    # float32 gives the same in any batch: the positive control; and what is sampled differs: the negative one.
    assert ladder.table.loc[["alone", "after a restart"], "changed"].tolist() == [0, 0]
    assert ladder.table.at["alone", "drift"] == 0
    assert ladder.table.at["sampled without a seed", "changed"] >= 1
    assert "<table>" in ladder._repr_html_()
    assert len(ladder.plot().axes) == 2


@pytest.mark.slow
def test_each_condition_is_what_it_says(ladder, path):
    """By what vLLM tells of each answer: cached tokens, and what ran at the same time."""
    table = tk.results(path)._table
    cached = table.groupby("rung")["cached_tokens"].max()
    assert cached["alone"] == cached["after a restart"] == 0
    assert (table[table["rung"] == "from the prefix cache"]["cached_tokens"] > 0).all()
    assert set(table[table["rung"] == "sampled without a seed"]["temperature"]) == {1.0}
    alone = table[table["rung"] == "alone"].sort_values("created")
    begins = alone["created"] - alone["seconds"]
    assert (begins.to_numpy()[1:] > alone["created"].to_numpy()[:-1] - 0.05).all()
    assert sorted(table[table["rung"] == "batch of 2"]["position"]) == [0, 0, 1, 1]


@pytest.mark.slow
def test_the_same_again_asks_nothing(ladder, engine, path):
    before = Store(path).query("SELECT count(*) FROM runs")[1]
    again = tk.determinism_ladder(engine, QUESTIONS, n=2, sizes=[2], variants=[], store=path, max_tokens=8)
    assert again.table.equals(ladder.table)
    assert Store(path).query("SELECT count(*) FROM runs")[1] == before


@pytest.mark.slow
def test_a_variant_that_does_not_start_is_noted(ladder, engine, path):
    odd = tk.Variant.of(engine).with_("odd", dtype="float99")
    found = tk.determinism_ladder(engine, QUESTIONS, n=2, sizes=[2], variants=[odd], store=path, max_tokens=8)
    assert found.table.index.tolist() == ladder.table.index.tolist()
    assert "odd could not run: vLLM did not start" in found.notes[0]
    assert found.notes[0] in repr(found)


@pytest.mark.parametrize(
    ("requests", "options", "error", "message"),
    [
        ("Hi", {}, TypeError, "requests must be a sweep, or a list of texts, messages or requests, got 'Hi'"),
        ([], {}, TypeError, "requests must be a sweep, or a list"),
        (
            ["Hi"],
            {"temperature": 1},
            ValueError,
            "request 0 is sampled without a seed, which no engine could repeat",
        ),
        (["Hi"], {"n": 1}, ValueError, "n must be a whole number from 2 up"),
        (["Hi"], {"sizes": [1]}, ValueError, "sizes must be a whole number from 2 up"),
    ],
)
def test_bad_calls(engine, db, requests, options, error, message):
    with pytest.raises(error, match=message):
        tk.determinism_ladder(engine, requests, store=db, **options)


def test_requests_come_from_a_sweep_or_a_list_each_once(engine):
    sweep = tk.sweep(
        "{q}", [{"q": q} for q in QUESTIONS], tk.grid(temperature=0, seed=range(3), max_tokens=4)
    )
    assert len(_requests(engine, sweep, {})) == 2
    (one,) = _requests(engine, ["Hi", "Hi"], {})
    assert (one.sampling.temperature, one.sampling.max_tokens, one.sampling.top_logprobs) == (0, 32, 5)
    assert _requests(engine, [one], {}) == [one]


def test_batches_hold_each_request_once():
    import random

    missing = [(str(i), run) for run in range(3) for i in range(5)]
    for rung in (Rung("a", size=4), Rung("b", size=4, shuffled=True), Rung("c", size=64)):
        made = list(_batches(rung, missing, random.Random(1)))
        assert sorted(pair for batch in made for pair in batch) == sorted(missing)
        assert max(map(len, made)) == min(rung.size, 15)
        assert ([pair for batch in made for pair in batch] == missing) is not rung.shuffled


def test_rungs_of_different_conditions_never_share_their_answers(engine):
    rungs = _rungs(engine, [4, 16])
    asked = _requests(engine, ["Hi"], {})
    names = {
        _workload(rung, asked, n, base).reserved_sweep
        for rung in rungs
        for n in (2, 3)
        for base in ("fp_a", "fp_b")
    }
    assert len(names) == 4 * len(rungs)


RUNGS = ("alone", "batch of 4", "sampled without a seed")


@pytest.mark.parametrize(
    ("texts", "first", "said"),
    [
        (
            {"alone": "aaaa", "batch of 4": "aaaa", "sampled without a seed": "abcd"},
            None,
            ["No condition changed an answer; at 95 % confidence none changes more than 64 % of such runs (3/N).",
             "batch of 4, 1 request, 4 runs: all as alone",
             "sampled without a seed (negative control), 1 request, 4 runs: 1 request gave several answers, as they"],
        ),
        (
            {"alone": "aaaa", "batch of 4": "aaba", "sampled without a seed": "aaaa"},
            "batch of 4",
            ["The first condition that changes an answer is 'batch of 4'. At work: many at once.",
             "batch of 4, 1 request, 4 runs: 1 request and 1 run differ from the answer alone",
             "up to 2 different answers to one request",
             "0 requests gave several answers, though they must: nothing here tells answers apart"],
        ),
        (
            {"alone": "aaab", "batch of 4": "aaaa", "sampled without a seed": "abcd"},
            "alone",
            ["The first condition that changes an answer is 'alone'. At work: chance."],
        ),
    ],
)  # fmt: skip
def test_the_first_condition_that_changes_an_answer(db, made, texts, first, said):
    store = Store(db)
    fingerprint = tk.Fingerprint({"model": "by hand", "tokenizer": "t"})
    causes = {"alone": "chance", "batch of 4": "many at once"}
    for rung, answers in texts.items():
        options = {"temperature": 1.0} if rung.startswith("sampled") else {"temperature": 0}
        request = made(**options).request
        (cell,) = store.define_with_reserved_repeats(
            rung, {}, [request], [Cell(request.key, 4, {"rung": rung, "row": 0})]
        )
        for run, text in enumerate(answers):
            done = made(text=text, **options)
            ids = done.choices[0].token_ids + ord(text)
            done = replace(
                done, system_fingerprint=fingerprint.id, choices=(replace(done.choices[0], token_ids=ids),)
            )
            store.begin_run(rung, fingerprint, [b"x"] * 512)
            store.add([StoredCompletion(done, cell.first + run, 1)])
    rungs = tuple(Rung(name, causes.get(name, ""), sampled=name.startswith("sampled")) for name in RUNGS)
    found = Ladder(_report(store, list(RUNGS), list(RUNGS)), rungs, ("what could not be tried",))
    assert (found.first and found.first.name) == first
    for sentence in [*said, "what could not be tried"]:
        assert sentence in repr(found)
