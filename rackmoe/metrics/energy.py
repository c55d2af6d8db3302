"""What the work takes: mean power, energy, tokens per joule and per megawatt."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from rackmoe.errors import InvariantError, ShapeError
from rackmoe.metrics.window import Window, overlap_s

__all__ = ["energy_figures", "mean_power_w"]

W_PER_MW = 1e6

# steps of one replica may overlap by the rounding of the clock, relative
_OVERLAP_TOLERANCE = 1e-9


def mean_power_w(
    steps: pd.DataFrame,
    *,
    step_power_w: ArrayLike,
    idle_power_w: Mapping[int, float],
    window: Window,
    static_power_w: float = 0.0,
) -> float:
    """Return the mean power over a window.

    A replica draws the power of its steps while they last and its idle power
    between them.

    Parameters
    ----------
    steps : DataFrame
        Steps of a run (`STEP_COLUMNS`).
    step_power_w : array_like of shape (n_steps,)
        Mean power of the step's whole replica while it lasts. [W]
    idle_power_w : mapping of int to float
        Power of each replica while it does not step. [W]
    window : Window
        Time to average over.
    static_power_w : float, optional
        Power of parts that belong to no replica. [W]

    Returns
    -------
    float
        Mean power. [W]

    Raises
    ------
    ShapeError
        If there is not one power for each step, or a replica without idle power.
    InvariantError
        If the steps of a replica overlap (LAW-07).
    """
    power_w = np.broadcast_to(np.asarray(step_power_w, np.float64), (len(steps),))
    if odd := sorted(set(steps["replica"].tolist()) - set(idle_power_w)):
        raise ShapeError(f"idle_power_w: no entry for replica {odd[0]}; expected one for each")
    start_s = steps["start_s"].to_numpy(np.float64)
    end_s = start_s + steps["duration_s"].to_numpy(np.float64)
    within_s = overlap_s(start_s, end_s=end_s, window=window)
    replica = steps["replica"].to_numpy(np.int64)
    energy_j = static_power_w * window.duration_s + float((within_s * power_w).sum())
    for name, watts in idle_power_w.items():
        idle_s = window.duration_s - float(within_s[replica == name].sum())
        if idle_s < -_OVERLAP_TOLERANCE * window.duration_s:
            raise InvariantError(
                f"LAW-07 at replica {name}: its steps take {window.duration_s - idle_s!r} s of"
                f" {window.duration_s!r} s; expected steps that do not overlap"
            )
        energy_j += max(idle_s, 0.0) * watts
    return energy_j / window.duration_s


def energy_figures(
    figures: Mapping[str, float],
    *,
    it_power_w: float,
    pue: float,
    window: Window,
    provisioned_power_w: float | None = None,
) -> dict[str, float]:
    """Return power, energy and tokens per joule.

    Parameters
    ----------
    figures : mapping of str to float
        ``output_tokens_per_s`` and ``total_tokens_per_s`` of the window. [1/s]
    it_power_w : float
        Mean simulated power of GPU, CPU, NIC, switch, fan and conversion. [W]
    pue : float
        Facility power / IT power, at least 1.
    window : Window
        The measurement window.
    provisioned_power_w : float, optional
        Nameplate IT power that the rack must be supplied with. [W]

    Returns
    -------
    dict of str to float
        See `METRICS`; tokens per joule and per MW are over `it_power_w` unless
        their name says otherwise.
    """
    output, total = figures["output_tokens_per_s"], figures["total_tokens_per_s"]
    facility_power_w = it_power_w * pue
    energy = {
        "it_power_w": it_power_w,
        "facility_power_w": facility_power_w,
        "it_energy_j": it_power_w * window.duration_s,
        "output_tokens_per_j": _ratio(output, it_power_w),
        "total_tokens_per_j": _ratio(total, it_power_w),
        "energy_per_output_token_j": _ratio(it_power_w, output),
        "output_tokens_per_s_per_mw": _ratio(output, it_power_w) * W_PER_MW,
        "output_tokens_per_s_per_facility_mw": _ratio(output, facility_power_w) * W_PER_MW,
    }
    if provisioned_power_w is not None:
        energy["provisioned_power_w"] = provisioned_power_w
        per_w = _ratio(output, provisioned_power_w)
        energy["output_tokens_per_s_per_provisioned_mw"] = per_w * W_PER_MW
    return energy


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
