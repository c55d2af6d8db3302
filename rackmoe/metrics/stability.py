"""Whether a run can be trusted: Little's law, steady state, sample size."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rackmoe.errors import InvariantError
from rackmoe.metrics.latency import request_latencies
from rackmoe.metrics.steady import mean_estimates, settled_window
from rackmoe.metrics.throughput import emitted_tokens
from rackmoe.metrics.window import Window, arrived_within, overlap_s

__all__ = ["check_little_law", "mean_in_system", "stability_warnings"]

LITTLE_TOLERANCE = 1e-9
"""Rounding that a sum over requests may show, relative."""

DRIFT_TOLERANCE_FRAC = 0.1
"""Difference between the halves of a window that a steady run may show."""

UNCERTAINTY_FRAC = 0.1
"""Half-width of a confidence interval, relative to its mean, that a good run stays below."""

LATE_FRAC = 0.25
"""Share of the window after which a run should have settled."""

_NEVER_SETTLED = (
    "ttft_s: not settled by the middle of the window; expected a steady state;"
    " lengthen the run, or lower the arrival rate"
)

P99_SAMPLE = 100
"""Requests below which the 99th percentile is no more than the largest value."""


def mean_in_system(requests: pd.DataFrame, *, window: Window) -> float:
    """Return the mean number of requests that are waiting or served.

    Parameters
    ----------
    requests : DataFrame
        All requests of a run (`REQUEST_COLUMNS`); rejected ones never stay.
    window : Window
        Time to average over.

    Returns
    -------
    float
        Requests.
    """
    arrival_s, leave_s = _stays(requests, end_s=window.end_s)
    return float(overlap_s(arrival_s, end_s=leave_s, window=window).sum() / window.duration_s)


def check_little_law(requests: pd.DataFrame) -> None:
    r"""Check that a drained run obeys Little's law (LAW-09).

    The mean number in the system comes from a sweep over arrivals and
    departures, the mean stay from each request's own latency.

    Parameters
    ----------
    requests : DataFrame
        All requests of a run (`REQUEST_COLUMNS`).

    Raises
    ------
    InvariantError
        If a request is neither done nor rejected, or the two sides differ.

    Notes
    -----
    .. math:: \bar N = \lambda \bar W

    with all three over the time from the first arrival to the last departure
    [1]_.

    References
    ----------
    .. [1] J. D. C. Little, "A proof for the queuing formula: L = lambda W,"
       Operations Research, vol. 9, no. 3, pp. 383-387, 1961.
    """
    served = requests[requests["state"] != "rejected"]
    if not len(served):
        return
    unfinished = int((served["state"] != "done").sum())
    if unfinished:
        raise InvariantError(
            f"LAW-09: {unfinished} of {len(served)} requests are not done; expected a drained run"
        )
    e2e_s = request_latencies(served)["e2e_s"].to_numpy(np.float64)
    stay_s = float(e2e_s.sum())
    integral_s = _sweep_integral_s(*_stays(served, end_s=np.inf))
    if not abs(integral_s - stay_s) <= LITTLE_TOLERANCE * max(abs(stay_s), abs(integral_s)):
        raise InvariantError(
            f"LAW-09: {integral_s!r} request-seconds in the system;"
            f" expected rate x stay = {stay_s!r}"
        )


def stability_warnings(requests: pd.DataFrame, *, window: Window) -> list[str]:
    """Return why the figures of a window may not hold.

    Parameters
    ----------
    requests : DataFrame
        All requests of a run (`REQUEST_COLUMNS`).
    window : Window
        The measurement window.

    Returns
    -------
    list of str
        A sentence for each doubt: fewer requests than percentiles need, a first
        half of the window that differs from the second one by more than 10 %, a
        mean that its confidence interval leaves uncertain by more than 10 %, or a
        TTFT that settles late.
    """
    warnings = []
    n_done = int((arrived_within(requests, window=window)["state"] == "done").sum())
    if n_done < P99_SAMPLE:
        warnings.append(
            f"window: {n_done} requests done; expected at least {P99_SAMPLE} for a 99th"
            " percentile; raise the number of requests"
        )
    middle_s = (window.start_s + window.end_s) / 2
    if not window.start_s < middle_s < window.end_s:
        return warnings
    halves = (
        Window(start_s=window.start_s, end_s=middle_s),
        Window(start_s=middle_s, end_s=window.end_s),
    )
    drifts = {
        "output_tokens_per_s": [
            emitted_tokens(requests, window=half) / half.duration_s for half in halves
        ],
        "requests in the system": [mean_in_system(requests, window=half) for half in halves],
    }
    for name, (first, second) in drifts.items():
        if abs(second - first) > DRIFT_TOLERANCE_FRAC * max(first, second):
            warnings.append(
                f"{name}: {first:.4g} in the first half of the window, {second:.4g} in the second;"
                f" expected within {DRIFT_TOLERANCE_FRAC:.0%}; lengthen the warm-up or the run,"
                " or lower the arrival rate"
            )
    return [*warnings, *_uncertain(requests, window=window), *_unsettled(requests, window=window)]


def _uncertain(requests: pd.DataFrame, *, window: Window) -> list[str]:
    """Name the means that the run is too short to know well."""
    return [
        f"{name}: {estimate.mean:.4g} with a 95 % confidence interval of +-"
        f"{estimate.relative_half_width:.0%}"
        f"{' at least, as its batches are correlated' if estimate.is_correlated else ''};"
        f" expected within {UNCERTAINTY_FRAC:.0%}; lengthen the run"
        for name, estimate in mean_estimates(requests, window=window).items()
        if estimate.relative_half_width > UNCERTAINTY_FRAC
    ]


def _unsettled(requests: pd.DataFrame, *, window: Window) -> list[str]:
    """Say when the TTFT settles, where that takes a good part of the window."""
    n_arrived = len(arrived_within(requests, window=window))
    if n_arrived < P99_SAMPLE:
        return []
    settled = settled_window(requests, window=window)
    if settled is None:
        return [_NEVER_SETTLED]
    late_s = settled.start_s - window.start_s
    if late_s <= LATE_FRAC * window.duration_s:
        return []
    text = (
        f"ttft_s: settles {late_s:.4g} s after the start of the window; expected within"
        f" {LATE_FRAC:.0%} of it; lengthen the warm-up by that, or set measurement.detect_warm_up"
    )
    return [text]


def _stays(
    requests: pd.DataFrame, *, end_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    served = requests[requests["state"] != "rejected"]
    is_done = (served["state"] == "done").to_numpy()
    last_s = served["last_token_s"].to_numpy(np.float64)
    return served["arrival_s"].to_numpy(np.float64), np.where(is_done, last_s, end_s)


def _sweep_integral_s(arrival_s: NDArray[np.float64], leave_s: NDArray[np.float64]) -> float:
    time_s = np.concatenate([arrival_s, leave_s])
    change = np.repeat([1, -1], arrival_s.size)
    order = np.lexsort((-change, time_s))  # at one instant, arrivals before departures
    in_system = np.cumsum(change[order])
    if in_system.min() < 0:
        raise InvariantError("LAW-09: a request left before it arrived; expected e2e_s >= 0")
    return float((in_system[:-1] * np.diff(time_s[order])).sum())
