import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from matplotlib.text import Text

import toolkit as tk
from toolkit._internal.intervals import mean_share
from toolkit._internal.value_text import money_texts, short_number
from toolkit.core.choice import Choice
from toolkit.core.completion import Usage
from toolkit.core.fingerprint import Fingerprint
from toolkit.pricing.costs import cost_per_row, priced
from toolkit.pricing.machine_time import attributed, decoding_rate, machine_seconds, per_completion
from toolkit.pricing.pareto import pareto
from toolkit.pricing.prices import LocalPrice, ModelPrice, Tier, model_price
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.store.store import Store


def completions(rows, fingerprint="fp_a"):
    """(begin, end, tokens) of each, on one engine."""
    return pd.DataFrame(
        {
            "request": [str(i) for i in range(len(rows))],
            "system_fingerprint": fingerprint,
            "repeat": 0,
            "prompt_tokens": 0,
            "cached_tokens": 0,
            "completion_tokens": [tokens for _, _, tokens in rows],
            "seconds": [end - begin for begin, end, _ in rows],
            "created": [end for _, end, _ in rows],
        }
    )


def test_a_completion_counts_once_however_many_rows_show_it():
    rows = [
        # A request of two choices, in two cells of two sweeps.
        {
            "sweep": s,
            "request": "r",
            "choice": c,
            "completion_tokens": 10 + c,
            "prompt_tokens": 7,
            "cached_tokens": 2,
        }
        for s in ("a", "b")
        for c in (0, 1)
    ]
    rows += [
        {
            "sweep": "a",
            "request": "q",
            "choice": 0,
            "completion_tokens": 5,
            "prompt_tokens": 3,
            "cached_tokens": 0,
        }
    ]
    times = {
        "seconds": 1.0,
        "queued_seconds": 0.05,
        "first_token_seconds": 0.1,
        "decode_seconds": 0.9,
        "created": 5.0,
        "system_fingerprint": "fp",
        "repeat": 0,
    }
    found = per_completion(pd.DataFrame([{**row, **times} for row in rows])).set_index("request")
    assert found.loc["r", ["prompt_tokens", "cached_tokens", "completion_tokens"]].tolist() == [7, 2, 21]
    assert found.loc["q", ["prompt_tokens", "cached_tokens", "completion_tokens"]].tolist() == [3, 0, 5]
    assert found["choices"].to_dict() == {"r": 2, "q": 1}
    assert len(found) == 2


def test_every_token_of_an_engine_has_the_same_share_of_its_time():
    # Two from 0 to 10 with 30 and 10 tokens; one alone from 20 to 23.
    found = machine_seconds(completions([(0, 10, 30), (0, 10, 10), (20, 23, 5)]))
    assert found == pytest.approx(13 / 45 * np.array([30, 10, 5]))


def test_who_computed_a_prompt_that_others_found_in_the_cache_does_not_pay_for_them():
    table = completions([(0, 6, 10), (0, 6, 10)]).assign(prompt_tokens=[50, 50], cached_tokens=[40, 0])
    assert machine_seconds(table) == pytest.approx([3, 3])


scheduled = st.tuples(
    st.integers(0, 2),
    st.integers(0, 40),
    st.integers(1, 10),
    st.integers(1, 50),
    st.integers(0, 50),
    st.floats(0, 1),
)


@given(st.lists(scheduled, min_size=2, max_size=12), st.lists(scheduled, max_size=12))
def test_the_order_of_settings_by_cost_does_not_depend_on_what_ran_beside_them(some, others):
    """However others and they were batched, and whoever found a prompt in the cache: the costs of settings, of a
    completion of each on average, are to each other as their tokens."""

    def means(drawn):
        setting, begin, length, prompt, generated, cached = map(np.array, zip(*drawn, strict=True))
        table = completions(list(zip(begin, begin + length, generated, strict=True)))
        table = table.assign(prompt_tokens=prompt, cached_tokens=np.floor(cached * prompt), watts=begin + 1.0)
        costs = priced(attributed(table).reset_index(), LocalPrice(per_hour=2, per_kwh=1))[: len(some)]
        groups = pd.Series(costs).groupby(setting[: len(some)])
        return groups.mean() / costs.mean(), pd.Series(prompt + generated)[: len(some)].groupby(
            setting[: len(some)]
        )

    alone, tokens = means(some)
    beside, _ = means([*some, *others])
    moved, _ = means([(s, 7 * i, length, *rest, 0.0) for i, (s, _, length, *rest, _) in enumerate(some)])
    expected = tokens.mean() / np.mean([p + g for _, _, _, p, g, _ in some])
    for ratios in (alone, beside, moved):
        assert ratios.to_numpy() == pytest.approx(expected.to_numpy())


