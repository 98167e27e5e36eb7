import re
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import binomtest

from toolkit.analysis.calibration import calibration
from toolkit.analysis.determinism.statistics import interval
from toolkit.display.plots.calibration import plot_calibration

shares = st.floats(0, 1, allow_subnormal=False)
items = st.lists(st.tuples(shares, st.booleans()), min_size=1, max_size=60)
kinds = st.sampled_from(["width", "mass"])


def source(n, power=1.5, seed=1):
    """Overconfident for a power above 1, perfectly calibrated for 1."""
    rng = np.random.default_rng(seed)
    p = rng.beta(4, 2, n)
    return p, rng.random(n) < p**power


@pytest.mark.parametrize(
    ("confidence", "correct", "bins", "ece", "brier"),
    [
        # One bin: |0.7 - 0.5|.
        ([0.9, 0.5], [1, 0], 1, 0.2, (0.01 + 0.25) / 2),
        # Bins to 0.5 and to 1: 2/4 * |1/2 - 0.3| + 2/4 * |1/2 - 0.9|.
        ([0.2, 0.4, 0.8, 1.0], [0, 1, 1, 0], 2, 0.3, (0.04 + 0.36 + 0.04 + 1) / 4),
        # 3 of 10 in one bin: 0.3 * |1/3 - 0.95| + 0.7 * |1 - 0.75|.
        ([0.95] * 3 + [0.75] * 7, [1, 0, 0] + [1] * 7, 10, 0.36, (0.0025 + 2 * 0.9025 + 7 * 0.0625) / 10),
        # Errors of opposite sign cancel within a bin.
        ([0.5, 0.5], [1, 0], 10, 0, 0.25),
        ([0.0, 1.0], [1, 0], 10, 1, 1),
        ([0.7], [True], 10, 0.3, 0.09),
    ],
)
def test_worked_by_hand(confidence, correct, bins, ece, brier):
    found = calibration(confidence, correct, bins=bins)
    assert found.ece == pytest.approx(ece, abs=1e-12)
    assert found.brier == pytest.approx(brier)
    assert found.accuracy == pytest.approx(np.mean(correct))
    assert found.mean_confidence == pytest.approx(np.mean(confidence))
    assert found.n == len(correct)


@pytest.mark.parametrize("bins", [1, 3, 10, 15])
def test_ece_as_its_formula_says(bins):
    """Guo et al. 2017, equations 2 to 5, as a loop over bins ((m - 1) / M, m / M]."""
    p, y = source(500)
    total = 0.0
    for m in range(1, bins + 1):
        inside = (p > (m - 1) / bins) & (p <= m / bins)
        if inside.any():
            total += inside.sum() / 500 * abs(y[inside].mean() - p[inside].mean())
    assert calibration(p, y, bins=bins).ece == pytest.approx(total)


def test_a_row_for_each_bin_that_is_not_empty():
    found = calibration([0, 0.1, 0.25, 0.9, 0.95, 1], [0, 0, 1, 1, 1, 0])
    frame = found.frame()
    assert frame.columns.tolist() == [
        "low", "high", "n", "confidence", "accuracy", "accuracy_low", "accuracy_high", "gap",
    ]  # fmt: skip
    assert frame["low"].tolist() == [0, 0.2, 0.8, 0.9]
    assert frame["high"].tolist() == [0.1, 0.3, 0.9, 1]
    assert frame["n"].tolist() == [2, 1, 1, 2]
    assert frame["confidence"].tolist() == pytest.approx([0.05, 0.25, 0.9, 0.975])
    assert frame["accuracy"].tolist() == [0, 1, 1, 0.5]
    assert frame["gap"].tolist() == pytest.approx([0.05, -0.75, -0.1, 0.475])
    assert found.ece == pytest.approx((frame["n"] * frame["gap"].abs()).sum() / 6)


@pytest.mark.parametrize("bins", [7, 10, 20, 100])
def test_a_confidence_on_an_edge_belongs_to_the_bin_below(bins):
    edges = [i / bins for i in range(bins + 1)]
    found = calibration(edges, [1] * (bins + 1), bins=bins)
    assert found.bin.tolist() == [0, *range(bins)]
    assert found.frame()["high"].tolist() == edges[1:]


