import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.cost import asked, machine_seconds, pareto, priced
from toolkit.prices import LocalPrice, ModelPrice


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
        "first_token_seconds": 0.1,
        "created": 5.0,
        "system_fingerprint": "fp",
        "repeat": 0,
    }
    found = asked(pd.DataFrame([{**row, **times} for row in rows])).set_index("request")
    assert found.loc["r", ["prompt_tokens", "cached_tokens", "completion_tokens"]].tolist() == [7, 2, 21]
    assert found.loc["q", ["prompt_tokens", "cached_tokens", "completion_tokens"]].tolist() == [3, 0, 5]
    assert len(found) == 2


def test_what_ran_together_shares_the_time_by_its_tokens():
    # Two from 0 to 10 with 30 and 10 tokens; one alone from 20 to 23.
    found = machine_seconds(completions([(0, 10, 30), (0, 10, 10), (20, 23, 5)]))
    assert found == pytest.approx([7.5, 2.5, 3])


def test_prompt_tokens_that_were_not_cached_weigh_as_much_as_generated_ones():
    table = completions([(0, 6, 10), (0, 6, 10)]).assign(prompt_tokens=[50, 50], cached_tokens=[40, 0])
    assert machine_seconds(table) == pytest.approx([6 * 20 / 80, 6 * 60 / 80])


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
    assert priced(table, LocalPrice(per_hour=2)) == pytest.approx([2, 1])
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