def test_a_setting_costs_as_much_beside_another_as_alone_to_those_it_is_compared_with(store, made):
    """Of notebook 04: temperature 0 ran first, computed the prompts and had a batch to itself."""

    def timed(case, begin, seconds, cached, steps):
        answer = made(messages=case, steps=steps)
        return {"case": case}, replace(
            answer,
            created=begin + seconds,
            seconds=seconds,
            usage=replace(answer.usage, cached_tokens=cached),
        )

    run = [timed("cold", 0, 10, 0, 2), timed("warm", 10, 1, 7, 3), timed("beside", 10, 1, 7, 9)]
    results = ran(store, "s", run)
    price = LocalPrice(per_hour=3600)
    table = results.costs("case", price, at=PRICE).table
    assert table["cost"].sort_values().index.tolist() == table["at own"].sort_values().index.tolist()
    assert table["cost"].to_dict() == pytest.approx(
        {"cold": 11 * 9 / 35, "warm": 11 * 10 / 35, "beside": 11 * 16 / 35}
    )
    assert table["machine_share"].sum() == pytest.approx(1)
    part = results.filter(case=["cold", "warm"]).costs("case", price).table
    assert part["cost"].to_dict() == pytest.approx(table["cost"].drop("beside").to_dict())


def test_a_failed_attempt_costs_by_its_tokens_at_the_rate_of_its_engine(store, made):
    answer = made()  # 10 tokens in half a second
    costs = ran(store, "s", [({}, answer)], failed=[answer]).costs(price=LocalPrice(per_hour=3600))
    assert costs.total["spent_on_failures"] == pytest.approx(0.5 * 6 / 10)
    refused = replace(made(messages="b", error="too long"), usage=Usage(0, 0))
    with store._writing():
        store._add_failure(
            StoredCompletion(replace(refused, system_fingerprint=FINGERPRINT.id), 0, 1), "too long"
        )
    assert tk.results(store).costs(price=LocalPrice(per_hour=3600)).total[
        "spent_on_failures"
    ] == pytest.approx(0.3)


def test_the_decoding_rate_counts_the_tokens_after_the_first():
    table = pd.DataFrame(
        {
            "completion_tokens": [11, 1, 8, np.nan, 5],
            "choices": [1, 1, 2, 1, 1],
            "decode_seconds": [2.0, 0.0, 1.0, 9.0, np.nan],
        }
    )
    assert decoding_rate(table) == pytest.approx((10 + 6) / 3)
    assert np.isnan(decoding_rate(table[3:]))
    assert np.isnan(decoding_rate(table[1:2]))  # one token has no rate


def test_queued_first_token_and_decoding_time_are_kept_apart(store, made):
    answer = replace(made(steps=5), seconds=196.0, queued_seconds=194.0, first_token_seconds=195.0)
    assert (answer.decode_seconds, answer.tokens_per_second) == (1.0, 4.0)
    assert "stop, 7 + 5 tokens, 196 s (194 s of it queued), by-hand, fingerprint fp_" in repr(answer)
    unknown = replace(made(messages="b"), seconds=1.0, queued_seconds=None, first_token_seconds=None)
    assert (unknown.decode_seconds, unknown.tokens_per_second) == (None, None)
    results = ran(store, "s", [({"case": "a"}, answer), ({"case": "b"}, unknown)])
    frame = results.frame()
    assert frame["queued_seconds"].fillna(-1).tolist() == [194, -1]
    assert frame["decode_seconds"].fillna(-1).tolist() == [1, -1]
    table = results.costs("case").table
    assert table["tokens_per_second"].fillna(-1).tolist() == [4, -1]
    assert table["queued_seconds"].fillna(-1).tolist() == [194, -1]
    assert "latency" not in repr(results.costs("case"))


