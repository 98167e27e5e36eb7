"""Calibration: whether answers with a confidence of 80 % are right 80 % of the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit._internal.field_docs import documented
from toolkit._internal.text import short_repr
from toolkit._internal.validation import Whole, limited_list, unknown
from toolkit.analysis.determinism.statistics import interval
from toolkit.display.html import html_table
from toolkit.display.markup import Markup, markup
from toolkit.display.plots.calibration import plot_calibration

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]
EQUAL = ("width", "mass")
"""width: bins (low, high] of equal width over 0 to 1, the first including 0. mass: bins with equally many items."""
INTERVALS = ("ece", "brier", "accuracy")
THRESHOLDS = (0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_ROUNDING = 1e-6
"""Sums of float32 probabilities can lie this far outside 0 to 1; they are clipped to 0 or 1."""


def calibration(
    confidence: Iterable[Any], correct: Iterable[Any], bins: int = 10, equal: str = "width"
) -> Calibration:
    """Compares a source's confidence in its answers with how often they are correct.

    confidence: (n,) numbers from 0 to 1. correct: (n,) True or False, or 1 and 0, in the same order. equal: one of
    `EQUAL`; by mass, equal confidences stay in one bin, so bins can be fewer and not quite equal.

    Raises ValueError for different lengths or pandas indexes, no items, missing values and values out of range.
    """
    import pandas as pd

    p = _checked_numbers("confidence", confidence, _is_share, _SHARE_RULE)
    y = _checked_numbers("correct", correct, (0, 1).__contains__, "must be True or False, or 1 or 0")
    if len(p) != len(y):
        raise ValueError(f"confidence has {len(p)} items and correct {len(y)}: give one of each")
    if not len(p):
        raise ValueError("there are no items: give at least one confidence, and whether it was correct")
    series = [v for v in (confidence, correct) if isinstance(v, pd.Series)]
    if len(series) == 2 and not series[0].index.equals(series[1].index):
        raise ValueError(
            "confidence and correct have different indexes: reindex one like the other, or give both "
            "with .to_numpy() to pair them by position"
        )
    bins = Whole(1, 1_000_000, "10 is usual")("bins", bins)
    if equal not in EQUAL:
        raise ValueError(f"equal must be one of {', '.join(EQUAL)}, got {short_repr(equal)}")
    order = np.lexsort((y, p))
    p, y = p[order], y[order]
    if equal == "width":
        numbers = np.searchsorted(np.arange(1, bins) / bins, p)
    else:  # by the middle of the ranks of equal values
        numbers = (np.searchsorted(p, p) + np.searchsorted(p, p, side="right")) * bins // (2 * len(p))
    return Calibration(p, y.astype(bool), numbers, bins, equal)


@documented
@dataclass(frozen=True, eq=False, repr=False)
class Calibration:
    """Confidence against correctness over n items. Made by `calibration`.

    Random draws use a fixed seed; no result depends on the order of the items.
    """

    confidence: Floats
    """(n,) 0 to 1, ascending."""
    correct: npt.NDArray[np.bool_]
    """(n,) whether each answer is correct, in the order of `confidence`."""
    bin: Positions
    """(n,) index of each item's bin, from 0, ascending; bins can be empty."""
    bins: int
    """The number of bins requested."""
    equal: str
    """What the bins have equal, one of `EQUAL`."""

    @property
    def n(self) -> int:
        """Number of items."""
        return len(self.confidence)

    @property
    def accuracy(self) -> float:
        """Share of correct answers, 0 to 1."""
        return float(self.correct.mean())

    @property
    def mean_confidence(self) -> float:
        """0 to 1; if it is above the accuracy, the source is overconfident overall."""
        return float(self.confidence.mean())

    @property
    def brier(self) -> float:
        """Mean of (confidence − correct)², 0 (best) to 1 (Brier 1950). It needs no bins, and rewards discrimination
        as well as calibration; a constant confidence of 0.5 scores 0.25."""
        return float((self._residual**2).mean())

    @property
    def ece(self) -> float:
        """Expected calibration error, 0 (best) to 1: the sum over bins of n_b/n · |accuracy_b − confidence_b|
        (Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599).

        It depends on the bins. For small n it is biased upwards: chance moves the accuracy of each bin, so a
        perfectly calibrated source has an ECE above 0; `expected_ece` estimates it."""
        return float(_ece(self._residual, self._starts))

    @cached_property
    def expected_ece(self) -> float:
        """The expected ECE of a perfectly calibrated source with these confidences: each answer is correct with the
        probability of its confidence; the mean of 1,000 draws, in the same bins."""
        rng, p = np.random.default_rng(0), self.confidence
        return float(np.mean([_ece((rng.random(self.n) < p) - p, self._starts) for _ in range(1000)]))

    def interval(self, name: str = "ece") -> tuple[float, float]:
        """(low, high), the 95 % confidence interval of one of `INTERVALS`.

        accuracy: Wilson 1927. ece, brier: percentiles over 2,000 bootstrap resamples of the items (Efron 1979) in
        the same bins; NaN for a single item. The interval of the ECE has its bias twice: it never
        reaches 0, and is too high where the ECE is near `expected_ece`. It does not test perfect calibration.
        """
        if name not in INTERVALS:
            raise ValueError(unknown("interval", name, INTERVALS))
        if name == "accuracy":
            low, high = interval(self.correct.sum(), self.n)
            return float(low), float(high)
        return self._bootstrapped[name]

    def frame(self) -> pd.DataFrame:
        """A row for each bin that is not empty: low, high (its edges; by mass, its lowest and highest confidence), n,
        confidence (mean), accuracy with its 95 % Wilson interval, gap (confidence − accuracy: above 0 where the
        source is overconfident)."""
        import pandas as pd

        first = self._starts
        n = np.diff(first, append=self.n)
        if self.equal == "width":
            low, high = self.bin[first] / self.bins, (self.bin[first] + 1) / self.bins
        else:
            low, high = self.confidence[first], self.confidence[first + n - 1]
        mean = np.add.reduceat(self.confidence, first) / n
        shares = _shares(np.add.reduceat(self.correct, first, dtype=np.intp), n)
        return pd.DataFrame(
            {"low": low, "high": high, "n": n, "confidence": mean, **shares, "gap": mean - shares["accuracy"]}
        )

    def thresholds(self, values: Iterable[float] | None = None) -> pd.DataFrame:
        """Accuracy of confident answers alone. A row for each threshold, 0 to 1 (`THRESHOLDS` unless given):
        answered (share of items with confidence ≥ threshold), n, accuracy among them with its 95 % Wilson interval,
        NaN where there are none."""
        import pandas as pd

        cutoffs = _checked_numbers("values", THRESHOLDS if values is None else values, _is_share, _SHARE_RULE)
        first = np.searchsorted(self.confidence, cutoffs)
        right = np.append(np.cumsum(self.correct[::-1])[::-1], 0)[first]
        n = self.n - first
        return pd.DataFrame({"threshold": cutoffs, "answered": n / self.n, "n": n, **_shares(right, n)})

    def plot(self) -> Figure:
        """The reliability diagram: accuracy against confidence by bin, and the distribution of the confidences."""
        return plot_calibration(self.frame(), self.confidence)

    def __repr__(self) -> str:
        ece, brier = ("{:.3f} to {:.3f}".format(*self.interval(name)) for name in ("ece", "brier"))
        in_use = f", {len(self._starts)} in use" if len(self._starts) < self.bins else ""
        return (
            f"Calibration: n {self.n:,}, accuracy {self.accuracy:.3f}, mean confidence {self.mean_confidence:.3f}, "
            f"ECE {self.ece:.3f} ({ece}; {self.expected_ece:.3f} by chance alone), "
            f"Brier {self.brier:.3f} ({brier}); {self.bins} bins of equal {self.equal}{in_use}"
        )

    def _repr_html_(self) -> Markup:
        return markup("<p>{}</p>{}", repr(self), html_table(self.frame().round(3)))

    @property
    def _residual(self) -> Floats:
        return self.correct - self.confidence

    @cached_property
    def _starts(self) -> Positions:
        """(b,) position of the first item of each bin that is not empty."""
        return np.unique(self.bin, return_index=True)[1]

    @cached_property
    def _bootstrapped(self) -> dict[str, tuple[float, float]]:
        from scipy.stats import bootstrap

        n, residual = self.n, self._residual
        if n == 1:  # scipy's bootstrap refuses it
            return dict.fromkeys(("ece", "brier"), (np.nan, np.nan))

        def statistics(resamples: Positions, axis: int) -> Floats:
            # (resamples, n) how often each item was drawn: items then stay in the order of their bins.
            indices = (resamples + n * np.arange(len(resamples))[:, None]).ravel()
            counts = np.bincount(indices, minlength=resamples.size).reshape(resamples.shape)
            return np.stack([_ece(counts * residual, self._starts), counts @ residual**2 / n])

        batch, rng = max(1, 2**18 // n), np.random.default_rng(0)  # arrays that fit into a processor's cache
        settings = {"n_resamples": 2000, "method": "percentile", "batch": batch, "rng": rng}
        low, high = bootstrap((np.arange(n),), statistics, vectorized=True, **settings).confidence_interval
        return {"ece": (float(low[0]), float(high[0])), "brier": (float(low[1]), float(high[1]))}


def _ece(residual: Floats, starts: Positions) -> Floats:
    """(…,) ECE of (…, n) correct − confidence: n_b cancels in n_b/n · |mean residual of the bin|."""
    ece: Floats = np.abs(np.add.reduceat(residual, starts, axis=-1)).sum(axis=-1) / residual.shape[-1]
    return ece


def _shares(right: Positions, n: Positions) -> dict[str, Floats]:
    low, high = interval(right, n)
    return {"accuracy": right / np.where(n > 0, n, np.nan), "accuracy_low": low, "accuracy_high": high}


_SHARE_RULE = "must be a number from 0 to 1; divide percentages by 100, take exp() of logprobs"


def _is_share(value: Any) -> bool:
    return bool(-_ROUNDING <= value <= 1 + _ROUNDING)


def _checked_numbers(name: str, values: Iterable[Any], is_valid: Callable[[Any], bool], rule: str) -> Floats:
    """(n,) the values as floats from 0 to 1. Raises ValueError that names the index of a missing or invalid one."""
    import pandas as pd

    items = np.asarray(limited_list(name, values) if isinstance(values, Sequence) else values, dtype=object)
    if items.ndim != 1:
        raise ValueError(f"{name} must be a flat list or array, got {short_repr(values)}")
    missing = np.flatnonzero(pd.isna(items))
    if len(missing):
        raise ValueError(
            f"{name} is missing at {len(missing)} of {len(items)} items, first at index {missing[0]}: leave such "
            "items out of confidence and correct, or count an answer that cannot be read as wrong"
        )
    wrong = [i for i, v in enumerate(items) if not (isinstance(v, (Real, np.bool_)) and is_valid(v))]
    if wrong:
        others = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ValueError(f"{name}[{wrong[0]}] is {short_repr(items[wrong[0]])}{others}: it {rule}")
    return np.clip(items.astype(np.float64), 0, 1)
