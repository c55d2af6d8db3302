"""How many requests are served well enough: goodput under an SLO."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rackmoe.metrics.latency import request_latencies
from rackmoe.metrics.window import Window, arrived_within

__all__ = ["Slo", "goodput_figures", "meets_slo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Limits that a request has to keep, every one of them.

    Parameters
    ----------
    ttft_s, tpot_s, e2e_s : float, optional
        Largest latency that is good enough; infinite by default. [s]
    """

    ttft_s: float = float("inf")
    tpot_s: float = float("inf")
    e2e_s: float = float("inf")


def meets_slo(latencies: pd.DataFrame, *, slo: Slo) -> NDArray[np.bool_]:
    """Return which requests keep every limit.

    Parameters
    ----------
    latencies : DataFrame
        From `request_latencies`.
    slo : Slo
        The limits.

    Returns
    -------
    ndarray of shape (n_requests,)
        A one-token answer has no TPOT and cannot miss that limit.
    """
    is_met = np.ones(len(latencies), bool)
    for name in ("ttft_s", "tpot_s", "e2e_s"):
        is_met &= ~(latencies[name].to_numpy(np.float64) > getattr(slo, name))
    return is_met


def goodput_figures(requests: pd.DataFrame, *, window: Window, slo: Slo) -> dict[str, float]:
    """Return goodput and the share of requests that keep the SLO.

    Parameters
    ----------
    requests : DataFrame
        All requests of a run (`REQUEST_COLUMNS`).
    window : Window
        Goodput counts the requests that are done within it, the share those
        that arrive within it.
    slo : Slo
        The limits.

    Returns
    -------
    dict of str to float
        ``goodput_requests_per_s`` [1/s] and ``slo_met_frac``; a request that is
        rejected or not done when the run ends has missed its SLO.
    """
    latencies = request_latencies(requests)
    is_met = pd.Series(meets_slo(latencies, slo=slo), index=latencies.index)
    last_s = requests.set_index("request_id")["last_token_s"].reindex(is_met.index)
    is_done_within = (last_s >= window.start_s) & (last_s < window.end_s)
    arrived = arrived_within(requests, window=window)["request_id"]
    n_met = int(is_met.reindex(arrived, fill_value=False).sum())
    return {
        "goodput_requests_per_s": float((is_met & is_done_within).sum()) / window.duration_s,
        "slo_met_frac": n_met / len(arrived) if len(arrived) else float("nan"),
    }