def test_engines_do_not_share_their_time_and_unknown_seconds_stay_unknown():
    both = pd.concat([completions([(0, 10, 1)]), completions([(0, 10, 1)], "fp_b")], ignore_index=True)
    assert machine_seconds(both) == pytest.approx([10, 10])
    table = completions([(0, 10, 1), (5, 6, 1)])
    table.loc[1, "seconds"] = np.nan
    assert np.isnan(machine_seconds(table)).tolist() == [False, True]
    assert len(machine_seconds(table[:0])) == 0


spans = st.tuples(st.integers(0, 40), st.integers(0, 10), st.integers(0, 50))


@given(st.lists(spans, min_size=1, max_size=12), st.randoms())
def test_the_shares_add_up_to_the_time_in_which_anything_ran(drawn, random):
    rows = [(begin, begin + length, tokens) for begin, length, tokens in drawn]
    union = {t for begin, end, _ in rows for t in range(begin, end)}  # in whole seconds
    found = machine_seconds(completions(rows))
    assert found.sum() == pytest.approx(len(union))
    order = list(range(len(rows)))
    random.shuffle(order)
    assert machine_seconds(completions([rows[i] for i in order])) == pytest.approx(found[order])


def test_prices_of_a_machine_and_of_a_provider():
    table = completions([(0, 3600, 1000), (7200, 9000, 500)]).assign(prompt_tokens=[100, 0])
    table = table.assign(machine_seconds=machine_seconds(table), watts=np.nan)
    assert priced(table, LocalPrice(per_hour=2)) == pytest.approx([3 * 1100 / 1600, 3 * 500 / 1600])
    assert priced(table, ModelPrice("m", 1, 10)) == pytest.approx([(100 + 10_000) / 1e6, 5000 / 1e6])


@pytest.mark.parametrize(
    ("cost", "quality", "front"),
    [
        ([1, 2, 3], [0.1, 0.5, 0.4], [True, True, False]),
        ([1, 1, 1], [0.1, 0.5, 0.5], [False, True, True]),  # equal points stay together
        ([2, 1], [0.5, 0.5], [False, True]),
        ([1, np.nan, 0.5], [0.5, 0.9, np.nan], [True, False, False]),
        ([], [], []),
    ],
)
def test_the_front_of_cost_and_quality(cost, quality, front):
    assert pareto(cost, quality).tolist() == front


points = st.tuples(st.sampled_from([0, 1, 2, 3, np.nan]), st.sampled_from([0, 0.5, 1, np.nan]))


@given(st.lists(points, max_size=12))
def test_nothing_on_the_front_is_beaten_and_all_else_is(drawn):
    def beaten(i):
        (c, q) = drawn[i]
        return any(d <= c and r >= q and (d < c or r > q) for d, r in drawn)

    expected = [not (np.isnan(c) or np.isnan(q)) and not beaten(i) for i, (c, q) in enumerate(drawn)]
    assert pareto([c for c, _ in drawn], [q for _, q in drawn]).tolist() == expected


def test_points_need_both_numbers():
    with pytest.raises(ValueError, match="must be of one length, got 2 and 1"):
        pareto([1, 2], [1])


FINGERPRINT = Fingerprint({"model": "by-hand", "tokenizer": "t", "generation_config": {}})
PRICE = ModelPrice("own", input=1_000_000, output=10_000_000)  # dollars: 1 a prompt token, 10 a generated one
ONE = 7 + 3 * 10
"""What an answer of `made` costs at PRICE, with a choice of three tokens."""
LOST = 5 + 10
"""What a failed attempt of `ran` costs."""


