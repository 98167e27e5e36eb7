from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from scipy.stats import CensoredData, beta, binomtest, ecdf

from toolkit.analysis.determinism.statistics import (
    agreement,
    agreement_between,
    bound,
    effect,
    effective,
    forks,
    holm,
    interval,
    interval_of_mean,
    survival,
    ulps,
)

NAN = float("nan")
counts = st.lists(st.integers(0, 6), min_size=1, max_size=6)


def runs(found):
    """The runs behind counts, one number an output."""
    return np.repeat(np.arange(len(found)), found)


@pytest.mark.parametrize(
    ("found", "expected", "outputs"),
    [
        ([5], 1, 1),
        ([1, 1, 1], 0, 3),
        ([2, 2], (2 + 2) / 12, 2),
        ([3, 1], 6 / 12, 16 / 10),
        ([4, 3, 2, 1, 0], (12 + 6 + 2) / 90, 100 / 30),
        ([1], NAN, 1),
        ([0, 0], NAN, NAN),
        ([], NAN, NAN),
    ],
)
def test_agreement_and_effective_outputs_by_hand(found, expected, outputs):
    assert agreement(found) == pytest.approx(expected, nan_ok=True)
    assert effective(found) == pytest.approx(outputs, nan_ok=True)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([3, 0], [5, 0], 1),
        ([3, 0], [0, 5], 0),
        ([2, 1], [1, 3], (2 * 1 + 1 * 3) / 12),
        ([1], [1], 1),
        ([0, 0], [1, 0], NAN),
    ],
)
def test_agreement_between_by_hand(a, b, expected):
    assert agreement_between(a, b) == pytest.approx(expected, nan_ok=True)
    assert agreement_between(b, a) == pytest.approx(expected, nan_ok=True)


@given(counts, counts)
def test_agreement_is_that_of_all_pairs_of_runs(a, b):
    one, other = runs(a), runs(b)
    pairs = [x == y for x, y in combinations(one, 2)]
    assert agreement(a) == pytest.approx(np.mean(pairs) if pairs else NAN, nan_ok=True)
    wide = max(len(a), len(b))
    across = [x == y for x, y in product(one, other)]
    found = agreement_between(*(np.pad(c, (0, wide - len(c))) for c in (a, b)))
    assert found == pytest.approx(np.mean(across) if across else NAN, nan_ok=True)


@given(counts, counts)
def test_of_two_systems_merged_all_pairs_are_within_one_or_between_both(a, b):
    wide = max(len(a), len(b))
    a, b = (np.pad(c, (0, wide - len(c))) for c in (a, b))
    n, m = a.sum(), b.sum()
    parts = [
        (n * (n - 1) / 2, agreement(a)),
        (m * (m - 1) / 2, agreement(b)),
        (n * m, agreement_between(a, b)),
    ]
    weighed = sum(number * np.nan_to_num(share) for number, share in parts)
    if n + m > 1:
        assert agreement(a + b) * (n + m) * (n + m - 1) / 2 == pytest.approx(weighed)


@given(counts.filter(any), st.randoms())
def test_agreement_does_not_depend_on_which_output_is_which(found, draw):
    mixed = draw.sample(found, len(found))
    assert agreement(mixed) == pytest.approx(agreement(found), nan_ok=True)
    assert effective(mixed) == pytest.approx(effective(found))
    assert 1 - 1e-12 <= effective(found) <= np.count_nonzero(found) + 1e-12


@given(counts.filter(any))
def test_another_run_equal_to_the_mode_never_lowers_its_share(found):
    more = np.array(found)
    more[more.argmax()] += 1
    assert more.max() / more.sum() >= max(found) / sum(found)
    assert agreement(more) >= np.nan_to_num(agreement(found)) - 1e-12


# Bounds and intervals


@pytest.mark.parametrize("trials", [1, 2, 5, 20, 300, 10_000])
@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.99, 1])
def test_bounds_are_those_of_scipy(trials, share):
    events = round(share * trials)
    found = bound(events, trials)
    if events < trials:
        assert found == pytest.approx(beta.ppf(0.95, events + 1, trials - events))
    exact = binomtest(events, trials, alternative="less").proportion_ci(0.95, method="exact")
    assert found == pytest.approx(exact.high)
    low, high = interval(events, trials)
    wilson = binomtest(events, trials).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((wilson.low, wilson.high), abs=1e-12)


@pytest.mark.parametrize("trials", [30, 100, 1000, 100_000])
def test_without_an_event_the_bound_is_three_of_n(trials):
    # (1 − p)^N = 0.05, so that p = 1 − 0.05^(1/N) < −ln 0.05 / N = 2.996 / N.
    assert bound(0, trials) == pytest.approx(1 - 0.05 ** (1 / trials))
    assert 0.95 * 3 / trials < bound(0, trials) < 3 / trials


@pytest.mark.parametrize(("events", "trials"), [(0, 0), (1, 1), (7, 7)])
def test_where_nothing_or_everything_was_seen_the_bound_is_one(events, trials):
    assert bound(events, trials) == 1


