"""How the bounds of an operator join into one duration, and which peak a format uses."""

from math import isinf
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError
from rackmoe.hardware.machine import Gpu

__all__ = ["Floats", "join_bounds", "peak_flop_per_s", "peak_key"]

Floats: TypeAlias = float | NDArray[np.float64]

# Weight-only formats are expanded to bf16 before the tensor unit; mxfp4 weights with mxfp8
# activations run at the rate of the wider operand.
_PEAK_KEYS: Final = {
    "bf16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8",
    "nvfp4": "fp4",
    "w4a16_mxfp4": "bf16",
    "w4a8_mxfp4": "fp8",
    "w4a16_int4": "bf16",
}


def peak_key(dtype: str) -> str:
    """Return which of a GPU's peaks bounds an operator of a format.

    Parameters
    ----------
    dtype : str
        Format of the weights, or of the KV cache.

    Returns
    -------
    str
        ``bf16``, ``fp8`` or ``fp4``.

    Raises
    ------
    ConfigError
        If the format is unknown.
    """
    key = _PEAK_KEYS.get(dtype)
    if key is None:
        raise ConfigError(f"dtype: {dtype}: unknown format; expected one of {list(_PEAK_KEYS)}")
    return key


def peak_flop_per_s(gpu: Gpu, *, dtype: str) -> float:
    """Return the dense peak that bounds an operator of a format.

    Parameters
    ----------
    gpu : Gpu
        The GPU.
    dtype : str
        Format of the weights, or of the KV cache.

    Returns
    -------
    float
        Peak of the tensor units. [FLOP/s]

    Raises
    ------
    ConfigError
        If the format is unknown, or the GPU cannot compute it.
    """
    key = peak_key(dtype)
    peak = gpu.peak_flop_per_s.get(key)
    if peak is None:
        able = [name for name, unit in _PEAK_KEYS.items() if unit in gpu.peak_flop_per_s]
        raise ConfigError(
            f"dtype: {dtype}: {gpu.name} has no {key} units; choose one of {', '.join(able)}"
        )
    return peak


def join_bounds(first_s: Floats, *, second_s: Floats, third_s: Floats, sharpness: float) -> Floats:
    r"""Return a duration that is at least each of three bounds, and near the largest.

    Parameters
    ----------
    first_s, second_s, third_s : float or ndarray
        Bounds, each of any shape that broadcasts. [s]
    sharpness : float
        Exponent: one adds the bounds, infinity takes the largest.

    Returns
    -------
    float or ndarray
        The joined duration. [s]

    Notes
    -----
    .. math:: t = (t_1^p + t_2^p + t_3^p)^{1/p}

    Near a ridge neither unit hides the other entirely, so the roofline's corner is
    rounded; the norm rises with each bound, so the law stays monotone.

    Examples
    --------
    >>> join_bounds(3.0, second_s=4.0, third_s=0.0, sharpness=2.0)
    5.0
    """
    if isinf(sharpness):
        return np.maximum(np.maximum(first_s, second_s), third_s)
    total = first_s**sharpness + second_s**sharpness + third_s**sharpness
    joined: Floats = total ** (1.0 / sharpness)
    return joined