def ran(store, sweep, answers, rows=(), failed=()):
    """Stores [(labels, completion)] as a run of a sweep would that finds some there, and attempts that failed."""
    run = store.begin_run(sweep, FINGERPRINT, [])
    own = [(labels, replace(c, system_fingerprint=FINGERPRINT.id)) for labels, c in answers]
    store.add([StoredCompletion(c, 0, run) for _, c in own])
    broken = {"choices": (Choice(0, "", "error"),), "usage": Usage(5, 1), "error": "it broke"}
    store.add(
        [StoredCompletion(replace(c, system_fingerprint=FINGERPRINT.id, **broken), 0, run) for c in failed]
    )
    cells = [Cell(c.request.key, 1, labels) for labels, c in own]
    store.define(sweep, {"rows": list(rows), "prompts": ["?"]}, [c.request for _, c in own], cells)
    return tk.Results.of(store, sweep=sweep)


@pytest.fixture
def store(db):
    return Store(db)


def said(word):
    return lambda row: float(row["text"] == word)


def test_an_answer_costs_what_failed_too_whether_it_was_stored_or_not(store, made):
    old, new = made("yes", messages="a"), made("yes", messages="b")
    ran(store, "before", [({}, old)])
    found = ran(store, "s", [({}, old), ({}, new)], failed=[new, new]).costs(price=PRICE, score=said("yes"))
    assert found.total["saved"] == found.total["spent"] == ONE
    assert found.total["spent_on_failures"] == 2 * LOST
    for name in ("cost_per_completion", "cost_per_correct"):
        assert found.total[name] == (2 * ONE + 2 * LOST) / 2
    nothing = ran(store, "s", []).costs(price=PRICE, score=said("no")).total
    assert nothing["cost_per_correct"] == np.inf


def test_failures_are_charged_to_the_sweep_and_the_completion_that_had_them(store, made):
    one, two = made(messages="a"), made(messages="b")
    first = ran(store, "first", [({"case": "x"}, one), ({"case": "y"}, two)], failed=[one])
    second = ran(store, "second", [({}, one)], failed=[one, one])
    assert [r.costs().total["failed_attempts"] for r in (first, second)] == [1, 2]
    assert second.costs(price=PRICE).total["spent_on_failures"] == 2 * LOST
    assert first.costs(by="case").frame()["failed_attempts"].to_dict() == {"x": 1, "y": 0}
    everything = tk.results(store)
    assert everything.costs(by="sweep").frame()["failed_attempts"].to_dict() == {"first": 1, "second": 2}
    assert everything.costs().total["failed_attempts"] == 3


def test_every_choice_is_an_answer(store, made):
    found = ran(store, "s", [({}, made(n=3, temperature=1))])
    total = found.costs(price=PRICE, score=lambda row: float(row["choice"] > 0)).total
    assert total["correct"] == pytest.approx(2 / 3)
    assert total["cost"] == 7 + 9 * 10
    assert total["cost_per_correct"] == (7 + 9 * 10) / 2
    assert total["cost_per_completion"] == total["cost"]


def test_an_answer_to_two_rows_of_data_can_be_right_for_one(store, made):
    answer = made("Paris.")
    rows = [{"expected": "Paris."}, {"expected": "Rome."}, {"expected": "Paris."}]
    found = ran(store, "s", [({"row": i}, answer) for i in range(3)], rows)
    ran(store, "again", [({"row": i}, answer) for i in range(3)], rows)
    for results in (found, tk.results(store)):  # of two sweeps the same answers, paid once
        total = results.costs(price=PRICE, score=lambda row: row["text"] == row["row.expected"]).total
        assert total["correct"] == pytest.approx(2 / 3)
        assert total["cost_per_correct"] == ONE / 2


def test_what_a_valid_answer_costs(store, made):
    form = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    texts = ['{"a": 1}', '{"a": "x"}', "prose", '{"a": 2}']
    answers = [({}, made(text, messages=text, response_format=form)) for text in texts]
    plain = ({}, made("no form"))
    total = ran(store, "s", [*answers, plain]).costs(price=PRICE).total
    assert total["valid"] == 0.5  # of those that have a form
    assert total["cost_per_valid"] == 5 * ONE / 2
    assert "correct" not in total


