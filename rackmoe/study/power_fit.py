"""What power each kind of work adds to a GPU, fitted on kernels with measured power."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

from rackmoe.errors import ConfigError
from rackmoe.hardware.machine import Gpu

__all__ = ["ActivityFit", "fit_gpu_activity", "read_power_rows"]

PEAK_KEYS: Mapping[str, str] = {"bfloat16": "bf16", "fp8": "fp8", "fp8_block": "fp8"}
"""Peak of the GPU that a number format of the tables runs at."""

ELEMENT_BYTES: Mapping[str, int] = {"bfloat16": 2, "fp8": 1, "fp8_block": 1}
ACTIVATION_BYTES = 2
"""Activations of the tables are BF16."""

STRATUM_WIDTH_FRAC = 0.1
"""Width of a stratum in tensor and in HBM utilization; chosen."""

MIN_STRATUM_ROWS = 10
"""A stratum with fewer rows has no stable median; chosen."""

GATED_MATRICES = 3
"""Weight matrices of a gated expert: gate, up and down."""

_US = 1e-6
_START_POWER_W = (200.0, 1000.0, 1000.0, 400.0)
_TERMS = ("busy", "bf16", "fp8", "hbm")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityFit:
    """Activity terms of a GPU and how far they are from the rows.

    Attributes
    ----------
    busy_power_w : float
        A kernel runs. [W]
    tensor_power_w : mapping of str to float
        Tensor cores at their dense peak, for ``bf16`` and ``fp8``. [W]
    hbm_power_w : float
        HBM at its peak bandwidth. [W]
    n_strata, n_rows : int
        What was fitted, and the rows behind it.
    strata_median_error_frac : float
        Median distance of predicted over measured from 1, over the strata.
    row_median_error_frac, row_p90_error_frac : float
        Median and 90th percentile over all rows, fitted or not.
    """

    busy_power_w: float
    tensor_power_w: Mapping[str, float]
    hbm_power_w: float
    n_strata: int
    n_rows: int
    strata_median_error_frac: float
    row_median_error_frac: float
    row_p90_error_frac: float


def read_power_rows(attention: Path, *, moe: Path, gpu: Gpu) -> pd.DataFrame:
    """Read kernels with power and compute how busy they keep a GPU.

    Of the MoE table only balanced rows of one rank count: the load of the others is
    not known to the row.

    Parameters
    ----------
    attention : pathlib.Path
        Columns ``phase, kv_dtype, heads, kv_heads, head_dim, batch, seq, latency_us,
        power_w``.
    moe : pathlib.Path
        Columns ``dtype, hidden, inter, topk, experts, ep, dist, tokens_global,
        latency_us, power_w``.
    gpu : Gpu
        The GPU that was measured, for its peaks.

    Returns
    -------
    pandas.DataFrame
        Columns ``source, dtype, tensor_frac, hbm_frac, power_w``.

    Raises
    ------
    ConfigError
        If a file lacks a column or has no row that counts.
    """
    kernels = _read(attention, {"phase", "kv_dtype", "kv_heads", "seq", "power_w"})
    experts = _read(moe, {"dtype", "dist", "ep", "tokens_global", "power_w"})
    experts = experts[(experts["dist"] == "balanced") & (experts["ep"] == 1)]
    if kernels.empty or experts.empty:
        raise ConfigError(
            f"{attention}, {moe}: no row that counts; expected both; check the files"
        )
    parts = []
    for rows, source, dtype, work in (
        (kernels, kernels["phase"], kernels["kv_dtype"], _attention_work(kernels)),
        (experts, "moe", experts["dtype"], _moe_work(experts)),
    ):
        flop, moved_bytes = work
        time_s = rows["latency_us"] * _US
        peak_flop_per_s = dtype.map(lambda name: gpu.peak_flop_per_s[PEAK_KEYS[name]])
        hbm_frac = moved_bytes / (time_s * gpu.hbm_bandwidth_bytes_per_s)
        columns = {
            "source": source,
            "dtype": dtype,
            "tensor_frac": flop / (time_s * peak_flop_per_s),
            "hbm_frac": hbm_frac.clip(upper=1.0),  # small working sets stay in L2
            "power_w": rows["power_w"],
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def fit_gpu_activity(rows: pd.DataFrame, *, gpu: Gpu) -> ActivityFit:
    r"""Fit the activity terms of `rackmoe.power.parts` to kernels with power.

    The NVML samples behind a row are noisy, and rows are many where the collector
    swept most, so medians of strata of similar utilization are fitted, each once.

    Parameters
    ----------
    rows : pandas.DataFrame
        From `read_power_rows`.
    gpu : Gpu
        The GPU that was measured, for its idle power and its limit.

    Returns
    -------
    ActivityFit
        Terms and errors.

    Raises
    ------
    ConfigError
        If there are fewer strata than terms.

    Notes
    -----
    Least squares with terms of at least 0 of

    .. math:: P = \min(P_{limit}, P_{idle} + P_{busy} + u_d P_d + u_{hbm} P_{hbm})
    """
    bins = [
        rows["source"],
        rows["dtype"],
        (rows["tensor_frac"] / STRATUM_WIDTH_FRAC).round().rename("tensor_bin"),
        (rows["hbm_frac"] / STRATUM_WIDTH_FRAC).round().rename("hbm_bin"),
    ]
    measured = ["tensor_frac", "hbm_frac", "power_w"]
    grouped = rows.groupby(bins)[measured]
    strata = grouped.median()[grouped.size() >= MIN_STRATUM_ROWS].reset_index()
    if len(strata) < len(_TERMS):
        raise ConfigError(
            f"power rows: {len(strata)} strata of {MIN_STRATUM_ROWS} rows; expected at least "
            f"{len(_TERMS)}; give more rows"
        )

    def excess_w(terms_w: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return predicted less measured power of each stratum. [W]."""
        measured_w: NDArray[np.float64] = strata["power_w"].to_numpy(np.float64)
        return _predict_w(strata, terms_w, gpu=gpu) - measured_w

    solution = least_squares(excess_w, _START_POWER_W, bounds=(0.0, np.inf))
    terms_w = dict(zip(_TERMS, solution.x.tolist(), strict=True))
    of_strata = _errors(strata, solution.x, gpu=gpu)
    of_rows = _errors(rows, solution.x, gpu=gpu)
    return ActivityFit(
        busy_power_w=terms_w["busy"],
        tensor_power_w={"bf16": terms_w["bf16"], "fp8": terms_w["fp8"]},
        hbm_power_w=terms_w["hbm"],
        n_strata=len(strata),
        n_rows=len(rows),
        strata_median_error_frac=float(np.median(of_strata)),
        row_median_error_frac=float(np.median(of_rows)),
        row_p90_error_frac=float(np.quantile(of_rows, 0.9)),
    )


