"""What each of several applications got from the machine that they share."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rackmoe.metrics.goodput import Slo, goodput_figures
from rackmoe.metrics.latency import latency_figures, request_latencies
from rackmoe.metrics.throughput import emitted_tokens, processed_input_tokens
from rackmoe.metrics.window import Window, arrived_within

__all__ = ["application_figures", "joint_goodput", "prefix_hit_frac"]


def application_figures(
    requests: pd.DataFrame, *, window: Window, slos: Mapping[str, Slo | None]
) -> dict[str, dict[str, float]]:
    """Return the figures of every application.

    Parameters
    ----------
    requests : DataFrame
        All requests of a run (`REQUEST_COLUMNS`).
    window : Window
        The measurement window.
    slos : mapping of str to Slo or None
        Limits of each application; None for those without any.

    Returns
    -------
    dict of str to dict
        By application: counts, rates and latencies as in `METRICS`, and goodput where
        it has limits.
    """
    found = {}
    for name, slo in slos.items():
        own = requests[requests["application"] == name]
        arrived = arrived_within(own, window=window)
        latencies = request_latencies(arrived)
        figures = {
            "n_requests": float(len(arrived)),
            "n_done": float(len(latencies)),
            "n_rejected": float((arrived["state"] == "rejected").sum()),
            "n_preemptions": float(arrived["n_preemptions"].sum()),
            "output_tokens_per_s": emitted_tokens(own, window=window) / window.duration_s,
            "input_tokens_per_s": processed_input_tokens(own, window=window) / window.duration_s,
            "prefix_hit_frac": prefix_hit_frac(own, window=window),
        }
        figures |= latency_figures(latencies)
        if slo is not None:
            figures |= goodput_figures(own, window=window, slo=slo)
        found[name] = figures
    return found


def joint_goodput(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the goodput of all applications, each by its own limits.

    Parameters
    ----------
    figures : mapping of str to mapping
        From `application_figures`.

    Returns
    -------
    dict of str to float
        ``goodput_requests_per_s`` [1/s] and ``slo_met_frac``; empty unless every
        application has limits.
    """
    if not all("slo_met_frac" in own for own in figures.values()):
        return {}
    n_requests = np.array([own["n_requests"] for own in figures.values()])
    met = np.array([own["slo_met_frac"] for own in figures.values()])
    n_met = float(np.nansum(met * n_requests))
    return {
        "goodput_requests_per_s": sum(own["goodput_requests_per_s"] for own in figures.values()),
        "slo_met_frac": n_met / float(n_requests.sum()) if n_requests.any() else float("nan"),
    }


def prefix_hit_frac(requests: pd.DataFrame, *, window: Window) -> float:
    """Return the share of prompt tokens that prefix caches had.

    Parameters
    ----------
    requests : DataFrame
        Requests of a run (`REQUEST_COLUMNS`).
    window : Window
        Requests that arrive within it and were scheduled count, each when first scheduled.

    Returns
    -------
    float
        0 to 1; NaN without requests.
    """
    arrived = arrived_within(requests, window=window)
    scheduled = arrived[arrived["scheduled_s"].notna()]
    n_input = float(scheduled["n_input_tokens"].sum())
    return float(scheduled["n_cached_tokens"].sum()) / n_input if n_input else float("nan")