def test_an_interval_holds_the_share_itself():
    trials = np.arange(1, 200)
    low, high = interval(np.zeros(199), trials)
    assert (low == 0).all()
    assert (high < 1).all()
    low, high = interval(trials, trials)
    assert (high == 1).all()


def test_no_interval_without_trials():
    assert np.isnan(interval(0, 0)).all()
    assert interval(np.array([0, 1]), np.array([0, 2])).shape == (2, 2)


def test_the_bound_covers_what_it_says():
    """The share of 4,000 experiments whose bound lies above the truth is at least 95 %."""
    p, n = 0.04, 40
    seen = np.random.default_rng(3).binomial(n, p, 4000)
    covered = np.mean([bound(int(k), n) >= p for k in seen])
    assert covered > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 4000)


def test_the_interval_of_a_mean():
    values = np.random.default_rng(5).normal(0.4, 0.1, 400)
    low, high = interval_of_mean(values)
    error = values.std(ddof=1) / 20  # of the mean of 400: the normal interval is ± 1.96 of it
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.2 * error
    )
    assert interval_of_mean([*values[::-1], NAN]) == (low, high)  # order and what is not known change nothing
    assert interval_of_mean([0.5, 0.5, 0.5]) == (0.5, 0.5)
    assert np.isnan(interval_of_mean([0.5, NAN])).all()


# Forks and survival


def padded(texts):
    """Sorted different texts as `forks` takes them: ids, −1 after the last, −2 from there on."""
    steps = max(map(len, texts)) + 1
    rows = [[*map(ord, text), -1, *[-2] * steps][:steps] for text in texts]
    return np.array(sorted(rows), np.int32)


def parted(a, b):
    """The first step at which two rows differ, one by one."""
    return next((step for step, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))


@given(st.sets(st.text("abc", max_size=7), min_size=1, max_size=12))
@example({"ab", "abc", "b"})
def test_forks_are_those_of_all_pairs(texts):
    rows = padded(texts)
    assert forks(rows).tolist() == [[parted(a, b) for b in rows] for a in rows]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["abc"], [[4]]),
        # abc and abd part at 2, both and b at once.
        (["abc", "abd", "b"], [[4, 2, 0], [2, 4, 0], [0, 0, 4]]),
        # The shorter of two ends at 2, where the other goes on.
        (["ab", "abc"], [[4, 2], [2, 4]]),
    ],
)
def test_forks_by_hand(texts, expected):
    assert forks(padded(texts)).tolist() == expected


def test_survival_by_hand():
    """Ten pairs: 2 fork at step 0, 3 at 2; of the other 5, two end after 2 steps and three after 4.
    S(1) = 8/10; at step 2 are 8 − 2 = 6: S(3) = 8/10 · 3/6."""
    found = survival([[2, 0, 3, 0]], [[0, 2, 0, 3]])
    assert found["at_risk"].tolist() == [10, 8, 6, 3, 0]
    assert found["forked"].tolist() == [2, 0, 3, 0, 0]
    assert found["survival"].tolist() == pytest.approx([1, 0.8, 0.8, 0.4, 0.4])
    assert np.isnan([found["low"], found["high"]]).all()  # one request tells nothing of others


tables = st.integers(1, 6).flatmap(
    lambda steps: st.lists(
        st.tuples(*[st.lists(st.integers(0, 4), min_size=steps, max_size=steps)] * 2), min_size=1, max_size=4
    )
)


@given(tables)
def test_survival_is_scipys_kaplan_meier(table):
    forked, ended = (np.array([row[i] for row in table]) for i in (0, 1))
    found = survival(forked, ended)["survival"]
    assert found[0] == 1
    assert (np.diff(found) <= 1e-12).all()
    steps = np.arange(forked.shape[1])
    events, censored = (np.repeat(steps, n.sum(axis=0)) for n in (forked, ended))
    if len(events):
        sf = ecdf(CensoredData(uncensored=events, right=censored)).sf
        # S(t) is the share that has not forked before t: SciPy's has not forked up to t.
        assert found == pytest.approx(sf.evaluate(np.arange(len(found)) - 0.5))
    else:
        assert (found == 1).all()


def test_survival_has_a_band_over_requests():
    """Of 40 requests half fork at once and half never: the band of S(1) is that of a share of 40."""
    forked = np.array([[6, 0]] * 20 + [[0, 0]] * 20)
    found = survival(forked, np.array([[0, 0]] * 20 + [[0, 6]] * 20))
    assert found["survival"].tolist() == [1, 0.5, 0.5]
    assert found["low"][0] == found["high"][0] == 1
    assert (found["low"][1], found["high"][1]) == pytest.approx(
        (0.5 - 1.96 * np.sqrt(0.25 / 40), 0.5 + 1.96 * np.sqrt(0.25 / 40)), abs=0.03
    )


def test_the_band_does_not_depend_on_the_order_of_requests():
    draw = np.random.default_rng(2)
    forked, ended = draw.integers(0, 4, (2, 12, 6))
    order = draw.permutation(12)
    one, other = survival(forked, ended), survival(forked[order], ended[order])
    assert all(np.allclose(one[name], other[name], atol=1e-12) for name in one)
    assert (one["low"] < one["high"]).sum() == 6