def test_errors_are_not_scored(store, made):
    def score(row):
        assert row["text"]
        return np.float32(0.5)

    results = ran(store, "s", [({}, made("yes", messages="a")), ({}, made(messages="b", error="too long"))])
    assert results.costs(score=score).total["correct"] == 0.5


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (3, r"score must be a function from a row of frame\(\) to a number, got 3"),
        (lambda row: None, "score must give a number from 0 to 1, got None for 'Paris.'"),
        (lambda row: "good", "score must give a number from 0 to 1, got 'good' for 'Paris.'"),
    ],
)
def test_bad_scores(store, made, score, message):
    with pytest.raises(TypeError, match=message):
        ran(store, "s", [({}, made())]).costs(score=score)


def test_one_model_may_be_given_by_itself(store, made):
    results = ran(store, "s", [({}, made())])
    expected = float(model_price("gpt-4o").of(7, 3))
    assert results.costs(at="gpt-4o").total["at gpt-4o"] == expected
    assert results.costs(at=PRICE).total["at own"] == ONE


def test_two_sellers_of_a_model_have_a_column_each(store, made):
    results = ran(store, "s", [({}, made())])
    offers = [ModelPrice("m", 1e6, 0, provider="a"), ModelPrice("m", 2e6, 0, provider="b"), PRICE]
    total = results.costs(at=offers).total
    assert {n: v for n, v in total.items() if n.startswith("at ")} == {
        "at m (a)": 7, "at m (b)": 14, "at own": ONE,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"at must name different models or providers, got own: .*, own: "):
        results.costs(at=[PRICE, ModelPrice("own", 1, 1)])


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_a_table_from_a_file_does_not_know_what_failed(store, made, tmp_path, kind):
    failed = made(messages="b", error="too long")
    results = ran(store, "s", [({}, made("yes", messages="a")), ({}, failed)], failed=[failed])
    assert results.costs(price=PRICE).total["failed_attempts"] == 2
    path = getattr(results, f"to_{kind}")(tmp_path / f"r.{kind}")
    total = getattr(tk.Results, f"from_{kind}")(path).costs(price=PRICE, score=said("yes")).total
    assert np.isnan(total[["failed_attempts", "spent_on_failures", "spent", "saved"]].astype(float)).all()
    assert total["cost"] == total["cost_per_correct"] == ONE  # what is known of it


@pytest.mark.parametrize("by", [None, "case", ["case", "model"]])
def test_no_completions_cost_nothing(store, made, by):
    empty = ran(store, "s", [({"case": "x"}, made())]).filter(model="none")
    full, none = (r.costs(by, PRICE, ["gpt-4o"], said("x")) for r in (tk.results(store), empty))
    assert set(full.table) <= set(none.table)
    assert len(none.table) == 0
    assert none.total["cost"] == 0
    assert none.plot().axes
    assert "Costs" in repr(none)
    assert "<table" in none._repr_html_()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("by", "index"),
    [
        ("row.tags", [("a",), ("a", "b")]),
        (["row.tags", "case"], [(("a",), "x"), (("a", "b"), "x")]),
    ],
)
def test_lists_of_the_data_may_be_settings(store, made, by, index):
    rows = [{"tags": ["a"]}, {"tags": ["a", "b"]}]
    answers = [({"row": i, "case": "x"}, made(messages=f"{i}")) for i in range(2)]
    found = ran(store, "s", answers, rows).costs(by, PRICE, score=said("Paris."))
    assert found.table.index.tolist() == index
    assert found.table["completions"].tolist() == [1, 1]
    assert "row.tags ('a', 'b')" in found.plot().axes[0].get_yticklabels()[1].get_text()
    assert "(&#x27;a&#x27;, &#x27;b&#x27;)" in found._repr_html_()


