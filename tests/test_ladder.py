import re
from dataclasses import replace

import pytest
from test_determinism import UNWANTED, choice, stored, system

import toolkit as tk
from toolkit.analysis.determinism.report import determinism
from toolkit.analysis.determinism.statistics import bound, bound_of_mean, interval_of_mean
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
    odd = tk.Variant.of(engine).with_("odd", max_model_len=1 << 30)
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
            # Of the four alone 1 − 0.3950, where 2 t⁴ + (1 − 2t)⁴ = 0.05; of the others 1 − 0.05^(1/4).
            ["No condition changed an answer; at 95 % confidence none changes more than 61 % of further runs of this "
             "request: were it more, 4 equal runs would be rarer than 1 in 20.",
             "batch of 4, 1 request, 4 runs: all as alone. At 95 % confidence less than 53 % of further runs of this "
             "request differ.",
             "sampled without a seed (negative control), 1 request, 4 runs: 1 request gave several answers, as they"],
        ),
        (
            {"alone": "aaaa", "batch of 4": "aaba", "sampled without a seed": "aaaa"},
            "batch of 4",
            ["The first condition that changes an answer is 'batch of 4'. At work: many at once.",
             "batch of 4, 1 request, 4 runs: 1 request and 1 run differ from the answer alone",
             "up to 2 different answers to one request. At 95 % confidence no more than 76 % of further runs of this",
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


def by_hand(asked, sampled=()):
    """The ladder of {prompt: {rung: runs}} (see test_determinism.stored); rungs in the order of their names."""
    results = stored(asked)
    names = sorted({name for systems in asked.values() for name in systems})
    ids = {system(name).id: name for name in names}
    table = results._table.assign(rung=results._table["system_fingerprint"].map(ids))
    order = table["rung"].map(names.index)
    table = table.assign(_order=order).sort_values("_order", kind="stable", ignore_index=True)
    report = determinism(table, results._store, across="rung", difference=lambda a, b: "")
    return Ladder(report, tuple(Rung(name, "many at once", sampled=name in sampled) for name in names), ())


def test_a_condition_whose_requests_all_failed_is_not_known():
    found = by_hand({"q": {"a": ["x", "x"], "b": [None, None], "c": ["x", "y"]}})
    assert found.table["requests"].tolist() == [1, 0, 1]
    assert found.table["changed"].tolist() == [0, 0, 1]
    assert found.table.loc["b", ["runs", "unique", "differ", "bound"]].tolist() == [0, 0, 0, 1]
    assert found.table.loc["b", ["low", "high", "fork", "margin", "drift"]].isna().all()
    assert found.first.name == "c"
    assert "b: no answer that could be compared, so nothing is known" in repr(found)
    assert found.table["system_fingerprint"].tolist() == [system(name).id for name in "abc"]
    assert len(found.plot().axes) == 2
    assert "<table>" in found._repr_html_()


def test_without_an_answer_alone_nothing_is_compared_with_it():
    found = by_hand({"q": {"a": [None, None], "b": ["x", "y"], "c": ["x", "y"]}}, sampled=("c",))
    assert found.table["requests"].tolist() == [0, 0, 1]
    assert found.first is None
    assert "none changes more than 100 %" in repr(found)
    assert "c (negative control), 1 request, 2 runs: 1 request gave several answers" in repr(found)


def test_a_request_that_failed_alone_is_left_out_of_the_other_conditions():
    found = by_hand({"q": {"a": [None], "b": ["x", "y"]}, "r": {"a": ["x"], "b": ["x", "x"]}})
    assert found.table["requests"].tolist() == [1, 1]
    assert found.table.loc["b", ["runs", "changed", "differ"]].tolist() == [2, 0, 0]


@pytest.mark.parametrize("runs", [2, 20])
def test_bounds_are_over_requests(runs):
    """However often each of ten requests is asked: 1 − 0.05^(1/10)."""
    found = by_hand({f"q{i}": {"a": ["x"] * runs, "b": ["x"] * runs} for i in range(10)})
    assert found.table["bound"].tolist() == pytest.approx([1 - 0.05 ** (1 / 10)] * 2)
    assert found.table["bound_requests"].tolist() == pytest.approx([1 - 0.05 ** (1 / 10)] * 2)
    assert found.table["low"].tolist() == [0, 0]
    assert found.table["high"].tolist() == pytest.approx([1 - 0.025 ** (1 / 10)] * 2)
    assert repr(found).startswith(
        "No condition changed an answer; at 95 % confidence none changes more than 26 % of such requests and of such "
        "runs: were it more, 10 requests without a change would be rarer than 1 in 20."
    )
    assert (
        "all as alone; the same log probabilities. At 95 % confidence less than 26 % of such requests"
        in repr(found)
    )


def test_the_share_of_runs_is_a_mean_over_requests():
    """Of 4 requests one differs in 3 of 4 runs: alone in 3 of the 3 that are compared with the first."""
    odd = ["x", "y", "z", "w"]
    found = by_hand(
        {"q": {"a": odd, "b": odd}, **{f"r{i}": {"a": ["x"] * 4, "b": ["x"] * 4} for i in range(3)}}
    )
    assert found.table[["changed", "differ"]].to_numpy().tolist() == [[1, 3], [1, 3]]
    assert found.table["share"].tolist() == [1 / 4, 3 / 16]
    assert found.table["bound"].tolist() == [bound_of_mean([1, 0, 0, 0]), bound_of_mean([0.75, 0, 0, 0])]
    assert (found.table["low"].tolist(), found.table["high"].tolist()) == tuple(
        map(list, zip(interval_of_mean([1, 0, 0, 0]), interval_of_mean([0.75, 0, 0, 0]), strict=True))
    )
    assert found.table["bound_requests"].tolist() == [bound(1, 4)] * 2
    assert "no more than 76 % of such requests and" in repr(found)


def test_no_display_of_a_ladder_has_an_unknown_as_a_word_or_too_many_digits():
    drifted = [choice("xyz", shift=0.0123456), choice("xyz")]
    asked = {
        f"q{i}": {"a": ["xyz"] * 2, "b": drifted, "c": ["xyz", "xyw"], "d": [None], "e": ["p", "q"]}
        for i in range(3)
    }
    found = by_hand(asked, sampled=("e",))
    html = re.sub(r'style="[^"]*"', "", found._repr_html_())
    for display in (repr(found), html):
        assert not UNWANTED.search(display), UNWANTED.search(display)
    for name in ("changed", "bound_requests", "bound", "differ"):
        assert f">{name}</th>" in html
        assert f"<b>{name}</b>" in html  # and what it says
    assert ">high</th>" not in html
    assert "fp_" not in html


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_fork_whose_step_is_not_known_hides_no_other(order):
    runs = [choice("x"), choice("xy")], [choice("x", ids=False), choice("y", ids=False)]
    asked = {f"q{i}": {"a": [runs[i][0]] * 2, "b": [runs[i][1]] * 2} for i in order}
    found = by_hand(asked)
    assert found.table.loc["b", ["requests", "changed", "fork"]].tolist() == [2, 2, 1]
    assert "first at token 1;" in repr(found)


def test_forks_whose_steps_are_all_unknown_are_told_without_a_step():
    found = by_hand({"q": {"a": [choice("x", ids=False)], "b": [choice("y", ids=False)]}})
    assert "b, 1 request, 1 run: 1 request and 1 run differ from the answer alone; up to 1 different" in repr(
        found
    )
    assert found.table.loc["b", ["fork", "margin", "drift"]].isna().all()


def test_a_drift_that_is_not_known_hides_no_other():
    known = {"a": [choice("xy")], "b": [choice("xy", shift=0.25)]}
    unknown = {"a": [choice("xy", logprobs=False)], "b": [choice("xy", logprobs=False)]}
    for asked in ({"q": known, "r": unknown}, {"q": unknown, "r": known}):
        assert by_hand(asked).table.at["b", "drift"] == 0.25


def test_a_size_given_twice_is_one_condition(tiny):
    names = [rung.name for rung in _rungs(tiny, [4, 4, 2])]
    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith("batch") and "shuffled" not in name] == [
        "batch of 2",
        "batch of 4",
    ]


def test_two_variants_of_one_name_are_refused(tiny, db):
    same = [tk.Variant.of(tiny).with_("odd", max_num_seqs=n) for n in (8, 16)]
    with pytest.raises(
        ValueError, match="two conditions are called 'odd': give each variant a name of its own"
    ):
        tk.determinism_ladder(tiny, ["Hi"], n=2, sizes=[2], variants=same, store=db)
