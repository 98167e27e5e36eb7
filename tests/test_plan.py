from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from ngram_engine import NGramEngine

import toolkit as tk
from toolkit.errors import PriceError
from toolkit.store.rows import StoredCompletion

ROWS = [
    {"c": "France", "expected": "Paris"},
    {"c": "Japan", "expected": "Tokyo"},
    {"c": "Peru", "expected": "Lima"},
]
SWEEP = tk.sweep(
    "What is the capital of {c}?", ROWS, tk.grid(temperature=[0, 0.8], seed=range(2), max_tokens=12)
)
"""9 completions: three at temperature 0, six above it."""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("plan") / "run.db"


@pytest.fixture(scope="module")
def results(engine, path):
    return SWEEP.run(engine, path)


def test_a_plan_tells_everything_before_anything_runs(engine, db, tmp_path, monkeypatch):
    monkeypatch.setenv("TOOLKIT_HOME", str(tmp_path))  # no run of another test is remembered there
    plan = SWEEP.plan(engine, db)
    assert (plan.total, plan.stored, len(plan.missing)) == (9, 0, 9)
    prompts = [engine.count(f"What is the capital of {row['c']}?") for row in ROWS]
    assert plan.prompt_tokens == 3 * sum(prompts)
    assert plan.completion_tokens == (9, 9 * 12)
    assert plan.seconds is None
    assert "not known before this engine's first run" in repr(plan)
    assert "<table>" in plan._repr_html_()


def test_the_rate_so_far_bounds_how_long_the_rest_will_take(engine, path, results):
    more = tk.sweep(
        "What is the capital of {c}?", ROWS, tk.grid(temperature=1.2, seed=range(9), max_tokens=12)
    )
    plan = more.plan(engine, path)
    ran = results.costs().total
    used = ran["prompt_tokens"] - ran["cached_tokens"] + ran["completion_tokens"]
    assert plan.rate == pytest.approx(used / ran["machine_seconds"])
    least, most = plan.seconds
    assert least == pytest.approx(27 / plan.rate)  # every prompt in the prefix cache
    assert most == pytest.approx((plan.prompt_tokens + 27 * 12) / plan.rate)
    assert "tokens a second" in repr(plan)


def test_a_run_takes_what_the_plan_said_though_its_prompts_are_cached(engine, db):
    rows = [{"text": f"{name}: " + "a long story of many words, " * 24} for name in ("Ann", "Ben")]

    def asked(temperature):
        return tk.sweep("{text}", rows, tk.grid(temperature=temperature, seed=range(8), max_tokens=8))

    asked(1.0).run(engine, db)
    again = asked(1.1)
    least, most = again.plan(engine, db).seconds
    found = again.run(engine, db).costs().total
    assert found["cached_tokens"] > 0.9 * found["prompt_tokens"]
    assert least < found["machine_seconds"] < most


def test_bounds_of_what_it_costs(engine, db, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "toolkit.experiments.rates.toolkit_home", lambda: tmp_path
    )  # as if it had never run here
    longest = max(engine.count(f"What is the capital of {row['c']}?") for row in ROWS) + 12
    price = tk.ModelPrice("own", input=1, output=10, context_window=longest)
    sweep = tk.sweep(
        "What is the capital of {c}?", ROWS, tk.grid(temperature=1, n=2, min_tokens=3, max_tokens=12)
    )
    plan = sweep.plan(engine, db)
    tight, unknown = replace(price, context_window=20), replace(price, context_window=None)
    costs = plan.costs([price, tk.LocalPrice(per_hour=1), tight, unknown])
    assert costs["least"][0] == pytest.approx((plan.prompt_tokens * 1 + 3 * 2 * 3 * 10) / 1e6)
    assert costs["most"][0] == pytest.approx((plan.prompt_tokens * 1 + 3 * 2 * 12 * 10) / 1e6)
    assert costs["too_long"].tolist() == [0, 0, 3, pd.NA]  # of the two choices each has 12 tokens to itself
    assert costs["at"].tolist() == ["own", "this machine", "own", "own"]
    assert np.isnan(costs["most"][1])  # no rate yet
    with pytest.raises(PriceError, match="unknown model"):
        plan.costs(["no-such"])
    assert plan.costs([]).empty


