"""Square panels with equal logarithmic axes, measured to the right and predicted upward."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from rackmoe.report.numbers import show_number

__all__ = ["BAND_FRAC", "draw_diagonal"]

BAND_FRAC = 0.2
"""How far from the measured value the shaded band reaches."""

_MARGIN = 1.5
# beyond these many decades, ticks at 2 and 5, then every other decade, would run together
_DECADES_WITH_SUBTICKS, _MOST_DECADES = 2.3, 5.0


def draw_diagonal(axis: Axes, *, values: NDArray[np.float64]) -> tuple[float, float]:
    """Prepare a panel for values of both axes: limits, ticks, diagonal and band.

    Parameters
    ----------
    axis : Axes
        The panel.
    values : ndarray
        Measured and predicted values, all positive, in one unit.

    Returns
    -------
    tuple of two float
        The limits of both axes.
    """
    low, high = float(values.min()) / _MARGIN, float(values.max()) * _MARGIN
    ends = np.array([low, high])
    band = (ends * (1 - BAND_FRAC), ends * (1 + BAND_FRAC))
    axis.fill_between(ends, *band, color="#e9eef3", lw=0)
    axis.plot(ends, ends, color="#9a9a9a", lw=1)
    axis.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    decades = float(np.log10(high / low))
    subs = (1.0, 2.0, 5.0) if decades < _DECADES_WITH_SUBTICKS else (1.0,)
    for one in (axis.xaxis, axis.yaxis):
        one.set_major_locator(LogLocator(subs=subs, numticks=6 if decades > _MOST_DECADES else 12))
        one.set_major_formatter(FuncFormatter(lambda value, _: show_number(float(value))))
        one.set_minor_formatter(NullFormatter())
        one.set_minor_locator(NullLocator())
    axis.set_aspect("equal")
    return low, high
