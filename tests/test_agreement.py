from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from scipy.stats import CensoredData, beta, binom, binomtest, ecdf, norm, t

from toolkit.analysis.determinism.statistics import (
    _upper_ends,
    agreement,
    agreement_between,
    bound,
    bound_of_mean,
    bound_of_repeats,
    differing_share,
    effect,
    effective,
    exact_interval,
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
    two_sided = binomtest(events, trials).proportion_ci(0.95, method="exact")
    assert exact_interval(events, trials) == pytest.approx((two_sided.low, two_sided.high), abs=1e-12)


@pytest.mark.parametrize("trials", [1, 2, 5, 10, 50, 200])
def test_exact_intervals_hold_every_share(trials):
    """Exactly, by the binomial distribution: at least 95 %, near 95 % where there are many trials."""
    ends = np.array([exact_interval(events, trials) for events in range(trials + 1)])
    covered = []
    for share in np.linspace(0, 1, 401):
        holds = (ends[:, 0] <= share + 1e-9) & (share - 1e-9 <= ends[:, 1])
        covered.append(binom.pmf(np.arange(trials + 1), trials, share)[holds].sum())
    assert min(covered) >= 0.95 - 1e-9
    assert np.median(covered) <= {1: 1, 2: 1, 5: 0.995, 10: 0.985, 50: 0.975, 200: 0.965}[trials]


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
    assert np.isnan(exact_interval(0, 0)).all()
    assert interval(np.array([0, 1]), np.array([0, 2])).shape == (2, 2)


def test_the_bound_covers_what_it_says():
    """The share of 4,000 experiments whose bound lies above the truth is at least 95 %."""
    p, n = 0.04, 40
    seen = np.random.default_rng(3).binomial(n, p, 4000)
    covered = np.mean([bound(int(k), n) >= p for k in seen])
    assert covered > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 4000)


@pytest.mark.parametrize(
    ("differ", "runs", "expected"),
    [
        (0, 1, 1),
        # Of many outputs of share 0.05 each, two runs are equal with a probability of 5 %.
        (0, 2, 0.95),
        # Two outputs of share t and one of 1 − 2t: 2 t⁵ + (1 − 2t)⁵ = 0.05 at t = 0.4782.
        (0, 5, 1 - 0.4782),
        # From here on the other output has no share in it: t¹⁰ = 0.05.
        (0, 10, 1 - 0.05 ** (1 / 10)),
        (0, 20, 1 - 0.05 ** (1 / 20)),
        (0, 1000, 1 - 0.05 ** (1 / 1000)),
        (1, 2, 1),
        (1, 10, bound(1, 9)),
    ],
)
def test_the_bound_of_one_request_by_hand(differ, runs, expected):
    assert bound_of_repeats(differ, runs) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("runs", [2, 3, 5, 10, 20, 50])
@pytest.mark.parametrize("share", np.linspace(0.05, 0.99, 20))
def test_runs_that_are_all_equal_are_rarer_than_1_in_20_where_more_differ(runs, share):
    """Exactly, for several shapes of the other outputs: one, many equal ones, and ever rarer ones."""
    for others in ([1], [1 / 19] * 19, [2.0**-i for i in range(1, 20)]):
        shares = np.array([share, *(1 - share) * np.array(others) / sum(others)])
        missed = shares < 1 - bound_of_repeats(
            0, runs
        )  # the output of all runs has a smaller share than is claimed
        assert (shares[missed] ** runs).sum() <= 0.05 + 1e-9


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([5], 0),
        ([4, 1], 1 / 5),
        # Without one of the three, both have two: by lot; the two others differ always.
        ([3, 2], 1 - (3 / 2) / 5),
        ([2, 2], 1),
        ([1, 1, 1], 1),
        ([2, 1, 1], 1 - (2 / 3) / 4),
        ([1, 0], NAN),
    ],
)
def test_the_share_of_runs_that_differ_from_the_others_by_hand(counts, expected):
    assert differing_share(counts) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("shares", [[0.9, 0.1], [0.5, 0.5], [0.05] * 20, [0.6, *[0.02] * 20]])