@pytest.mark.parametrize(
    ("confidence", "bins", "counts"),
    [
        (np.linspace(0.3, 0.9, 20), 4, [5, 5, 5, 5]),
        (np.linspace(0.3, 0.9, 10), 3, [3, 4, 3]),
        (np.linspace(0.3, 0.9, 3), 10, [1, 1, 1]),
        ([0.1, 0.9, 0.9, 0.9], 2, [1, 3]),  # ties stay in one bin
        ([0.8] * 5 + [0.9] * 5 + [1.0] * 10, 4, [5, 5, 10]),
        ([0.9] * 8, 4, [8]),
    ],
)
def test_bins_of_equal_mass(confidence, bins, counts):
    confidence = np.asarray(confidence)
    found = calibration(confidence, np.ones(len(confidence)), bins=bins, equal="mass")
    frame = found.frame()
    assert frame["n"].tolist() == counts
    assert frame["low"].tolist() == [confidence[i] for i in np.cumsum([0, *counts[:-1]])]
    assert frame["high"].tolist() == [confidence[i - 1] for i in np.cumsum(counts)]


@given(st.lists(shares, min_size=1, max_size=80, unique=True), st.integers(1, 12))
def test_bins_of_equal_mass_differ_by_one_item_at_most(confidence, bins):
    counts = calibration(confidence, [1] * len(confidence), bins=bins, equal="mass").frame()["n"]
    assert len(counts) == min(bins, len(confidence))
    assert counts.max() - counts.min() <= 1


@given(items, kinds, st.integers(1, 12))
def test_equal_confidences_share_a_bin_and_bins_are_in_order(pairs, equal, bins):
    found = calibration(*zip(*pairs, strict=True), bins=bins, equal=equal)
    assert (np.diff(found.bin) >= 0).all()
    assert len({*zip(found.confidence, found.bin, strict=True)}) == len(set(found.confidence))
    frame = found.frame()
    assert frame["n"].sum() == len(pairs)
    assert (
        (frame["low"] <= frame["confidence"] + 1e-12) & (frame["confidence"] <= frame["high"] + 1e-12)
    ).all()


@given(st.lists(st.booleans(), min_size=1, max_size=40), kinds)
def test_knowing_for_sure_is_perfect(correct, equal):
    found = calibration([float(y) for y in correct], correct, equal=equal)
    assert (found.ece, found.brier, found.expected_ece) == (0, 0, 0)


@given(items, kinds)
def test_ece_and_brier_stay_between_0_and_1(pairs, equal):
    found = calibration(*zip(*pairs, strict=True), equal=equal)
    assert 0 <= found.ece <= 1 + 1e-12
    assert 0 <= found.brier <= 1
    # The triangle inequality: finer bins show more, down to single items.
    y, p = found.correct, found.confidence
    assert abs(p.mean() - y.mean()) - 1e-12 <= found.ece <= np.abs(y - p).mean() + 1e-12


@given(items, kinds)
def test_one_bin_compares_the_means(pairs, equal):
    found = calibration(*zip(*pairs, strict=True), bins=1, equal=equal)
    assert found.ece == pytest.approx(abs(found.mean_confidence - found.accuracy), abs=1e-12)


@settings(max_examples=25)
@given(st.data(), items, kinds)
def test_the_order_of_items_changes_nothing(data, pairs, equal):
    here = calibration(*zip(*pairs, strict=True), equal=equal)
    there = calibration(*zip(*data.draw(st.permutations(pairs)), strict=True), equal=equal)
    pd.testing.assert_frame_equal(here.frame(), there.frame(), check_exact=True)
    assert repr(here) == repr(there)


def test_the_order_of_equal_confidences_changes_nothing():
    here, there = (calibration([0.8] * 9, y) for y in ([1] * 6 + [0] * 3, [0] * 3 + [1] * 6))
    assert here.interval("brier") == there.interval("brier")
    assert here.interval("ece") == there.interval("ece")


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 5), (5, 5), (1, 3), (60, 80), (9999, 10000)])
def test_wilson_as_scipy_has_it(right, n):
    theirs = binomtest(right, n).proportion_ci(method="wilson")
    assert interval(right, n).tolist() == pytest.approx([theirs.low, theirs.high], abs=1e-12)
    found = calibration([0.55] * n, [True] * right + [False] * (n - right))
    assert found.interval("accuracy") == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    (row,) = found.frame().to_dict("records")
    assert (row["accuracy_low"], row["accuracy_high"]) == found.interval("accuracy")


def test_wilson_stays_between_0_and_1():
    n = np.arange(1, 500)
    assert (interval(0 * n, n) >= 0).all()
    assert (interval(n, n) <= 1).all()
    assert np.isnan(interval(0, 0)).all()


