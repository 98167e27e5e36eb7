"""The reliability diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toolkit.display.plots.style import PALETTE, new_figure, tidy

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def plot_calibration(bins: pd.DataFrame, confidence: np.typing.NDArray[np.float64]) -> Figure:
    """Reliability diagram of a `Calibration`'s frame: above, accuracy against mean confidence, a dot for each bin,
    its area by n, with the Wilson interval; on the diagonal, confidence is what it says. Below, the confidences."""
    figure = new_figure(5.2, 6.4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    above.plot([0, 1], [0, 1], "--", color="gray", lw=1)
    above.text(0.02, 0.98, "underconfident", color="gray", va="top")
    above.text(0.98, 0.02, "overconfident", color="gray", ha="right")
    above.vlines(bins["confidence"], bins["accuracy_low"], bins["accuracy_high"], color=PALETTE[0], lw=1.5)
    area = 16 + 110 * bins["n"] / bins["n"].max()
    above.scatter(bins["confidence"], bins["accuracy"], s=area, color=PALETTE[0], edgecolor="white", zorder=3)
    above.set(
        ylabel="accuracy (dot: a bin, area: its items, line: 95 % interval)",
        ylim=(-0.03, 1.03),
        aspect="equal",
    )
    # Bars (low, high], as the bins of a Calibration: 0.9 and 0.95 are common, and lie on edges.
    below.hist(np.nextafter(confidence, 0), bins=(np.arange(41) / 40).tolist(), color=PALETTE[4])
    below.set(xlabel="confidence", ylabel="items", xlim=(-0.03, 1.03))
    below.locator_params(axis="y", integer=True, nbins=4)
    for axis in (above, below):
        tidy(axis)
    return figure