def test_the_front_is_of_the_cost_of_a_completion(store, made):
    few = [({}, made("no", messages="few", temperature=0, steps=4))]
    many = [({}, made("yes", messages="many", temperature=1, seed=seed)) for seed in range(4)]
    found = ran(store, "s", [*few, *many]).costs("temperature", PRICE, score=said("yes"))
    assert found.table["cost"].tolist() == [47, 4 * ONE]
    assert found.table["cost_per_completion"].tolist() == [47, ONE]
    axis = found.plot().axes[1]
    assert axis.get_xlabel() == "cost of a completion (US dollars)"
    dots, front = (c.get_offsets().tolist() for c in axis.collections)
    assert dots == [[47, 0], [ONE, 1]]
    assert front == [[ONE, 1]]  # though all four of them cost more
    assert [text.get_text() for text in axis.texts] == ["temperature 0, n = 1", "temperature 1, n = 4"]
    assert {tuple(line.get_ydata()) for line in axis.lines} >= {
        tuple(found.table[["correct_low", "correct_high"]].loc[temperature]) for temperature in (0, 1)
    }


def test_the_names_of_points_do_not_cover_each_other(store, made):
    """Ten settings of the same cost and quality, and long names."""
    answers = [
        ({"case": f"{i} " + "a long name of a setting " * 2}, made(messages=f"{i}")) for i in range(10)
    ]
    found = ran(store, "s", answers).costs("case", PRICE, score=said("Paris."))
    figure = found.plot()
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in figure.axes[1].texts]  # without the line to its point
    assert len(boxes) == 10
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    width, height = figure.canvas.get_width_height()
    assert min(min(box.x0, box.y0) for box in boxes) >= 0
    assert max(box.x1 for box in boxes) <= width
    assert max(box.y1 for box in boxes) <= height
    tokens = figure.axes[0].patches
    assert {bar.get_width() for bar in tokens} == {7, 3}  # of a completion


def test_other_prices_of_each_setting_by_hand(store, made):
    """Three settings of 1, 2 and 4 answers, of 7 prompt tokens (2 cached) and 3 generated ones each."""
    answers = [
        ({"case": case}, made(messages=f"{case}{i}"))
        for case, n in (("x", 1), ("y", 2), ("z", 4))
        for i in range(n)
    ]
    found = ran(store, "s", answers).costs("case", PRICE)
    price = ModelPrice("other", input=2e6, output=3e6, cached=1e6, per_request=0.5)
    one = 7 * 2 + 3 * 3 + 0.5
    each, total = found.at(price)
    assert each.to_dict() == {"x": one, "y": 2 * one, "z": 4 * one}
    assert total == 7 * one
    assert found.at(price, cached=True)[1] == 7 * (one - 2 * 1)
    assert found.at(PRICE)[0].tolist() == found.table["cost"].tolist()
    # Each took half a second, all of them at once.
    each, total = found.at(LocalPrice(per_hour=7200))
    assert total == pytest.approx(1)
    assert each.tolist() == pytest.approx([1 / 7, 2 / 7, 4 / 7])
    assert found.at(LocalPrice(per_hour=7200), cached=True)[1] == pytest.approx(1)


def test_tiers_go_by_the_length_of_each_prompt(store, made):
    """Seven prompt tokens each: no tier above 7 is reached, however many there are together."""
    found = ran(store, "s", [({}, made(messages=f"{i}")) for i in range(5)]).costs()
    tiers = (Tier(6, input=10e6, output=0), Tier(7, input=100e6, output=0))
    assert found.at(ModelPrice("tiered", 1e6, 0, tiers=tiers))[1] == 5 * 7 * 10


def test_settings_that_share_completions_are_one_in_all(store, made):
    answer = made()
    found = ran(store, "s", [({"case": "x"}, answer), ({"case": "y"}, answer)]).costs("case")
    each, total = found.at(PRICE)
    assert each.tolist() == [ONE, ONE]
    assert total == ONE


def test_the_front_needs_a_quality_and_a_cost(store, made):
    results = ran(store, "s", [({}, made("no", temperature=0, steps=4)), ({}, made("yes", temperature=1))])
    found = results.costs("temperature", PRICE, score=said("yes"))
    assert found.quality == "correct"
    assert found.front().tolist() == [False, True]
    assert found.front([1, 2]).tolist() == [True, True]
    unpaid = results.costs("temperature", score=said("yes"))
    assert unpaid.front() is None
    assert unpaid.front([1, 1]).tolist() == [False, True]
    assert results.costs("temperature", PRICE).front([1, 1]) is None