# What another system does


def enumerated(pairs):
    """Effect and exact p-value: all ways to deal the runs of each request out to the two systems."""

    def apart(one, other):
        within = [np.mean([x == y for x, y in combinations(side, 2)]) for side in (one, other)]
        return np.mean(within) - np.mean([x == y for x, y in product(one, other)])

    dealt = []
    for a, b in pairs:
        both = [*runs(a), *runs(b)]
        chosen = [set(c) for c in combinations(range(len(both)), sum(a))]
        dealt.append(
            [apart([both[i] for i in c], [x for i, x in enumerate(both) if i not in c]) for c in chosen]
        )
    seen = np.mean([apart(runs(a), runs(b)) for a, b in pairs])
    means = np.array([np.mean(values) for values in product(*dealt)])
    return seen, (means >= seen - 1e-12).mean()


@pytest.mark.parametrize(
    "pairs",
    [
        [([3, 0], [0, 3])],  # 2 of the 20 ways to deal six runs part them so: p = 0.1
        [([2, 1], [1, 2])],
        [([4, 0], [2, 2])],
        [([2, 0], [0, 2]), ([2, 1], [1, 1])],
        [([2, 0, 0], [0, 1, 2])],
        [([3], [3])],
        [([1, 1, 0, 0], [0, 0, 1, 1])],
    ],
)
def test_the_permutation_test_is_that_of_all_permutations(pairs):
    found, p = effect(pairs)
    exact, share = enumerated(pairs)
    assert found == pytest.approx(exact)
    # 999 shuffles, and one that is counted always.
    assert p == pytest.approx((1 + 999 * share) / 1000, abs=4 * np.sqrt(share * (1 - share) / 999) + 1e-9)


def test_an_effect_by_hand():
    # (1 + 1/3) / 2 − (3·2) / 9: a agrees in all, b in 1 of 3 pairs, both in 6 of 9.
    found, p = effect([([3, 0], [2, 1])])
    assert found == pytest.approx((1 + 1 / 3) / 2 - 6 / 9)
    assert p > 0.5
    strong, p = effect([([10, 0], [0, 10])] * 5)
    assert (strong, p) == (1, 0.001)


@pytest.mark.parametrize("pairs", [[], [([1, 0], [0, 1])], [([5, 0], [1, 0])], [([3], [0])]])
def test_single_runs_cannot_tell_a_system_from_chance(pairs):
    assert np.isnan(effect(pairs)).all()


@settings(max_examples=30)
@given(
    st.lists(st.tuples(*[st.lists(st.integers(0, 3), min_size=3, max_size=3)] * 2), min_size=1, max_size=4)
)
def test_neither_the_order_of_requests_nor_of_the_two_changes_the_test(pairs):
    turned = [(b, a) for a, b in pairs[::-1]]
    assert effect(turned) == pytest.approx(effect(pairs), nan_ok=True)


def test_chance_alone_is_seldom_an_effect():
    """Of 200 pairs of equal systems at most 5 % (and three standard errors) come out below 0.05."""
    draw = np.random.default_rng(11)
    ps = [effect([draw.multinomial(6, [0.6, 0.3, 0.1], 2) for _ in range(5)])[1] for _ in range(200)]
    assert np.mean(np.array(ps) < 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        # Sorted 0.01, 0.02, 0.04 times 3, 2, 1: 0.03, 0.04, 0.04.
        ([0.04, 0.01, 0.02], [0.04, 0.03, 0.04]),
        # 0.5 · 2 = 1, and the second may not fall below it.
        ([0.5, 0.9], [1, 1]),
        # 0.03 · 2 = 0.06 holds the second up, whose own is 0.04.
        ([0.03, 0.04], [0.06, 0.06]),
        ([NAN, 0.02, NAN, 0.03], [NAN, 0.04, NAN, 0.04]),
        ([NAN], [NAN]),
        ([0.2], [0.2]),
        ([], []),
    ],
)
def test_holm_by_hand(p, expected):
    given = np.array(p)
    assert holm(given) == pytest.approx(expected, nan_ok=True)
    assert given == pytest.approx(p, nan_ok=True)  # as it was


# Units in the last place

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(floats, st.integers(0, 40), st.booleans())
@example(0.0, 3, False)
@example(-1e-45, 3, True)
def test_each_next_float_is_one_unit_away(start, steps, up):
    first = last = np.float32(start)
    for _ in range(steps):
        last = np.nextafter(last, np.float32(np.inf if up else -np.inf), dtype=np.float32)
    pair = np.array([first]), np.array([last])
    if np.isfinite(last):
        assert ulps(*pair) == ulps(*pair[::-1]) == steps


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (-0.5, -0.5, 0),
        (0.0, -0.0, 0),
        (1.0, 1 + np.spacing(np.float32(1)), 1),
        (-1.0, -1 - 5 * np.spacing(np.float32(1)), 5),
        (1e-45, -1e-45, 2),
        (1.0, 2.0, 2**23),
    ],
)
def test_ulps_by_hand(a, b, expected):
    assert ulps(np.array([a], np.float32), np.array([b], np.float32)).tolist() == [expected]