@pytest.mark.parametrize("at", ["gpt-4o", tk.ModelPrice("own", 1, 10), tk.LocalPrice(per_hour=1)])
def test_one_price_may_be_given_by_itself(engine, db, at):
    plan = SWEEP.plan(engine, db)
    assert plan.costs(at).equals(plan.costs([at]))


@pytest.mark.parametrize(
    ("options", "least"), [({}, 30), ({"stop": ["e"]}, 1), ({"stop_token_ids": [2]}, 1), ({"stop": []}, 30)]
)
def test_to_the_end_is_as_long_as_it_can_be_unless_it_may_stop(engine, db, options, least):
    cells = tk.cases({"temperature": 0, "ignore_eos": True, "max_tokens": 30, **options})
    sweep = tk.sweep("What is the capital of France?", cells)
    assert sweep.plan(engine, db).completion_tokens == (least, 30)
    assert least <= sweep.run(engine, db).costs().total["completion_tokens"] <= 30


def test_what_will_not_fit_is_told(engine, db):
    rows = [{"text": "short"}, {"text": "word " * engine.window}]
    plan = tk.sweep("{text}", rows, tk.grid(max_tokens=4)).plan(engine, db)
    assert [r.messages[0]["content"] for r in plan.refused] == [rows[1]["text"]]
    assert "1 do not fit the window" in repr(plan)
    assert plan.prompt_tokens == engine.count("short")
    assert plan.completion_tokens == (1, 4)


def test_a_run_stops_at_its_tokens_and_goes_on(engine, db, capsys):
    results = SWEEP.run(engine, db, max_tokens=120)
    used = results.costs().total
    assert 0 < len(results) < 9
    assert used["spent_tokens"] <= 120
    assert (
        f"{len(results)} of 9 missing completions were asked; run again to go on" in capsys.readouterr().out
    )
    assert len(SWEEP.run(engine, db)) == 9
    assert "stopped" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("limits", "needed"),
    [
        ({"max_tokens": 20}, "{tokens} tokens"),
        ({"max_cost": 1e-5}, "{cost:.3g} US dollars"),
        ({"max_tokens": 20, "max_cost": 1e-5}, "{tokens} tokens and {cost:.3g} US dollars"),
    ],
)
def test_a_limit_below_the_next_request_says_what_it_needs(engine, db, capsys, limits, needed):
    price = tk.ModelPrice("own", input=1, output=10)
    assert len(SWEEP.run(engine, db, **limits, price=price)) == 0
    prompt = engine.count("What is the capital of France?")
    told = needed.format(tokens=prompt + 12, cost=(prompt + 120) / 1e6)
    assert (
        f"0 of 9 missing completions were asked; the next one alone may need {told}: raise the limit"
        in capsys.readouterr().out
    )


def test_a_run_stops_at_its_cost(engine, db):
    price = tk.ModelPrice("own", input=1, output=10)
    whole = SWEEP.plan(engine, db).costs(price)["most"][0]
    results = SWEEP.run(engine, db, max_cost=0.0004, price=price)
    assert 0 < len(results) < 9
    assert results.costs(price=price).total["spent"] <= 0.0004
    rest = 1.001 * SWEEP.plan(engine, db).costs(price)["most"][0]
    assert rest < whole
    assert len(SWEEP.run(engine, db, max_cost=rest, price=price)) == 9  # what is stored costs nothing


def test_a_run_stops_at_the_time_of_this_machine(engine, db):
    results = SWEEP.run(engine, db, max_cost=1e-9, price=tk.LocalPrice(per_hour=1))
    assert len(results) == 1  # the first answer has used it up
    assert len(SWEEP.run(engine, db)) == 9