@pytest.mark.parametrize("equal", ["width", "mass"])
def test_bootstrap_interval_as_a_plain_loop_has_it(equal):
    p, y = source(300)
    found = calibration(p, y, equal=equal)
    rng, drawn = np.random.default_rng(5), []
    for _ in range(10_000):
        i = rng.integers(300, size=300)
        sums = np.bincount(found.bin[i], found.correct[i] - found.confidence[i])
        drawn.append((np.abs(sums).sum() / 300, np.mean((found.correct[i] - found.confidence[i]) ** 2)))
    expected = np.percentile(drawn, [2.5, 97.5], axis=0).T
    for name, bounds in zip(["ece", "brier"], expected, strict=True):
        # Three times the Monte Carlo error of 2,000 resamples.
        assert found.interval(name) == pytest.approx(tuple(bounds), abs=0.004)
        assert found.interval(name)[0] < getattr(found, name) < found.interval(name)[1]
        assert found.interval(name) == calibration(p, y, equal=equal).interval(name)
    assert found.interval() == found.interval("ece")


def test_one_item_has_no_bootstrap_interval():
    found = calibration([0.7], [1])
    assert np.isnan([*found.interval("ece"), *found.interval("brier")]).all()
    assert found.interval("accuracy")[1] == 1


def test_chance_alone_makes_an_ece():
    # One item at 0.5: |y - 0.5| is 0.5, always. Four in one bin: |k - 2| / 4 over Binomial(4, 0.5) is 3/16.
    assert calibration([0.5], [1]).expected_ece == 0.5
    assert calibration([0.5] * 4, [1, 1, 0, 1]).expected_ece == pytest.approx(3 / 16, abs=0.015)
    calibrated = [calibration(*source(100, power=1, seed=s)) for s in range(60)]
    assert np.mean([c.ece for c in calibrated]) == pytest.approx(
        np.mean([c.expected_ece for c in calibrated]), abs=0.012
    )
    assert min(c.ece for c in calibrated) > 0.02
    over = calibration(*source(2000, power=3))
    assert over.expected_ece < 0.03 < 0.2 < over.ece


def test_thresholds():
    frame = calibration([0.99, 0.4, 0.9, 0.6], [1, 0, 0, 1]).thresholds([0, 0.6, 0.61, 0.99, 1])
    assert frame["threshold"].tolist() == [0, 0.6, 0.61, 0.99, 1]
    assert frame["n"].tolist() == [4, 3, 2, 1, 0]
    assert frame["answered"].tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert frame["accuracy"].tolist() == pytest.approx([0.5, 2 / 3, 0.5, 1, np.nan], nan_ok=True)
    theirs = binomtest(2, 3).proportion_ci(method="wilson")
    assert frame.loc[1, ["accuracy_low", "accuracy_high"]].tolist() == pytest.approx(
        [theirs.low, theirs.high]
    )
    assert frame.loc[4, ["accuracy", "accuracy_low", "accuracy_high"]].isna().all()


def test_default_thresholds():
    frame = calibration(*source(50)).thresholds()
    assert frame["threshold"].tolist() == [0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99]
    assert calibration(*source(50)).thresholds([]).empty


