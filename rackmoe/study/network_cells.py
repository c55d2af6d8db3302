"""What the cells of a table of communication times say: counts, numbers, formats and kernels."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from rackmoe.backend.collectives import Family
from rackmoe.errors import ConfigError

__all__ = ["family_of_kernel", "positive_number", "whole_number", "wire_format"]

_FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "bfloat16": "bf16",
        "bf16": "bf16",
        "float16": "bf16",
        "fp16": "bf16",
        "half": "bf16",
        "default": "bf16",
        "": "bf16",
        "fp8": "fp8_block",
        "float8": "fp8_block",
        "fp8_block": "fp8_block",
        "fp8_e4m3": "fp8_block",
        "mxfp8": "w4a8_mxfp4",
        "nvfp4": "nvfp4",
        "fp4": "nvfp4",
        "w4a16_mxfp4": "bf16",
    }
)
# Words of which one must occur in the name of a kernel, without case, '-' and '_'; the first
# line that fits counts.
_FAMILIES: tuple[tuple[tuple[str, ...], Family], ...] = (
    (("onesided",), Family.NVLINK_ONE_SIDED),
    (("twosided",), Family.NVLINK_TWO_SIDED),
    (("ibgda",), Family.DEEPEP_LOW_LATENCY_RDMA),
    (("lowlatency", "deepepll", "ucclll", "pplx"), Family.DEEPEP_LOW_LATENCY),
    (("deepep", "uccl"), Family.DEEPEP_NORMAL),
    (("allgather", "reducescatter", "agrs"), Family.ALLGATHER_REDUCESCATTER),
    (("nccl", "alltoall"), Family.NCCL_ALLTOALL),
)


def whole_number(row: Mapping[str, str], *, column: str, least: int = 1) -> int:
    """Return a count from a cell.

    Parameters
    ----------
    row : mapping of str to str
        Cells by column.
    column : str
        Which cell; ``128.0`` counts as 128.
    least : int
        The least that makes sense.

    Raises
    ------
    ConfigError
        If the cell holds something else.
    """
    text = row[column]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value == int(value) and value >= least):
        raise ConfigError(
            f"{column}: '{text}'; expected a whole number of at least {least}; correct the cell"
        )
    return int(value)


def positive_number(row: Mapping[str, str], *, column: str) -> float:
    """Return a size or a measured value from a cell.

    Parameters
    ----------
    row : mapping of str to str
        Cells by column.
    column : str
        Which cell.

    Raises
    ------
    ConfigError
        If the cell holds something else.
    """
    text = row[column]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{column}: '{text}'; expected a positive number; correct the cell")
    return value


def wire_format(dtype: str) -> str:
    """Return the format on the wire of a format as tables name it.

    Parameters
    ----------
    dtype : str
        Such as ``bfloat16`` or ``fp8``; 16-bit formats are one to a network.

    Raises
    ------
    ConfigError
        If nothing is known of its size.
    """
    found = _FORMATS.get(dtype.strip().lower())
    if found is None:
        names = ", ".join(name for name in _FORMATS if name)
        raise ConfigError(f"dtype: '{dtype}'; expected one of {names}; rename it")
    return found


def family_of_kernel(kernel: str) -> Family:
    """Return how a kernel moves tokens, from its name.

    Parameters
    ----------
    kernel : str
        Such as ``NVLinkOneSided``, ``deepep_ll`` or ``deepep_normal``.

    Raises
    ------
    ConfigError
        If the name says nothing.
    """
    name = kernel.lower().replace("_", "").replace("-", "").replace(" ", "")
    for words, family in _FAMILIES:
        if any(word in name for word in words):
            return family
    raise ConfigError(
        f"kernel: '{kernel}'; expected NVLinkOneSided, NVLinkTwoSided, deepep_ll, deepep_normal, "
        "an all-gather or NCCL; rename it"
    )
