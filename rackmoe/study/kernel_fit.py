"""Which constants of an operator law fit measured rows best."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from rackmoe.backend.operators import (
    AttentionDecodeConstants,
    AttentionPrefillConstants,
    GemmConstants,
    GroupedGemmConstants,
    ModuleConstants,
)
from rackmoe.hardware.machine import Gpu
from rackmoe.study.kernel_times import RowTimes

__all__ = ["CONSTANT_RANGES", "Range", "fit_constants"]

Array = NDArray[np.float64]

# Relative errors beyond this count less and less: tables hold autotuner accidents.
_ROBUST_SCALE: Final = 0.08

# Weight of the prior: a constant a factor e from its start costs what one row with this
# relative error does, so constants that no row identifies stay where they start.
_PRIOR_WEIGHT: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Where a constant starts and may go.

    Attributes
    ----------
    start, low, high : float
        In the unit of the constant; all above zero, for constants are fitted by their
        logarithm.
    """

    start: float
    low: float
    high: float


_LAUNCH: Final = Range(start=1e-5, low=1e-6, high=5e-4)
# No attention call is shorter than two small kernels (source: the shortest measured
# products, 2.3 us on GB200), which tables of long calls alone would not tell.
_ATTENTION_LAUNCH: Final = Range(start=1e-5, low=4e-6, high=5e-4)
_EFFICIENCY: Final = Range(start=0.6, low=0.01, high=1.0)
# Where no row is bound by FLOP, the fit would claim all of the peak; FlashMLA states 660
# of 989 TFLOP/s on H100, and the H200 rows give 0.68.
_DECODE_EFFICIENCY: Final = Range(start=0.6, low=0.01, high=0.75)
# Passes may be served by L2, faster than HBM.
_PASS: Final = Range(start=0.6, low=0.01, high=4.0)
# Below one, joined bounds exceed their sum: nothing overlaps worse than in sequence.
_SHARPNESS: Final = Range(start=2.0, low=1.0, high=8.0)

CONSTANT_RANGES: Final[dict[str, tuple[type[Any], dict[str, Range]]]] = {
    "gemm": (
        GemmConstants,
        {
            "launch_s": _LAUNCH,
            "flop_efficiency": _EFFICIENCY,
            "hbm_efficiency": _EFFICIENCY,
            "quantize_efficiency": _PASS,
            "sharpness": _SHARPNESS,
            "ramp_length": Range(start=200.0, low=1.0, high=5000.0),
            "k_step_s": Range(start=5e-10, low=1e-12, high=1e-8),
            "strip_exponent": Range(start=0.1, low=1e-3, high=1.0),
        },
    ),
    "grouped_gemm": (
        GroupedGemmConstants,
        {
            "launch_s": Range(start=3e-5, low=1e-6, high=1e-3),
            "flop_efficiency": _EFFICIENCY,
            "hbm_efficiency": _EFFICIENCY,
            "token_efficiency": _PASS,
            "sharpness": _SHARPNESS,
            "expert_scan_s": Range(start=5e-8, low=1e-11, high=1e-5),
            "tile_rows": Range(start=32.0, low=1.0, high=256.0),
        },
    ),
    "decode": (
        AttentionDecodeConstants,
        {
            "launch_s": _ATTENTION_LAUNCH,
            "flop_efficiency": _DECODE_EFFICIENCY,
            "hbm_efficiency": _EFFICIENCY,
            "io_efficiency": _PASS,
            "sharpness": _SHARPNESS,
            "tile_s": Range(start=3e-6, low=1e-8, high=1e-4),
            "kv_token_s": Range(start=2e-10, low=1e-12, high=1e-8),
            "split_s": Range(start=8e-6, low=1e-8, high=1e-4),
            "split_tokens": Range(start=3000.0, low=100.0, high=50000.0),
        },
    ),
    "prefill": (
        AttentionPrefillConstants,
        {
            "launch_s": _ATTENTION_LAUNCH,
            "flop_efficiency": _EFFICIENCY,
            "io_efficiency": _PASS,
            "sharpness": _SHARPNESS,
            "tile_s": Range(start=3e-6, low=1e-9, high=1e-4),
            "kv_token_s": Range(start=1e-8, low=1e-12, high=1e-6),
        },
    ),
    "module": (
        ModuleConstants,
        {
            "floor_s": Range(start=1e-5, low=1e-8, high=1e-3),
            "token_s": Range(start=1e-9, low=1e-12, high=1e-6),
        },
    ),
}


def fit_constants(
    operator: str, *, gpu: Gpu, times: RowTimes, measured_s: Array
) -> tuple[Any, Array]:
    r"""Return the constants that fit measured times, and the times they give.

    Parameters
    ----------
    operator : str
        Operator class; the part after the last underscore names attention phases and
        modules.
    gpu : Gpu
        The GPU that was measured.
    times : callable
        The law for the rows, from `row_times` or `module_times`.
    measured_s : ndarray of shape (n_rows,)
        What was measured. [s]

    Returns
    -------
    tuple of (constants, ndarray of shape (n_rows,))
        The constants of the operator's class; the law's times. [s]

    Notes
    -----
    Robust least squares over :math:`\ln(t / t_{measured})` with the soft-L1 loss and a weak
    log-normal prior around the start of each range. Every row has the same weight.
    """
    constants_type, ranges = CONSTANT_RANGES[_kind(operator)]
    start = np.log([one.start for one in ranges.values()])
    low = np.log([one.low for one in ranges.values()])
    high = np.log([one.high for one in ranges.values()])

    def build(point: Array) -> Any:  # noqa: ANN401  one class per operator
        values = dict(zip(ranges, np.exp(point).tolist(), strict=True))
        return constants_type(**values)

    def residuals(point: Array) -> Array:
        errors = np.log(times(gpu, build(point)) / measured_s)
        return np.append(errors, _PRIOR_WEIGHT * (point - start))

    fit = least_squares(
        residuals, start, bounds=(low, high), loss="soft_l1", f_scale=_ROBUST_SCALE
    )
    constants = build(fit.x)
    return constants, times(gpu, constants)


def _kind(operator: str) -> str:
    return operator if operator in CONSTANT_RANGES else operator.rsplit("_", maxsplit=1)[-1]
