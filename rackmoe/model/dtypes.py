"""How many bytes a number takes in each format, and which part of a model is in which format."""

from dataclasses import dataclass, fields
from typing import Final

from rackmoe.errors import ConfigError

__all__ = [
    "BITS_PER_BYTE",
    "COMPONENTS",
    "KV_DTYPES",
    "WEIGHT_DTYPES",
    "ComponentDtypes",
    "activation_bits",
    "kv_element_bytes",
    "stored_format",
    "weight_bits",
]

BITS_PER_BYTE: Final = 8

# Bits of one weight, scales included (kind: derived; source: the formats' definitions).
_FP8_BLOCK_BITS: Final = 8 + 32 / (128 * 128)  # one fp32 scale per 128 x 128 block, DeepSeek-V3
_NVFP4_BITS: Final = 4 + 8 / 16  # one E4M3 scale per 16 values, the one per tensor apart
_MXFP4_BITS: Final = 4 + 8 / 32  # one E8M0 scale per 32 values, OCP MX v1.0
_INT4_BITS: Final = 4 + 16 / 32  # one bf16 scale per 32 values, symmetric, Kimi K2 Thinking
_WEIGHT_BITS: Final[dict[str, float]] = {
    "bf16": 16.0,
    "fp8": 8.0,
    "fp8_block": _FP8_BLOCK_BITS,
    "nvfp4": _NVFP4_BITS,
    "w4a16_mxfp4": _MXFP4_BITS,
    "w4a8_mxfp4": _MXFP4_BITS,
    "w4a16_int4": _INT4_BITS,
}
_ACTIVATION_BITS: Final[dict[str, float]] = {
    "bf16": 16.0,
    "fp8": 8.0,
    "fp8_block": 8 + 32 / 128,  # one fp32 scale per 128 values of a token, DeepSeek-V3
    "nvfp4": _NVFP4_BITS,
    "w4a16_mxfp4": 16.0,
    "w4a8_mxfp4": 8 + 8 / 32,  # mxfp8: one E8M0 scale per 32 values, OCP MX v1.0
    "w4a16_int4": 16.0,
}
# Formats that kernels multiply with tokens of more than one precision.
_STORED: Final[dict[str, str]] = {
    "w4a16_mxfp4": "mxfp4",
    "w4a8_mxfp4": "mxfp4",
    "w4a16_int4": "int4",
}
_KV_BYTES: Final[dict[str, float]] = {"bf16": 2.0, "fp8": 1.0}

WEIGHT_DTYPES: Final = tuple(_WEIGHT_BITS)
KV_DTYPES: Final = tuple(_KV_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentDtypes:
    """The format of the weights of each component, which is also its operators' dtype.

    Attributes
    ----------
    attention, dense, routed_expert, shared_expert, router, embedding, head : str
        One of `WEIGHT_DTYPES` each. Norms, biases and sinks are always bf16.
    attention_output : str
        Format of the last projection of attention, where it is not that of the others;
        empty where it is. Its FLOP are booked with theirs.
    """

    attention: str = "bf16"
    dense: str = "bf16"
    routed_expert: str = "bf16"
    shared_expert: str = "bf16"
    router: str = "bf16"
    embedding: str = "bf16"
    head: str = "bf16"
    attention_output: str = ""

    def __getitem__(self, component: str) -> str:
        """Return the dtype of a component by its name."""
        if component not in COMPONENTS:
            raise KeyError(component)
        return str(getattr(self, component))


COMPONENTS: Final = tuple(
    field.name for field in fields(ComponentDtypes) if field.name != "attention_output"
)


def weight_bits(dtype: str) -> float:
    """Return the bits that one weight takes in memory, its share of the scales included.

    Parameters
    ----------
    dtype : str
        One of `WEIGHT_DTYPES`.

    Returns
    -------
    float
        Bits per weight, a pure number.

    Raises
    ------
    ConfigError
        If the dtype is unknown.

    Examples
    --------
    >>> weight_bits("nvfp4")
    4.5
    """
    return _look_up(_WEIGHT_BITS, dtype, "weights dtype")


def stored_format(dtype: str) -> str:
    """Return how weights lie in memory, whatever tokens they are multiplied with.

    Parameters
    ----------
    dtype : str
        One of `WEIGHT_DTYPES`.

    Returns
    -------
    str
        Such as ``nvfp4`` or ``mxfp4``.

    Examples
    --------
    >>> stored_format("w4a8_mxfp4")
    'mxfp4'
    """
    return _STORED.get(dtype, dtype)


def kv_element_bytes(kv_dtype: str) -> float:
    """Return the bytes of one element of the KV cache.

    Parameters
    ----------
    kv_dtype : str
        One of `KV_DTYPES`.

    Returns
    -------
    float
        Bytes per cached element. [B]
    """
    return _look_up(_KV_BYTES, kv_dtype, "KV cache dtype")


def activation_bits(dtype: str) -> float:
    """Return the bits that one activation takes when an operator of this dtype reads it.

    Parameters
    ----------
    dtype : str
        One of `WEIGHT_DTYPES`; ``w4a16`` formats read bf16 activations.

    Returns
    -------
    float
        Bits per activation, its share of the scales included, a pure number.
    """
    return _look_up(_ACTIVATION_BITS, dtype, "activation dtype")


def _look_up(table: dict[str, float], dtype: str, what: str) -> float:
    try:
        return table[dtype]
    except KeyError:
        raise ConfigError(
            f"{what}: '{dtype}'; expected one of {', '.join(table)}; choose one of them"
        ) from None
