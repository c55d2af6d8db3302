"""Which matrix products one layer of a model needs, and what its experts and payloads cost."""

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError
from rackmoe.model.architecture import (
    GroupedQueryAttention,
    Indexer,
    LatentAttention,
    ModelArchitecture,
)
from rackmoe.model.dtypes import BITS_PER_BYTE, activation_bits, weight_bits

__all__ = [
    "Gemm",
    "Work",
    "attention_gemms",
    "dense_gemms",
    "dispatch_bytes",
    "expert_work",
    "head_gemm",
    "mtp_gemm",
    "router_gemm",
    "shard_heads",
    "shared_expert_gemms",
]

Floats: TypeAlias = float | NDArray[np.float64]

# A gated feed-forward part has a gate and an up matrix side by side (SwiGLU).
_N_GATED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemm:
    """A matrix product whose number of rows is known only when the step is.

    Attributes
    ----------
    name : str
        What it computes.
    n, k : int
        Columns of the result and length of the sums, counts.
    batch : int
        Independent products of this shape, a count; the heads for per-head products.
    dtype : str
        Format of the weights and of the operator, one of `dtypes.WEIGHT_DTYPES`.
    """

    name: str
    n: int
    k: int
    batch: int = 1
    dtype: str = "bf16"

    @property
    def n_weights(self) -> int:
        """Weights of all products of the batch, a count."""
        return self.batch * self.n * self.k


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What an operator asks of a GPU.

    Attributes
    ----------
    tensor_flop : float or ndarray
        Floating-point operations of the tensor units, two per multiply-add. [FLOP]
    hbm_bytes : float or ndarray
        Bytes that cross the HBM interface at least once. [B]
    """

    tensor_flop: Floats
    hbm_bytes: Floats

    def __add__(self, other: "Work") -> "Work":
        """Return the work of both operators."""
        return Work(
            tensor_flop=self.tensor_flop + other.tensor_flop,
            hbm_bytes=self.hbm_bytes + other.hbm_bytes,
        )


def attention_gemms(
    arch: ModelArchitecture, *, tp: int, phase: Literal["prefill", "decode"]
) -> tuple[Gemm, ...]:
    """Return the products around attention in one layer, on one rank.

    Decode of latent attention uses the absorbed form: queries are carried into the
    compressed space of the cache by one product per head, and results carried back, so
    keys and values are never expanded. Prefill expands them (``kv_b``; its rows are all
    tokens attended to that are not expanded yet, the cached context of a chunk included).

    Parameters
    ----------
    arch : ModelArchitecture
        The model.
    tp : int
        Ranks that share the heads, a count.
    phase : {"prefill", "decode"}
        Which form latent attention takes; both are the same for GQA.

    Returns
    -------
    tuple of Gemm
        In order of execution; rows are tokens of the step.

    References
    ----------
    .. [1] DeepSeek-AI, "DeepSeek-V2," arXiv:2405.04434, section 2.1 and appendix C.
    """
    dtype, hidden = arch.dtypes.attention, arch.hidden
    if isinstance(arch.attention, LatentAttention):
        gemms = _latent_gemms(arch.attention, hidden=hidden, tp=tp, phase=phase, dtype=dtype)
    else:
        gemms = _grouped_query_gemms(arch.attention, hidden=hidden, tp=tp, dtype=dtype)
    output = replace(gemms[-1], dtype=arch.dtypes.attention_output or dtype)
    return (*gemms[:-1], output)


def _latent_gemms(
    mla: LatentAttention, *, hidden: int, tp: int, phase: str, dtype: str
) -> tuple[Gemm, ...]:
    heads, _ = shard_heads(mla, tp=tp)
    query_width = heads * mla.qk_dim
    if mla.q_lora_rank is None:
        gemms = [Gemm(name="q_kv_a", n=query_width + mla.kv_dim, k=hidden, dtype=dtype)]
    else:
        gemms = [
            Gemm(name="q_a_kv_a", n=mla.q_lora_rank + mla.kv_dim, k=hidden, dtype=dtype),
            Gemm(name="q_b", n=query_width, k=mla.q_lora_rank, dtype=dtype),
        ]
    if mla.indexer is not None:
        query_input = hidden if mla.q_lora_rank is None else mla.q_lora_rank
        gemms += _index_gemms(mla.indexer, hidden=hidden, query_input=query_input, dtype=dtype)
    latent = mla.kv_lora_rank
    if phase == "decode":
        gemms += [
            Gemm(name="q_absorb", n=latent, k=mla.qk_nope_dim, batch=heads, dtype=dtype),
            Gemm(name="v_absorb", n=mla.v_dim, k=latent, batch=heads, dtype=dtype),
        ]
    else:
        expanded = heads * (mla.qk_nope_dim + mla.v_dim)
        gemms.append(Gemm(name="kv_b", n=expanded, k=latent, dtype=dtype))
    return (*gemms, Gemm(name="o", n=hidden, k=heads * mla.v_dim, dtype=dtype))


def _index_gemms(indexer: Indexer, *, hidden: int, query_input: int, dtype: str) -> list[Gemm]:
    """Return the projections of the sparse indexer, replicated on every rank."""
    queries = indexer.n_heads * indexer.head_dim
    return [
        Gemm(name="index_q", n=queries, k=query_input, dtype=dtype),
        Gemm(name="index_k", n=indexer.head_dim, k=hidden, dtype=dtype),
        # bf16 in the checkpoint; 0.2 % of a layer's attention, so it takes the others' format
        Gemm(name="index_weights", n=indexer.n_heads, k=hidden, dtype=dtype),
    ]


def _grouped_query_gemms(
    gqa: GroupedQueryAttention, *, hidden: int, tp: int, dtype: str
) -> tuple[Gemm, ...]:
    heads, kv_heads = shard_heads(gqa, tp=tp)
    qkv_width = (heads + 2 * kv_heads) * gqa.head_dim
    return (
        Gemm(name="qkv", n=qkv_width, k=hidden, dtype=dtype),
        Gemm(name="o", n=hidden, k=heads * gqa.head_dim, dtype=dtype),
    )


def shard_heads(attention: LatentAttention | GroupedQueryAttention, *, tp: int) -> tuple[int, int]:
    """Return the query heads and the key-value heads that one rank holds.

    Parameters
    ----------
    attention : LatentAttention or GroupedQueryAttention
        The attention.
    tp : int
        Ranks that share the heads, a count.

    Returns
    -------
    tuple of (int, int)
        Query heads and key-value heads, counts. Latent attention has one key-value head
        on every rank; grouped-query attention repeats heads where ranks outnumber them.

    Raises
    ------
    ConfigError
        If the ranks cannot share the heads evenly.
    """
    _check_divides(attention.n_heads, tp=tp, what="attention heads")
    heads = attention.n_heads // tp
    if isinstance(attention, LatentAttention):
        return heads, 1
    if tp < attention.n_kv_heads:
        _check_divides(attention.n_kv_heads, tp=tp, what="key-value heads")
    return heads, max(1, attention.n_kv_heads // tp)


def _check_divides(total: int, *, tp: int, what: str) -> None:
    if tp >= 1 and total % tp == 0:
        return
    valid = [degree for degree in range(1, total + 1) if total % degree == 0]
    nearest = sorted(valid, key=lambda degree: abs(degree - tp))[:2]
    raise ConfigError(
        f"tp: {tp} does not divide {total} {what}; expected a divisor; "
        f"nearest valid: {', '.join(str(degree) for degree in sorted(nearest))}"
    )


def dense_gemms(arch: ModelArchitecture, *, tp: int) -> tuple[Gemm, ...]:
    """Return the products of the feed-forward part of a dense layer, on one rank.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.
    tp : int
        Ranks that share the intermediate width, a count.

    Returns
    -------
    tuple of Gemm
        Gate and up in one product, then down; empty where no layer is dense.
    """
    return _gated_gemms(
        "dense", hidden=arch.hidden, inter=arch.dense_inter, tp=tp, dtype=arch.dtypes.dense
    )


def shared_expert_gemms(arch: ModelArchitecture, *, tp: int) -> tuple[Gemm, ...]:
    """Return the products of the shared experts of one layer, on one rank.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.
    tp : int
        Ranks that share the intermediate width, a count.

    Returns
    -------
    tuple of Gemm
        Gate and up in one product, then down; empty without shared experts.
    """
    return _gated_gemms(
        "shared_expert",
        hidden=arch.hidden,
        inter=arch.moe.shared_inter,
        tp=tp,
        dtype=arch.dtypes.shared_expert,
    )


def _gated_gemms(part: str, *, hidden: int, inter: int, tp: int, dtype: str) -> tuple[Gemm, ...]:
    if inter == 0:
        return ()
    share = math.ceil(inter / tp)
    return (
        Gemm(name=f"{part}_gate_up", n=_N_GATED * share, k=hidden, dtype=dtype),
        Gemm(name=f"{part}_down", n=hidden, k=share, dtype=dtype),
    )


def router_gemm(arch: ModelArchitecture) -> Gemm:
    """Return the product that scores the routed experts of one layer.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.

    Returns
    -------
    Gemm
        One column per logical expert; every rank scores its own tokens.
    """
    return Gemm(
        name="router", n=arch.moe.n_routed_experts, k=arch.hidden, dtype=arch.dtypes.router
    )


def head_gemm(arch: ModelArchitecture, *, tp: int) -> Gemm:
    """Return the product of the output head, on one rank.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.
    tp : int
        Ranks that share the vocabulary, a count.

    Returns
    -------
    Gemm
        Rows are the tokens whose logits are needed.
    """
    return Gemm(name="head", n=math.ceil(arch.vocab / tp), k=arch.hidden, dtype=arch.dtypes.head)


def mtp_gemm(arch: ModelArchitecture) -> Gemm:
    """Return the product that joins hidden state and embedding before a draft layer.

    The rest of a layer for multi-token prediction is a layer like the last, and its head
    is the model's.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.

    Returns
    -------
    Gemm
        The joining projection (``eh_proj``).

    References
    ----------
    .. [1] DeepSeek-AI, "DeepSeek-V3 Technical Report," arXiv:2412.19437, section 2.2.
    """
    return Gemm(name="mtp_join", n=arch.hidden, k=2 * arch.hidden, dtype=arch.dtypes.attention)


def expert_work(
    assignments: Floats, *, active_experts: Floats, hidden: int, inter: int, dtype: str
) -> Work:
    r"""Return the work of the routed experts of a rank in one layer.

    Parameters
    ----------
    assignments : float or ndarray
        Pairs of token and expert that the rank computes, a count.
    active_experts : float or ndarray
        Physical experts of the rank with at least one token, a count.
    hidden, inter : int
        Widths of the residual stream and of one expert on this rank, counts.
    dtype : str
        Format of the weights, one of `dtypes.WEIGHT_DTYPES`.

    Returns
    -------
    Work
        FLOP, and bytes of the weights in use and of the activations.

    Notes
    -----
    With :math:`A` assignments, :math:`X` active experts, :math:`h` hidden, :math:`i` inter,
    weights of :math:`w` and activations of :math:`a` bytes:

    .. math:: F = 6 A h i, \quad Q = 3 X h i w + A (a h + 4 i + a i + 2 h)

    that is: read the input, write gate and up in bf16, read their product, write the
    output in bf16.
    """
    n_matrices = _N_GATED + 1
    expert_weights = n_matrices * hidden * inter
    input_bytes = activation_bits(dtype) / BITS_PER_BYTE
    output_bytes = activation_bits("bf16") / BITS_PER_BYTE
    bytes_per_assignment = input_bytes * (hidden + inter) + output_bytes * (
        _N_GATED * inter + hidden
    )
    expert_bytes = expert_weights * weight_bits(dtype) / BITS_PER_BYTE
    return Work(
        tensor_flop=2 * expert_weights * assignments,
        hbm_bytes=expert_bytes * active_experts + bytes_per_assignment * assignments,
    )


def dispatch_bytes(hidden: int, *, dtype: str) -> float:
    """Return the payload of one token's hidden vector on the wire, scales included.

    Parameters
    ----------
    hidden : int
        Width of the hidden vector, a count.
    dtype : str
        ``bf16``; ``fp8`` (no scales); ``fp8_block`` (one fp32 scale per 128 values, as
        DeepEP sends it); ``nvfp4`` (one byte of scale per 16 values).

    Returns
    -------
    float
        Bytes of one copy of one token. [B]

    Examples
    --------
    >>> dispatch_bytes(7168, dtype="fp8_block"), dispatch_bytes(7168, dtype="nvfp4")
    (7392.0, 4032.0)
    """
    return hidden * activation_bits(dtype) / BITS_PER_BYTE
