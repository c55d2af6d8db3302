"""What a run amounts to: one flat row of figures."""

import pandas as pd

from rackmoe.metrics.applications import prefix_hit_frac
from rackmoe.metrics.breakdown import breakdown_figures
from rackmoe.metrics.goodput import Slo, goodput_figures
from rackmoe.metrics.latency import itl_figures, latency_figures, request_latencies
from rackmoe.metrics.stability import mean_in_system
from rackmoe.metrics.steady import steady_figures
from rackmoe.metrics.throughput import Fleet, throughput_figures
from rackmoe.metrics.window import Window, arrived_within

__all__ = ["summarize"]


def summarize(
    requests: pd.DataFrame,
    *,
    steps: pd.DataFrame,
    window: Window,
    fleet: Fleet,
    slo: Slo | None = None,
) -> dict[str, float]:
    """Return the figures of a run that follow from requests and steps.

    Power and cost are added by `energy_figures`, `cost_figures` and
    `revenue_figures`.

    Parameters
    ----------
    requests : DataFrame
        All requests of a run (`REQUEST_COLUMNS`).
    steps : DataFrame
        All steps of a run (`STEP_COLUMNS`).
    window : Window
        The measurement window; see there for what counts.
    fleet : Fleet
        GPUs to divide by.
    slo : Slo, optional
        Limits for goodput, which is left out without them.

    Returns
    -------
    dict of str to float
        Metric to value, each explained in `METRICS`, in a fixed order.
    """
    arrived = arrived_within(requests, window=window)
    latencies = request_latencies(arrived)
    end_s = steps["start_s"] + steps["duration_s"]
    steps_within = steps[(end_s >= window.start_s) & (end_s < window.end_s)]
    figures = {
        "window_s": window.duration_s,
        "n_requests": len(arrived),
        "n_done": len(latencies),
        "n_rejected": int((arrived["state"] == "rejected").sum()),
        "n_preemptions": int(arrived["n_preemptions"].sum()),
        "requests_in_system_mean": mean_in_system(requests, window=window),
        "prefix_hit_frac": prefix_hit_frac(requests, window=window),
    }
    figures |= throughput_figures(requests, window=window, fleet=fleet)
    figures |= latency_figures(latencies)
    figures |= itl_figures(steps_within)
    figures |= steady_figures(requests, window=window)
    if slo is not None:
        figures |= goodput_figures(requests, window=window, slo=slo)
    return figures | breakdown_figures(steps, window=window)