def test_prices_are_looked_up_before_anything_is_asked(engine, db):
    with pytest.raises(PriceError, match="unknown model 'gpt4o'"):
        SWEEP.run(engine, db, max_cost=1, price="gpt4o")
    with pytest.raises(ValueError, match="max_cost needs a price"):
        SWEEP.run(engine, db, max_cost=1)
    assert SWEEP.plan(engine, db).stored == 0


def test_costs_by_setting(results):
    right = [row["expected"] for row in ROWS]
    found = results.costs(
        price=tk.ModelPrice("own", 1, 10), at=["gpt-4o"], score=lambda row: right[row["row"]] in row["text"]
    )
    frame = results.frame()
    for temperature, row in found.frame().iterrows():
        part = frame[frame["temperature"] == temperature]
        assert row["completions"] == len(part)
        assert row["completion_tokens"] == part["completion_tokens"].sum()
        assert row["cost"] == pytest.approx(
            (part["prompt_tokens"] + 10 * part["completion_tokens"]).sum() / 1e6
        )
        assert row["correct"] == pytest.approx(
            np.mean([right[r] in t for r, t in zip(part["row"], part["text"], strict=True)])
        )
    assert found.total["spent"] == pytest.approx(found.total["cost"])
    assert found.total["saved"] == 0
    assert found.total["machine_seconds"] == pytest.approx(found.frame()["machine_seconds"].sum())
    assert "gpt-4o from openai: 2.5 in" in repr(found)
    assert "at gpt-4o" in found._repr_html_()
    assert len(found.plot().axes) == 2
    assert len(results.costs().plot().axes) == 1


def test_energy_is_power_by_the_time_of_each_completion(engine, path, results):
    with pytest.raises(ValueError, match=r"what the device drew is not known of 3 of 3 completions: give"):
        results.costs(price=tk.LocalPrice(per_kwh=0.3))
    given = results.costs(price=tk.LocalPrice(per_kwh=0.3, watts=60)).total
    assert given["kwh"] == pytest.approx(given["machine_seconds"] * 60 / 3.6e6)
    assert given["cost"] == pytest.approx(given["kwh"] * 0.3)
    with tk.Store(path) as store:  # this machine does not tell: a run that was measured elsewhere
        for number, seconds in store.query("SELECT id, seconds FROM runs")[1]:
            assert seconds > 0
            store.end_run(number, seconds, 45 * seconds)
    told = results.costs(price=tk.LocalPrice(per_kwh=0.3))
    assert told.total["kwh"] == pytest.approx(told.total["machine_seconds"] * 45 / 3.6e6)
    assert told.frame()["kwh"].sum() == pytest.approx(told.total["kwh"])
    assert told.total["cost"] == pytest.approx(told.total["kwh"] * 0.3)


def test_what_another_sweep_had_asked_is_saved(engine, path, results):
    wider = tk.sweep(
        "What is the capital of {c}?", ROWS, tk.grid(temperature=[0, 0.8], seed=range(3), max_tokens=12)
    )
    found = wider.run(engine, path).costs(price=tk.LocalPrice(per_hour=1)).total
    own = results.costs(price=tk.LocalPrice(per_hour=1)).total
    assert found["completions"] == 12
    assert found["saved_tokens"] == own["spent_tokens"]
    assert found["saved"] + found["spent"] == pytest.approx(found["cost"])
    assert tk.results(path).costs().total["saved_tokens"] == 0  # all of it was asked once


def test_failed_attempts_are_counted_with_the_tokens_that_they_used(engine, db):
    rows = [{"text": "short"}, {"text": "word " * engine.window}]
    sweep = tk.sweep("{text}", rows, tk.grid(temperature=0, max_tokens=2))
    sweep.run(engine, db)
    found = sweep.run(engine, db).costs(price=tk.ModelPrice("own", 1, 1)).total
    assert found["failed_attempts"] == 2  # asked again by the second run
    assert found["spent_on_failures"] == 0  # refused before the model saw it
    assert found["completions"] == 1


