"""Whether a model fits the memory of its ranks, and how much cache is left."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from rackmoe.errors import CapacityError, ConfigError
from rackmoe.model.architecture import ModelArchitecture
from rackmoe.model.cache import index_bytes_per_token, kv_bytes_per_token, kv_window_bytes
from rackmoe.model.costs import (
    Gemm,
    attention_gemms,
    dense_gemms,
    head_gemm,
    mtp_gemm,
    router_gemm,
    shared_expert_gemms,
)
from rackmoe.model.dtypes import BITS_PER_BYTE, weight_bits
from rackmoe.model.parameters import component_parameters, expert_parameters

__all__ = ["MemoryBudget", "MemoryPlan", "Sharding", "check_fit", "rank_weight_bytes"]

_GB: Final = 1e9
# Where the search for a fitting degree of parallelism ends, in ranks.
_MAX_RANKS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """How one replica of a model is divided among its ranks.

    Attributes
    ----------
    tp : int
        Ranks that share an attention group, a count.
    attention_dp : int
        Attention groups, a count.
    ep : int
        Ranks over which routed experts are spread, a count; each expert is split over
        the remaining factor of the ranks.
    n_redundant : int
        Physical experts of a layer beyond the logical ones, over the replica, a count.
    has_mtp : bool
        Whether the layers for multi-token prediction are loaded.
    """

    tp: int = 1
    attention_dp: int = 1
    ep: int = 1
    n_redundant: int = 0
    has_mtp: bool = False

    @property
    def n_ranks(self) -> int:
        """Ranks of the replica, a count."""
        return max(self.tp * self.attention_dp, self.ep)

    @property
    def expert_tp(self) -> int:
        """Ranks that share one physical expert, a count."""
        return max(1, self.n_ranks // self.ep)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBudget:
    """The memory of one rank.

    Attributes
    ----------
    hbm_bytes : float
        Capacity of the GPU. [B]
    usable_frac : float
        Share of it that the serving engine may use, 0..1.
    workspace_bytes : float
        Activations, graphs and communication buffers within that share. [B]
    is_share_of_free : bool
        Whether the share is one of what weights and workspace leave free, all of it cache.
    """

    hbm_bytes: float
    usable_frac: float = 1.0
    workspace_bytes: float = 0.0
    is_share_of_free: bool = False

    @property
    def usable_bytes(self) -> float:
        """Memory [B] for weights and cache."""
        used_frac = 1.0 if self.is_share_of_free else self.usable_frac
        return self.hbm_bytes * used_frac - self.workspace_bytes

    def cache_bytes(self, weights_bytes: float) -> float:
        """Return what weights leave for the cache.

        Parameters
        ----------
        weights_bytes : float
            Weights of the rank. [B]

        Returns
        -------
        float
            Memory; below zero where the weights do not fit. [B]
        """
        left_bytes = self.usable_bytes - weights_bytes
        return left_bytes * self.usable_frac if self.is_share_of_free else left_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """What the memory of the fullest rank holds.

    Attributes
    ----------
    weights_bytes : float
        Weights. [B]
    cache_bytes : float
        Left for the cache. [B]
    token_bytes : float
        Cache of one token, index keys included. [B]
    window_bytes : float
        Cache of the full windows of one sequence. [B]
    """

    weights_bytes: float
    cache_bytes: float
    token_bytes: float
    window_bytes: float

    def capacity_tokens(self, *, n_sequences: int = 0) -> int:
        """Return the tokens that fit the cache.

        Parameters
        ----------
        n_sequences : int
            Sequences that hold full windows beside their tokens, a count.

        Returns
        -------
        int
            Tokens over all sequences of the rank's attention group, a count.
        """
        left_bytes = self.cache_bytes - n_sequences * self.window_bytes
        return max(0, math.floor(left_bytes / self.token_bytes))


def rank_weight_bytes(arch: ModelArchitecture, *, sharding: Sharding) -> dict[str, float]:
    """Return the weights of the fullest rank by component.

    Tensor parallelism divides heads, intermediate widths and vocabulary; the compressed
    projections of latent attention, the indexer, routers and norms are on every rank.
    Attention groups repeat everything but the routed experts.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.
    sharding : Sharding
        How it is divided.

    Returns
    -------
    dict of str to float
        Bytes by component, scales included; ``mtp`` holds all of the layers for
        multi-token prediction. [B]
    """
    tp, n_moe_layers = sharding.tp, len(arch.moe_layers)
    attention = _gemm_bytes(attention_gemms(arch, tp=tp, phase="prefill"))
    shared = _gemm_bytes(shared_expert_gemms(arch, tp=tp))
    router = _gemm_bytes([router_gemm(arch)])
    routed = _routed_bytes(arch, sharding=sharding)
    vocabulary = head_gemm(arch, tp=tp)
    embedding = vocabulary.n_weights * weight_bits(arch.dtypes.embedding) / BITS_PER_BYTE
    sizes = {
        "attention": arch.n_layers * attention,
        "dense": len(arch.dense_layers) * _gemm_bytes(dense_gemms(arch, tp=tp)),
        "routed_expert": n_moe_layers * routed,
        "shared_expert": n_moe_layers * shared,
        "router": n_moe_layers * router,
        "embedding": embedding,
        "head": 0.0 if arch.has_tied_embeddings else _gemm_bytes([vocabulary]),
        "norm": component_parameters(arch)["norm"] * weight_bits("bf16") / BITS_PER_BYTE,
        "mtp": 0.0,
    }
    if sharding.has_mtp:
        layer = attention + shared + router + routed + _gemm_bytes([mtp_gemm(arch)])
        sizes["mtp"] = arch.n_mtp_layers * layer
    return sizes


def _gemm_bytes(gemms: Iterable[Gemm]) -> float:
    return sum(gemm.n_weights * weight_bits(gemm.dtype) / BITS_PER_BYTE for gemm in gemms)


def _routed_bytes(arch: ModelArchitecture, *, sharding: Sharding) -> float:
    """Return the routed experts of one layer on the fullest rank."""
    n_physical = arch.moe.n_routed_experts + sharding.n_redundant
    n_local = math.ceil(n_physical / sharding.ep)
    expert_bytes = expert_parameters(arch) * weight_bits(arch.dtypes.routed_expert)
    return n_local * expert_bytes / BITS_PER_BYTE / sharding.expert_tp


def check_fit(
    arch: ModelArchitecture,
    *,
    sharding: Sharding,
    budget: MemoryBudget,
    kv_dtype: str,
    context_tokens: int = 1,
) -> MemoryPlan:
    """Return what the memory of a rank holds, or refuse what does not fit.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.
    sharding : Sharding
        How it is divided.
    budget : MemoryBudget
        Memory of one rank.
    kv_dtype : str
        Format of the cache.
    context_tokens : int
        Longest request that must fit, a count of tokens.

    Returns
    -------
    MemoryPlan
        Weights, and what is left for the cache.

    Raises
    ------
    CapacityError
        If the weights do not fit, or no cache is left for one such request; with the
        nearest change that fits.
    """
    plan = _plan(arch, sharding=sharding, budget=budget, kv_dtype=kv_dtype)
    usable_bytes = budget.usable_bytes
    request_bytes = plan.window_bytes + context_tokens * plan.token_bytes
    if plan.cache_bytes >= request_bytes:
        return plan
    if plan.cache_bytes < 0:
        what = (
            f"rank 0 needs {plan.weights_bytes / _GB:.1f} GB of weights, "
            f"{max(0.0, usable_bytes) / _GB:.1f} GB are usable"
        )
    else:
        what = (
            f"rank 0 needs {request_bytes / _GB:.2f} GB of cache for a request of "
            f"{context_tokens} tokens, {plan.cache_bytes / _GB:.2f} GB are left"
        )

    def is_fitting(other: Sharding) -> bool:
        there = _plan(arch, sharding=other, budget=budget, kv_dtype=kv_dtype)
        return there.cache_bytes >= there.window_bytes + context_tokens * there.token_bytes

    fixes = [
        _describe(sharding, other=other)
        for candidates in (
            _more_ranks(arch, sharding=sharding),
            _fewer_experts(arch, sharding=sharding),
        )
        if (other := next((item for item in candidates if is_fitting(item)), None)) is not None
    ]
    remedy = " or ".join(fixes) if fixes else "choose lighter weights or a larger GPU"
    raise CapacityError(f"{arch.name}: {what}; {remedy}")


def _plan(
    arch: ModelArchitecture, *, sharding: Sharding, budget: MemoryBudget, kv_dtype: str
) -> MemoryPlan:
    weights_bytes = sum(rank_weight_bytes(arch, sharding=sharding).values())
    return MemoryPlan(
        weights_bytes=weights_bytes,
        cache_bytes=budget.cache_bytes(weights_bytes),
        token_bytes=_token_bytes(arch, sharding=sharding, kv_dtype=kv_dtype),
        window_bytes=kv_window_bytes(arch, kv_dtype=kv_dtype, tp=sharding.tp),
    )


def _token_bytes(arch: ModelArchitecture, *, sharding: Sharding, kv_dtype: str) -> float:
    """Return the cache of one token; layers for multi-token prediction keep theirs too."""
    token_bytes = kv_bytes_per_token(arch, kv_dtype=kv_dtype, tp=sharding.tp)
    token_bytes += index_bytes_per_token(arch)
    if sharding.has_mtp:
        token_bytes *= 1 + arch.n_mtp_layers / arch.n_layers
    return token_bytes


def _more_ranks(arch: ModelArchitecture, *, sharding: Sharding) -> Iterable[Sharding]:
    """Yield divisions over more ranks, fewest first, in the style of the given one."""
    n_physical = arch.moe.n_routed_experts + sharding.n_redundant
    for n_ranks in range(sharding.n_ranks + 1, _MAX_RANKS + 1):
        if sharding.ep > 1 and n_physical % n_ranks:
            continue
        if sharding.attention_dp > 1:
            if n_ranks % sharding.tp:
                continue
            other = replace(sharding, attention_dp=n_ranks // sharding.tp)
        else:
            other = replace(sharding, tp=n_ranks)
        other = replace(other, ep=n_ranks if sharding.ep > 1 else 1)
        if _is_valid(arch, sharding=other):
            yield other


def _is_valid(arch: ModelArchitecture, *, sharding: Sharding) -> bool:
    try:
        attention_gemms(arch, tp=sharding.tp, phase="prefill")
    except ConfigError:
        return False
    return arch.moe.inter % sharding.expert_tp == 0


def _fewer_experts(arch: ModelArchitecture, *, sharding: Sharding) -> Iterable[Sharding]:
    """Yield divisions with fewer redundant experts, most first."""
    for n_redundant in range(sharding.n_redundant - 1, -1, -1):
        if (arch.moe.n_routed_experts + n_redundant) % sharding.ep == 0:
            yield replace(sharding, n_redundant=n_redundant)


def _describe(sharding: Sharding, *, other: Sharding) -> str:
    if other.n_redundant < sharding.n_redundant:
        return f"lower redundant_experts to {other.n_redundant}"
    raised = [
        f"{name} to {getattr(other, name)}"
        for name in ("ep", "attention_dp", "tp")
        if getattr(other, name) != getattr(sharding, name)
    ]
    return f"raise {' and '.join(raised)}"
