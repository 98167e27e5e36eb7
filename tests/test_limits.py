import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from toolkit.core.completion import Usage
from toolkit.pricing.budget import NO_BUDGET, Budget, Spent
from toolkit.pricing.prices import LocalPrice, ModelPrice

PRICE = ModelPrice(
    "m", input=1_000_000, output=2_000_000
)  # a dollar for a prompt token, two for a generated one


@pytest.mark.parametrize(
    ("limits", "spent", "affordable"),
    [
        (NO_BUDGET, Spent(), 3),
        (Budget(max_tokens=30), Spent(), 3),
        (Budget(max_tokens=29), Spent(), 2),
        (Budget(max_tokens=30), Spent(tokens=1), 2),
        (Budget(max_tokens=9), Spent(), 0),
        (Budget(max_cost=51, price=PRICE), Spent(), 3),
        (Budget(max_cost=50.9, price=PRICE), Spent(), 2),
        (Budget(max_cost=51, price=PRICE), Spent(cost=17.5), 1),
        (Budget(max_tokens=20, max_cost=17, price=PRICE), Spent(), 1),
        (Budget(max_cost=1e-9, price=LocalPrice(per_hour=1)), Spent(), 3),  # time is looked at while it runs
    ],
)
def test_as_many_are_handed_out_as_fit_at_the_most_that_they_can_cost(limits, spent, affordable):
    # Each of three requests has 3 prompt tokens and at most 7 generated ones: 10 tokens, 17 dollars.
    assert limits.affordable(np.full(3, 3), np.full(3, 7), spent) == affordable


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=20),
    st.integers(1, 200),
    st.randoms(),
)
def test_a_run_never_goes_over_its_tokens(asked, most, random):
    prompts, answers = (np.array([pair[i] for pair in asked], np.int64) for i in (0, 1))
    limits, spent, done = Budget(max_tokens=most), Spent(), 0
    while n := limits.affordable(prompts[done:], answers[done:], spent):
        for p, a in zip(prompts[done : done + n], answers[done : done + n], strict=True):
            spent.add(Usage(int(p), random.randint(0, int(a))), None)
        done += n
    assert spent.tokens <= most
    # And it stops only where the next one might go over.
    assert done == len(asked) or spent.tokens + prompts[done] + answers[done] > most


def test_money_is_spent_by_request():
    spent = Spent()
    spent.add(Usage(3, 7), PRICE)
    spent.add(Usage(1, 0, cached_tokens=1), PRICE)
    assert (spent.tokens, spent.cost) == (11, 18)


def test_the_money_of_this_machine_is_its_time():
    limits = Budget(max_cost=1, price=LocalPrice(per_hour=2))
    assert [limits.used_up(seconds) for seconds in (0, 1799, 1800)] == [False, False, True]
    assert not Budget(max_cost=1, price=PRICE).used_up(math.inf)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be a whole number from 1 up, got 0"),
        ({"max_tokens": 1.5}, "max_tokens must be a whole number"),
        ({"max_cost": 0, "price": PRICE}, "max_cost must be a number above 0, got 0: US dollars"),
        ({"max_cost": math.nan, "price": PRICE}, "max_cost must be a number above 0, got nan"),
        ({"max_cost": 10**400, "price": PRICE}, "max_cost must be a number above 0, got 10"),
        ({"max_cost": 1}, "max_cost needs a price"),
        (
            {"max_cost": 1, "price": LocalPrice(per_kwh=0.3)},
            "a price of energy needs to know the power before the run",
        ),
        ({"max_cost": 1, "price": LocalPrice(per_hour=1, per_kwh=0.3)}, "give LocalPrice.*watts=…"),
        (
            {"max_tokens": 9, "max_cost": 1, "price": LocalPrice(per_kwh=0.3)},
            "max_cost with a price of energy",
        ),
    ],
)
def test_bad_limits(options, message):
    with pytest.raises(ValueError, match=message):
        Budget(**options)


@pytest.mark.parametrize("kind", [np.int64, np.float32])
def test_limits_may_be_numbers_of_numpy(kind):
    limits = Budget(max_tokens=np.int64(30), max_cost=kind(51), price=PRICE)
    assert limits.affordable(np.full(3, 3), np.full(3, 7), Spent()) == 3
    assert str(limits) == "stopped at max_tokens=30 and max_cost=51"


@pytest.mark.parametrize(
    ("limits", "needed"),
    [
        (Budget(max_tokens=5), "1,010 tokens"),
        (Budget(max_cost=5, price=PRICE), "2.01e+03 US dollars"),
        (Budget(5, 5, PRICE), "1,010 tokens and 2.01e+03 US dollars"),
        (Budget(5, 5, LocalPrice(per_hour=1)), "1,010 tokens"),  # its time is not known before
    ],
)
def test_limits_say_what_a_request_needs_at_most(limits, needed):
    assert limits.needed(10, 1000) == needed


@pytest.mark.parametrize(
    "limits",
    [
        Budget(max_tokens=1, price=LocalPrice(per_kwh=0.3)),  # a price that limits nothing
        Budget(max_cost=1, price=LocalPrice(per_kwh=0.3, watts=100)),
        Budget(max_cost=1, price=LocalPrice(per_hour=1)),
        Budget(max_cost=1, price=LocalPrice()),
    ],
)
def test_a_price_that_is_known_before_the_run_is_taken(limits):
    assert not limits.used_up(0)


def test_limits_say_what_they_are():
    assert str(Budget(1000, 0.5, PRICE)) == "stopped at max_tokens=1,000 and max_cost=0.5"