def test_an_attempt_that_failed_half_way_has_used_tokens(engine, db):
    results = SWEEP.run(engine, db)
    c = results[0]
    failed = replace(c, choices=(tk.Choice(0, "", "error"),), usage=tk.Usage(7, 3), error="it broke")
    with tk.Store(db) as store:
        ((run,),) = store.query("SELECT id FROM runs")[1]
        store.add([StoredCompletion(failed, 0, run)])
    found = SWEEP.run(engine, db).costs(price=tk.ModelPrice("own", 1, 10)).total
    assert found["failed_attempts"] == 1
    assert found["spent_on_failures"] == pytest.approx((7 + 30) / 1e6)
    assert found["completions"] == 9


def test_tables_from_files_know_what_they_cost_and_not_who_asked(results, tmp_path):
    again = tk.Results.from_parquet(results.to_parquet(tmp_path / "r.parquet"))
    price = tk.ModelPrice("own", 1, 10)
    own, there = (r.costs(price=price).total for r in (results, again))
    assert there["cost"] == pytest.approx(own["cost"])
    assert np.isnan(there["spent"])


# Choices of one seed

LETTERS = NGramEngine("abcdefghijklmnopqrstuvwxyz \n")


@pytest.mark.parametrize(
    ("cells", "shared", "choices"),
    [
        (tk.grid(n=[3], seed=range(5)), 8, 15),  # seeds 0 to 6, of 15 choices
        (tk.grid(n=[3], seed=[0, 3, 6]), 0, 9),
        (tk.grid(n=[3], seed=[0, 2, 6]), 1, 9),
        (tk.grid(n=[1, 3], seed=[5]), 1, 4),
        (tk.grid(n=[2], seed=[0, 1], temperature=[0.5, 1.0]), 2, 8),
        (tk.grid(n=[2], seed=[2**63 - 4, 2**63 - 3]), 1, 4),
        (tk.grid(n=[1], seed=range(5)), 0, 5),
        (tk.grid(n=[4]), 0, 4),
        (tk.grid(seed=range(5)), 0, 5),
        (tk.grid(temperature=[0], seed=range(5)), 0, 1),
    ],
)
def test_a_plan_tells_that_consecutive_seeds_share_choices(tmp_path, cells, shared, choices):
    note = tk.sweep("say a word", cells).plan(LETTERS, tmp_path / "run.db").note()
    if shared:
        assert note == (
            f"choice j of seed s is drawn with seed s + j: of {choices} choices {shared} repeat the draw of another "
            "seed. Take seeds that are n apart"
        )
    else:
        assert "drawn with seed" not in note


def test_other_prompts_share_no_choices(tmp_path):
    rows = [{"w": word} for word in ("a", "b")]
    plan = tk.sweep("say {w}", rows, tk.grid(n=[2], seed=[0, 5])).plan(LETTERS, tmp_path / "run.db")
    assert plan.note() == ""
    shared = tk.sweep("say {w}", rows, tk.grid(n=[2], seed=[0, 1])).plan(LETTERS, tmp_path / "run.db")
    assert "of 8 choices 2 repeat" in repr(shared)
    assert "of 8 choices 2 repeat" in shared._repr_html_()


def test_both_notes_are_told(tmp_path):
    cells = tk.grid(n=[2], seed=[0, 1]) + tk.grid(temperature=[0], seed=[0, 1])
    note = tk.sweep("say a word", cells).plan(LETTERS, tmp_path / "run.db").note()
    assert note.startswith("4 combinations are 3 cells")
    assert ". choice j of seed s" in note


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4)), max_size=6, unique=True))
def test_shared_seeds_are_counted_as_one_by_one(pairs):
    from toolkit.core.request import Request
    from toolkit.experiments.plan import _shared_seeds

    requests = [Request.chat("a", seed=seed, n=n).resolve({}) for seed, n in pairs]
    seen, shared, total = set(), 0, 0
    for seed, n in pairs:
        for j in range(n):
            shared, total = shared + (seed + j in seen), total + 1
            seen.add(seed + j)
    expected = (shared, total) if any(n > 1 for _, n in pairs) else (0, 0)
    assert _shared_seeds(requests) == expected