@pytest.mark.parametrize(
    ("confidence", "correct"),
    [
        ([0.2, 0.9, 1], [False, True, True]),
        (np.array([0.2, 0.9, 1]), np.array([0, 1, 1])),
        (np.array([0.2, 0.9, 1]), np.array([0.0, 1.0, 1.0])),
        (pd.Series([0.2, 0.9, 1], index=[7, 8, 9]), pd.Series([False, True, True], index=[7, 8, 9])),
        (pd.Series([0.2, 0.9, 1], dtype="Float64"), pd.Series([False, True, True], dtype="boolean")),
        (pd.Series([0.2, 0.9, 1], index=[7, 8, 9]), [False, True, True]),
        ([0.2, 0.9, 1 + 1e-7], (np.False_, np.True_, 1)),  # what a sum of float32 probabilities can give
    ],
)
def test_what_can_be_given(confidence, correct):
    found = calibration(confidence, correct)
    assert found.confidence.tolist() == [0.2, 0.9, 1]
    assert found.correct.tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("confidence", "correct", "options", "message"),
    [
        ([0.1, 0.2], [1], {}, "confidence has 2 items and correct 1: give one of each"),
        ([], [], {}, "there are no items: give at least one"),
        (
            [0.5, 1.2],
            [1, 0],
            {},
            "confidence[1] is 1.2: it must be a number from 0 to 1; divide percentages by 100",
        ),
        ([80, 0.5, 90, 95], [1] * 4, {}, "confidence[0] is 80 (and 2 more): it must be a number from 0 to 1"),
        ([0.5, -0.1], [1, 0], {}, "confidence[1] is -0.1: it must"),
        ([0.5, float("inf")], [1, 0], {}, "confidence[1] is inf: it must"),
        (["0.5"], [1], {}, "confidence[0] is '0.5': it must be a number"),
        (
            [0.5, np.nan, np.nan],
            [1, 0, 1],
            {},
            "confidence is missing at 2 of 3 items, first at index 1: leave such",
        ),
        ([0.5, None], [1, 0], {}, "confidence is missing at 1 of 2 items, first at index 1"),
        ([0.5, 0.6], [None, 0], {}, "correct is missing at 1 of 2 items, first at index 0"),
        (
            [0.5],
            pd.Series([pd.NA], dtype="boolean"),
            {},
            "correct is missing at 1 of 1 items, first at index 0",
        ),
        ([0.5, 0.6], [1, 0.5], {}, "correct[1] is 0.5: it must be True or False, or 1 or 0"),
        ([0.5, 0.6], ["yes", "no"], {}, "correct[0] is 'yes' (and 1 more): it must be True or False"),
        ([[0.5, 0.6]], [1, 0], {}, "confidence must be a flat list or array, got [[0.5, 0.6]]"),
        (0.5, True, {}, "confidence must be a flat list or array, got 0.5"),
        (
            pd.Series([0.5, 0.6]),
            pd.Series([1, 0], index=[1, 0]),
            {},
            "have different indexes: reindex one like the",
        ),
        ([0.5], [1], {"bins": 0}, "bins must be a whole number from 1 to 1000000, got 0"),
        ([0.5], [1], {"bins": 2.5}, "bins must be a whole number, got 2.5"),
        ([0.5], [1], {"equal": "size"}, "equal must be one of width, mass, got 'size'"),
    ],
)
def test_what_is_refused(confidence, correct, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        calibration(confidence, correct, **options)


def test_questions_that_are_refused():
    found = calibration([0.5], [1])
    with pytest.raises(ValueError, match="unknown interval 'briar': did you mean 'brier'"):
        found.interval("briar")
    with pytest.raises(ValueError, match=re.escape("values[0] is 90: it must be a number from 0 to 1")):
        found.thresholds([90])


def test_one_line_says_it_all():
    found = calibration([0.8] * 10 + [0.3] * 10, [1] * 6 + [0] * 4 + [1] * 3 + [0] * 7)
    ece, brier = found.interval("ece"), found.interval("brier")
    assert repr(found) == (
        "Calibration: n 20, accuracy 0.450, mean confidence 0.550, "
        f"ECE 0.100 ({ece[0]:.3f} to {ece[1]:.3f}; {found.expected_ece:.3f} by chance alone), "
        f"Brier 0.245 ({brier[0]:.3f} to {brier[1]:.3f}); 10 bins of equal width, 2 in use"
    )
    shown = found._repr_html_()
    assert shown.startswith(f"<p>{found!r}</p><div ")
    assert shown.count("<tr") == 3
    assert repr(calibration(*source(30), bins=3, equal="mass")).endswith("; 3 bins of equal mass")


def test_ten_thousand_items_take_about_a_second():
    found = calibration(*source(10_000))
    began = time.process_time()
    found.interval("ece")
    assert time.process_time() - began < 3  # about 1 with the import of scipy.stats


@pytest.mark.parametrize("equal", ["width", "mass"])
def test_the_plot_draws_one_dot_for_each_bin(equal):
    found = calibration(*source(200), bins=7, equal=equal)
    frame = found.frame()
    above, below = found.plot().axes
    intervals, dots = above.collections
    assert dots.get_offsets().tolist() == frame[["confidence", "accuracy"]].to_numpy().tolist()
    assert np.argsort(dots.get_sizes()).tolist() == np.argsort(frame["n"]).tolist()
    ends = [segment[:, 1].tolist() for segment in intervals.get_segments()]
    assert ends == frame[["accuracy_low", "accuracy_high"]].to_numpy().tolist()
    assert sum(bar.get_height() for bar in below.patches) == 200
    assert above.get_ylabel().startswith("accuracy")
    assert (below.get_xlabel(), below.get_ylabel()) == ("confidence", "items")


def test_the_histogram_has_its_bars_where_the_bins_are():
    _, below = plot_calibration(
        calibration([0.0, 0.9, 0.95, 1.0], [1] * 4).frame(), np.array([0.0, 0.9, 0.95, 1.0])
    ).axes
    ends = [bar.get_x() + bar.get_width() for bar in below.patches if bar.get_height()]
    assert ends == pytest.approx([0.025, 0.9, 0.95, 1.0])


def test_a_notebook_shows_the_figure_once():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    calibration([0.7], [1]).plot()
    assert plt.get_fignums() == before