def _read(path: Path, needed: set[str]) -> pd.DataFrame:
    """Return a table that has the columns."""
    table = pd.read_csv(path)
    missing = needed - set(table.columns)
    if missing:
        raise ConfigError(
            f"{path}: no column {', '.join(sorted(missing))}; expected the layout of "
            "scenarios/calibration/kernels; rename the columns"
        )
    return table


def _attention_work(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return FLOP and HBM bytes of grouped-query attention; prefill is causal."""
    is_prefill = rows["phase"] == "prefill"
    seq = rows["seq"].astype(np.float64)
    queries = np.where(is_prefill, seq, 1.0)
    visible = np.where(is_prefill, seq / 2, seq)
    flop = 4 * rows["batch"] * rows["heads"] * rows["head_dim"] * queries * visible
    cache = 2 * rows["kv_heads"] * seq * rows["kv_dtype"].map(ELEMENT_BYTES)
    in_and_out = 2 * rows["heads"] * queries * ACTIVATION_BYTES
    return flop, rows["batch"] * rows["head_dim"] * (cache + in_and_out)


def _moe_work(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return FLOP and HBM bytes of two grouped matrix products, balanced."""
    assignments = (rows["tokens_global"] * rows["topk"]).astype(np.float64)
    active = np.minimum(rows["experts"], assignments)
    weights = GATED_MATRICES * rows["hidden"] * rows["inter"]
    traffic = (
        ACTIVATION_BYTES * assignments * (2 * rows["hidden"] + GATED_MATRICES * rows["inter"])
    )
    flop = 2 * assignments * weights
    return flop, active * weights * rows["dtype"].map(ELEMENT_BYTES) + traffic


def _predict_w(
    rows: pd.DataFrame, terms_w: NDArray[np.float64], *, gpu: Gpu
) -> NDArray[np.float64]:
    """Return the power of each row by the law."""
    key = rows["dtype"].map(PEAK_KEYS)
    design = np.column_stack(
        [
            np.ones(len(rows)),
            rows["tensor_frac"] * (key == "bf16"),
            rows["tensor_frac"] * (key == "fp8"),
            rows["hbm_frac"],
        ]
    )
    return np.minimum(gpu.max_power_w, gpu.idle_power_w + design @ terms_w)


def _errors(rows: pd.DataFrame, terms_w: NDArray[np.float64], *, gpu: Gpu) -> NDArray[np.float64]:
    """Return the relative error of each row."""
    measured_w: NDArray[np.float64] = rows["power_w"].to_numpy(np.float64)
    return np.abs(_predict_w(rows, terms_w, gpu=gpu) / measured_w - 1)
