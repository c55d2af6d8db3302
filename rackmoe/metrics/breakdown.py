"""Where each millisecond goes: parts of a step and parts of a request."""

import numpy as np
import pandas as pd

from rackmoe.metrics.window import Window, overlap_s
from rackmoe.records import BREAKDOWN_COLUMNS

__all__ = ["REQUEST_PARTS", "breakdown_figures", "request_breakdown", "step_breakdown"]

REQUEST_PARTS = ("queue_s", "prefill_s", "transfer_s", "decode_s")
"""Parts of `e2e_s`, in the order in which a request passes through them."""


def step_breakdown(steps: pd.DataFrame, *, window: Window) -> pd.DataFrame:
    """Return the time of each part of the steps, by pool.

    Parameters
    ----------
    steps : DataFrame
        Steps of a run (`STEP_COLUMNS`).
    window : Window
        A step on its edge counts in proportion.

    Returns
    -------
    DataFrame
        A row for each (pool, part): `time_s`, summed over steps and replicas [s],
        `time_frac` of the pool's step time, and `time_per_step_s`, the mean of a
        step [s].
    """
    share = _share_of_step(steps, window)
    pool = steps["pool"].astype(str).to_numpy()
    rows = []
    for name in dict.fromkeys(pool):
        weight = np.where(pool == name, share, 0.0)
        total_s = float((weight * steps["duration_s"]).sum())
        for part in BREAKDOWN_COLUMNS:
            time_s = float((weight * steps[part]).sum())
            frac = time_s / total_s if total_s else float("nan")
            per_step_s = time_s / weight.sum() if weight.any() else float("nan")
            rows.append((name, part.removesuffix("_s"), time_s, frac, per_step_s))
    columns = ["pool", "part", "time_s", "time_frac", "time_per_step_s"]
    return pd.DataFrame(rows, columns=columns)


def request_breakdown(latencies: pd.DataFrame) -> pd.DataFrame:
    """Return where the time of a mean request goes.

    Parameters
    ----------
    latencies : DataFrame
        From `request_latencies`, of the requests that count.

    Returns
    -------
    DataFrame
        A row for each of `REQUEST_PARTS`: `mean_s` [s] and `e2e_frac`.
    """
    mean_s = np.array([latencies[part].mean() for part in REQUEST_PARTS])
    parts = [part.removesuffix("_s") for part in REQUEST_PARTS]
    return pd.DataFrame({"part": parts, "mean_s": mean_s, "e2e_frac": mean_s / mean_s.sum()})


def breakdown_figures(steps: pd.DataFrame, *, window: Window) -> dict[str, float]:
    """Return how busy the replicas are, and with what.

    Parameters
    ----------
    steps : DataFrame
        Steps of a run (`STEP_COLUMNS`).
    window : Window
        A step on its edge counts in proportion.

    Returns
    -------
    dict of str to float
        Shares of the step time of all pools (``attention_time_frac``, ...), of
        the window (``stepping_frac``, ``gpu_busy_frac``, both means over the
        replicas), ``decode_batch_mean`` and ``imbalance_mean``, weighted by time.
    """
    share = _share_of_step(steps, window)
    time_s = share * steps["duration_s"].to_numpy(np.float64)
    total_s = float(time_s.sum())
    n_replicas = steps["replica"].nunique()
    available_s = n_replicas * window.duration_s
    figures = {
        "stepping_frac": _ratio(total_s, available_s),
        "gpu_busy_frac": _ratio(float((share * steps["gpu_busy_s"]).sum()), available_s),
        "decode_batch_mean": _weighted_mean(steps, "n_sequences", time_s),
        "imbalance_mean": _weighted_mean(steps, "imbalance", time_s),
    }
    for part in BREAKDOWN_COLUMNS:
        name = f"{part.removesuffix('_s')}_time_frac"
        figures[name] = _ratio(float((share * steps[part]).sum()), total_s)
    return figures


def _share_of_step(
    steps: pd.DataFrame, window: Window
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    start_s = steps["start_s"].to_numpy(np.float64)
    duration_s = steps["duration_s"].to_numpy(np.float64)
    within_s = overlap_s(start_s, end_s=start_s + duration_s, window=window)
    share = np.zeros(start_s.shape)
    np.divide(within_s, duration_s, out=share, where=duration_s > 0)
    return share


def _weighted_mean(
    steps: pd.DataFrame, column: str, time_s: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> float:
    """Return the mean over the steps that decode, or of a ratio that is defined."""
    values = steps[column].to_numpy(np.float64)
    weights = np.where(values > 0, time_s, 0.0)
    return _ratio(float((weights * np.nan_to_num(values)).sum()), float(weights.sum()))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
