"""How many GPU-hours replicas served, started up or stood still."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rackmoe.metrics.window import Window, overlap_s

__all__ = ["fleet_figures", "released_gpus"]

_S_PER_HOUR = 3600.0
_NAMES: Mapping[str, tuple[str, ...]] = {
    "serving_gpu_hours": ("serving", "draining"),
    "loading_gpu_hours": ("loading",),
    "off_gpu_hours": ("off",),
    "failed_gpu_hours": ("failed",),
}


def fleet_figures(
    replicas: pd.DataFrame, *, gpus_of_replica: NDArray[np.int64], window: Window
) -> dict[str, float]:
    """Return what the GPUs of the replicas did in a window.

    Parameters
    ----------
    replicas : DataFrame
        What each replica was from when to when (`REPLICA_COLUMNS`).
    gpus_of_replica : ndarray of shape (n_replicas,)
        GPUs of each replica.
    window : Window
        The measured window.

    Returns
    -------
    dict of str to float
        GPU-hours by what the replica did, and the replicas that served on average.
    """
    start_s = replicas["start_s"].to_numpy(np.float64)
    end_s = start_s + replicas["duration_s"].to_numpy(np.float64)
    within_s = overlap_s(start_s, end_s=end_s, window=window)
    gpus = gpus_of_replica[replicas["replica"].to_numpy(np.int64)]
    state = replicas["state"].astype(str)
    figures = {
        name: float((within_s * gpus)[state.isin(states).to_numpy()].sum()) / _S_PER_HOUR
        for name, states in _NAMES.items()
    }
    is_serving = state.isin(_NAMES["serving_gpu_hours"]).to_numpy()
    figures["serving_replicas_mean"] = float(within_s[is_serving].sum()) / window.duration_s
    return figures


def released_gpus(
    replicas: pd.DataFrame,
    *,
    gpus_of_replica: NDArray[np.int64],
    window: Window,
    pools: frozenset[str],
) -> float:
    """Return the GPUs that were off and given back, on average over a window.

    Parameters
    ----------
    replicas : DataFrame
        What each replica was from when to when (`REPLICA_COLUMNS`).
    gpus_of_replica : ndarray of shape (n_replicas,)
        GPUs of each replica.
    window : Window
        The measured window.
    pools : frozenset of str
        Pools whose inactive GPUs are given back.

    Returns
    -------
    float
        GPUs that nobody pays for.
    """
    own = replicas[replicas["pool"].astype(str).isin(pools)]
    if own.empty:
        return 0.0
    hours = fleet_figures(own, gpus_of_replica=gpus_of_replica, window=window)
    return hours["off_gpu_hours"] * _S_PER_HOUR / window.duration_s