def test_says_what_was_spent_saved_and_lost(store, made):
    old, new = made("yes", messages="a"), made("no", messages="b")
    cut = replace(made(messages="c"), choices=(replace(made().choices[0], finish_reason="length"),))
    ran(store, "before", [({}, old)])
    results = ran(store, "s", [({}, old), ({}, new), ({}, cut)], failed=[new])
    assert results.costs(by=[], price=PRICE, score=said("yes")).sentences() == [
        "3 completions of 21 prompt tokens (6 of them cached by the engine) and 9 generated.",
        "Asked by these runs: 20 tokens, US$ 74. Found in the store, and not asked again: 10 tokens, US$ 37.",
        "Lost: 1 completion cut at max_tokens or the window, 1 failed attempt (US$ 15).",
        "No setting is both cheaper and better (correct) than: all, 33.3 % (6.1 to 79.2 %, n = 3) (the Pareto "
        "front).",
    ]
    assert results.costs().sentences()[1:] == [
        "Asked by these runs: 20 tokens. Found in the store, and not asked again: 10 tokens.",
        "Lost: 1 completion cut at max_tokens or the window, 1 failed attempt.",
    ]
    shown = results.costs(price=PRICE)._repr_html_()
    for name in ("cost (US$)", "machine_seconds (s)", "cut"):
        assert f">{name}</t" in shown


def test_a_file_says_nothing_of_what_was_asked(store, made, tmp_path):
    path = ran(store, "s", [({}, made())]).to_jsonl(tmp_path / "r.jsonl")
    said = tk.Results.from_jsonl(path).costs().sentences()
    assert [line.split(" ")[0] for line in said] == ["1", "Lost:"]


def test_a_completions_cost_is_shared_by_its_choices(store, made):
    two, failed = made(messages="two", n=2, temperature=1), made(messages="failed", error="full")
    results = ran(store, "s", [({}, two), ({}, made(messages="one")), ({}, failed), ({}, two)])
    each = cost_per_row(results._table, store, PRICE)
    known = results._table["finish_reason"] != "error"
    assert np.isnan(each[~known]).all()
    # 7 tokens of the prompt once, and three generated by each choice.
    both = float(PRICE.of(7, 6))
    for (request, _), rows in results._table[known].assign(cost=each[known]).groupby(["request", "sweep"]):
        expected = [both / 2] * 4 if request == two.request.key else [ONE]
        assert rows["cost"].tolist() == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (1, "1"), (0.5, "0.5"), (0.428571, "0.4286"), (1036, "1,036"), (9999.6, "10k"), (12345, "12.34k"),
        (123_456, "123.5k"), (1_234_567, "1.235M"), (0.0000926, "0.0000926"), (-3.14159, "-3.142"), (999.96, "1,000"),
        (None, "–"), (np.nan, "–"), (np.inf, "∞"),
    ],
)  # fmt: skip
def test_numbers_have_four_significant_digits(value, text):
    assert short_number(value) == text


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.000926, 0.001733, 0.00431592], ["0.000926", "0.001733", "0.004316"]),
        ([201, 94, 74, 369], ["201", "94", "74", "369"]),
        ([0.5, 1], ["0.5", "1.0"]),
        ([1.5, 0, None, np.nan, np.inf], ["1.5", "0", "–", "–", "∞"]),
        ([201.5, 0.0009], ["201.5", "<0.1"]),
        ([12345.6, 3], ["12.35k", "3"]),
        ([], []),
    ],
)
def test_money_has_one_format_in_a_column(values, texts):
    assert money_texts(values) == texts


def significant(text):
    """The numbers in a text, with the number of their significant digits."""
    for number in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?", text):
        whole, _, decimals = number.replace(",", "").partition(".")
        digits = (whole + decimals).lstrip("0") if decimals else whole.rstrip("0").lstrip("0")
        yield number, len(digits)