def test_the_share_of_runs_that_differ_is_not_biased(shares):
    """Whichever output is the commonest of 9 runs: a tenth differs from it as often."""
    draw = np.random.default_rng(1)
    estimate = np.mean([differing_share(counts) for counts in draw.multinomial(10, shares, 5000)])
    nine = draw.multinomial(9, shares, 5000)
    commonest = (nine + 0.5 * draw.random(nine.shape)).argmax(axis=1)  # of equally common ones by lot
    assert estimate == pytest.approx(1 - np.array(shares)[commonest].mean(), abs=0.015)


def some_are_1(share, others):
    return lambda draw, size: np.where(draw.random(size) < share, 1.0, others(draw, size))


def runs_agree(runs, share_of_equal):
    """Agreement of so many runs with two outputs, of requests of which a share gives one alone."""

    def sample(draw, size):
        p = some_are_1(share_of_equal, lambda draw, size: draw.uniform(0.5, 1, size))(draw, size)
        n = draw.binomial(runs, p)
        return (n * (n - 1) + (runs - n) * (runs - n - 1)) / (runs * (runs - 1))

    return sample


def uniform(draw, size):
    return draw.random(size)


CONTINUOUS = {
    "uniform": uniform,
    "skewed": lambda draw, size: draw.beta(1, 4, size),
    "near 1": lambda draw, size: draw.beta(5, 1, size),
    "very near 1": lambda draw, size: draw.beta(20, 1, size),
    "U-shaped": lambda draw, size: draw.beta(0.5, 0.5, size),
    "60 % are 1": some_are_1(0.6, uniform),
    "80 % are 1": some_are_1(0.8, uniform),
}
DISCRETE = {
    "3 runs": runs_agree(3, 0.5),
    "5 runs": runs_agree(5, 0.8),
    "20 runs": runs_agree(20, 0.5),
    "0 or 1": lambda draw, size: (draw.random(size) < 0.9) * 1.0,
}


def coverage(sample, requests, samples=8000):
    """The share of samples whose interval holds the mean, and the share whose bound of the complement does."""
    draw = np.random.default_rng(requests)
    mean, values = sample(draw, 400_000).mean(), sample(draw, (samples, requests))
    low, high = 1 - _upper_ends(1 - values, 0.975), _upper_ends(values, 0.975)
    assert (low[0], high[0]) == pytest.approx(interval_of_mean(values[0]))
    above = _upper_ends(1 - values, 0.95)
    assert above[0] == pytest.approx(bound_of_mean(1 - values[0]))
    return np.mean((low <= mean) & (mean <= high)), np.mean(above >= 1 - mean)


@pytest.mark.parametrize("requests", [5, 10, 50, 200])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_95_of_100_intervals_hold_the_mean(name, requests):
    covered, _ = coverage(CONTINUOUS[name], requests)
    # 95 ± 1.5 %; of few values near both ends, which are nearly discrete, up to 98 %.
    assert 0.935 - 0.003 <= covered <= (0.965 if requests == 200 else 0.98)


@pytest.mark.parametrize("requests", [2, 3, 5, 10, 50, 200])
@pytest.mark.parametrize("name", CONTINUOUS | DISCRETE)
def test_intervals_and_bounds_hold_what_they_claim(name, requests):
    """At least: of values that are discrete no interval has the same coverage everywhere."""
    covered, bounded = coverage((CONTINUOUS | DISCRETE)[name], requests)
    least = 0.932 if requests >= 5 else 0.91
    assert covered >= least
    assert bounded >= (0.92 if name == "very near 1" else 0.935)


@pytest.mark.parametrize(("requests", "runs"), [(5, 20), (10, 20), (50, 5), (50, 20)])
@pytest.mark.parametrize("changed", [0.2, 0.5])
def test_the_runs_of_one_request_are_not_counted_as_independent(requests, runs, changed):
    """A share of requests differs in some of its runs, which a bound over all runs, pooled, does not hold."""
    draw = np.random.default_rng(4)

    def sample(size):
        return np.where(draw.random(size) < changed, draw.beta(1, 2, size), 0.0)

    truth = sample(400_000).mean()
    events = draw.binomial(runs, sample((4000, requests)))
    bounds = _upper_ends(events / runs, 0.95)
    pooled = np.array([bound(n, runs * requests) for n in events.sum(axis=1)])
    assert np.mean(bounds >= truth) >= 0.93
    assert np.mean(pooled >= truth) < 0.87
    of_requests = np.array([bound(n, requests) for n in (events > 0).sum(axis=1)])
    assert np.mean(of_requests >= (events > 0).mean()) >= 0.94