@pytest.mark.parametrize("settings", [3, 12])
def test_no_display_has_words_of_pandas_or_long_numbers(store, made, settings):
    draw = np.random.default_rng(1)
    answers = []
    for i in range(settings):
        answer = made(
            f"{draw.random() < 0.5}", messages=f"{i}" * 5, steps=int(draw.integers(1, 90)), temperature=i / 9
        )
        answer = replace(answer, seconds=float(draw.uniform(1, 2000)), queued_seconds=None if i else 1 / 3)
        labels = {"case": f"c{i}"} if i else {}
        answers.append(
            (
                labels,
                replace(answer, usage=Usage(int(draw.integers(1, 10**6)), answer.usage.completion_tokens)),
            )
        )
    costs = ran(store, "s", answers).costs(
        ["case"], LocalPrice(per_hour=1.23456), at=["gpt-4o"], score=said("True")
    )
    table = "\n".join(repr(costs).split("\n")[: -len(costs.notes())])
    html = re.sub("<[^>]*>", " ", costs._repr_html_().split("<ul>")[1])
    for shown in (table, html):
        assert not re.search(
            r"\bnan\b|<NA>|NaT|None", shown.replace("case nan", "")
        )  # names: `setting_labels`
        assert [n for n, digits in significant(shown) if digits > 4] == []
    assert "–" in table


def coverage(items, repeats, alike, runs=1500):
    """How often the interval holds the chance of a right answer, which is from 0.1 to 0.9. alike: all answers to an
    item are equal."""
    draw, held = np.random.default_rng(items), 0
    for _ in range(runs):
        chance = draw.uniform(0.1, 0.9)
        scores = draw.random((items, 1 if alike else repeats)) < chance
        scores = np.broadcast_to(scores, (items, repeats))
        _, (low, high), n = mean_share(scores.ravel(), np.repeat(np.arange(items), repeats))
        assert n == items
        held += low <= chance <= high
    return held / runs


@pytest.mark.parametrize("items", [5, 10, 50, 200])
def test_the_interval_of_a_quality_holds_the_mean(items):
    """With equal answers to an item as often as it says; with different ones more often, since it counts items."""
    assert coverage(items, 3, alike=True) == pytest.approx(0.95, abs=0.02)
    assert coverage(items, 3, alike=False) > 0.96


def test_the_interval_of_a_quality_by_hand():
    # Wilson's interval of 8 in 10: 0.490 to 0.943 (Agresti and Coull 1998 have it for 8 of 10).
    mean, (low, high), items = mean_share([1] * 8 + [0] * 2, range(10))
    assert (mean, items) == (0.8, 10)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    twice = mean_share([1] * 16 + [0] * 4, [*range(8), *range(8), 8, 8, 9, 9])
    assert twice == (0.8, pytest.approx((low, high)), 10)
    assert mean_share([1.0, np.nan], ["a", "b"])[1] == pytest.approx((0.2065, 1), abs=1e-4)
    for scores in ([], [np.nan], [2.0, 0.5]):
        assert np.isnan(mean_share(scores, range(len(scores)))[1]).all()


def test_the_items_of_an_interval_are_the_rows_of_data(store, made):
    rows = [{"word": word} for word in "abc"]
    answers = [
        ({"row": r, "case": "x"}, made("yes", messages=f"{r}", temperature=1, seed=s))
        for r in range(3)
        for s in range(4)
    ]
    table = ran(store, "s", answers, rows).costs("case", score=said("yes")).table
    assert table["correct_items"].tolist() == [3]
    assert table["correct_low"].tolist() == pytest.approx([0.4385], abs=1e-4)  # 3 of 3, not 12 of 12
    each = tk.results(store).costs("row.word", score=said("yes")).table
    assert each["correct_items"].tolist() == [4, 4, 4]  # of one row: its completions


def test_a_front_among_few_items_is_said_to_be_unsure(store, made):
    few = [
        ({"case": c}, made(t, messages=f"{c}{i}", steps=n))
        for c, t, n in (("x", "yes", 1), ("y", "no", 2))
        for i in range(2)
    ]
    *_, front, unsure = ran(store, "s", few).costs("case", PRICE, score=said("yes")).sentences()
    assert front.endswith("than: case x, 100 % (34.2 to 100 %, n = 2) (the Pareto front).")
    assert (
        unsure
        == "The 95 % intervals of correct overlap: with other items the settings may come in another order."
    )