def test_the_interval_of_a_mean():
    values = np.random.default_rng(5).uniform(0.2, 0.6, 400)
    low, high = interval_of_mean(values)
    error = values.std(ddof=1) / 20  # of the mean of 400: the normal interval is ± 1.96 of it
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.2 * error
    )
    assert interval_of_mean([*values[::-1], NAN]) == (low, high)  # order and what is not known change nothing
    assert np.isnan(interval_of_mean([0.5, NAN])).all()
    assert np.isnan(interval_of_mean([])).all()


@pytest.mark.parametrize("n", [2, 3, 5, 10, 50, 200])
def test_equal_values_have_an_interval_with_a_width(n):
    """That of a share of n trials (Clopper and Pearson)."""
    assert interval_of_mean([1] * n) == pytest.approx((0.025 ** (1 / n), 1))
    assert interval_of_mean([0] * n) == pytest.approx((0, 1 - 0.025 ** (1 / n)))
    assert bound_of_mean([0] * n) == pytest.approx(1 - 0.05 ** (1 / n))
    low, high = interval_of_mean([0.5] * n)
    exact = binomtest(n // 2, n).proportion_ci(0.95, method="exact")
    assert low < 0.5 < high
    if n % 2 == 0:
        assert (low, high) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize("n", [2, 5, 20, 100])
def test_of_0_and_1_it_is_the_interval_of_a_share(n):
    for ones in range(n + 1):
        exact = binomtest(ones, n).proportion_ci(0.95, method="exact")
        assert interval_of_mean([1] * ones + [0] * (n - ones)) == pytest.approx((exact.low, exact.high))


def test_korn_and_graubard_by_hand():
    """Five values of mean 0.5 and variance 0.025 / 5: 50 effective trials, fewer by (z / t)²; Clopper and Pearson's
    interval of half of them."""
    trials = 50 * (norm.ppf(0.975) / t.ppf(0.975, 4)) ** 2
    ends = beta.ppf(0.025, trials / 2, trials / 2 + 1), beta.ppf(0.975, trials / 2 + 1, trials / 2)
    assert interval_of_mean([0.3, 0.4, 0.5, 0.6, 0.7]) == pytest.approx(ends)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_an_interval_of_a_mean_lies_in_0_to_1_and_holds_it(values):
    low, high = interval_of_mean(values)
    assert 0 <= low <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= high <= 1
    assert low < high
    assert np.mean(values) - 1e-9 <= bound_of_mean(values) <= high + 1e-9


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


def test_a_band_of_requests_that_never_fork_has_a_width():
    found = survival(np.zeros((10, 3)), [[0, 0, 3]] * 10)
    assert found["survival"].tolist() == [1, 1, 1, 1]
    assert found["low"] == pytest.approx([1, *[0.025 ** (1 / 10)] * 3])
    assert found["high"].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("requests", [5, 10, 50])
def test_95_of_100_bands_hold_the_curve(requests):
    """Six pairs of a request fork at step 0 or 1 with a chance that is the request's own."""
    draw = np.random.default_rng(requests)

    def sample(size):
        p = draw.beta(1, 2, (*size, 2))
        first = draw.binomial(6, p[..., 0])
        second = draw.binomial(6 - first, p[..., 1])
        return np.stack([first, second], axis=-1), np.stack([0 * first, 6 - first - second], axis=-1)

    forked, _ = sample((400_000,))
    truth = 1 - forked.cumsum(axis=1).mean(axis=0) / 6
    bands = [survival(*sample((requests,))) for _ in range(1500)]
    for step in (1, 2):
        held = np.mean([b["low"][step] <= truth[step - 1] <= b["high"][step] for b in bands])
        assert 0.925 <= held <= 0.985


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
