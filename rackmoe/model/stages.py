"""What the memory of one pipeline stage holds."""

from rackmoe.errors import CapacityError
from rackmoe.model.architecture import ModelArchitecture
from rackmoe.model.cache import index_bytes_per_token, kv_bytes_per_token, kv_window_bytes
from rackmoe.model.memory import MemoryBudget, MemoryPlan, Sharding, rank_weight_bytes

__all__ = ["stage_memory"]

_GB = 1e9
_ENDS = ("embedding", "head")


def stage_memory(
    arch: ModelArchitecture,
    *,
    n_stages: int,
    sharding: Sharding,
    budget: MemoryBudget,
    kv_dtype: str,
) -> MemoryPlan:
    """Return what a rank of the fullest stage holds.

    Layers are dealt in order, as evenly as they can be; the first stage has the embedding,
    the last one the head.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.
    n_stages : int
        Stages, at most as many as layers.
    sharding : Sharding
        How a stage is divided.
    budget : MemoryBudget
        Memory of one rank.
    kv_dtype : str
        Format of the cache.

    Returns
    -------
    MemoryPlan
        Weights, and the cache of a token in the layers of the stage.

    Raises
    ------
    CapacityError
        If the weights do not fit.
    """
    share_frac = -(-arch.n_layers // n_stages) / arch.n_layers
    sizes = rank_weight_bytes(arch, sharding=sharding)
    layers_bytes = sum(size for name, size in sizes.items() if name not in _ENDS)
    ends_bytes = [sizes[name] for name in _ENDS]
    weights_bytes = share_frac * layers_bytes
    weights_bytes += sum(ends_bytes) if n_stages == 1 else max(ends_bytes)
    token_bytes = kv_bytes_per_token(arch, kv_dtype=kv_dtype, tp=sharding.tp)
    plan = MemoryPlan(
        weights_bytes=weights_bytes,
        cache_bytes=budget.cache_bytes(weights_bytes),
        token_bytes=share_frac * (token_bytes + index_bytes_per_token(arch)),
        window_bytes=share_frac * kv_window_bytes(arch, kv_dtype=kv_dtype, tp=sharding.tp),
    )
    if plan.cache_bytes < plan.window_bytes + plan.token_bytes:
        raise CapacityError(
            f"{arch.name}: a stage of {n_stages} needs {weights_bytes / _GB:.1f} GB of weights, "
            f"{max(0.0, budget.usable_bytes) / _GB:.1f} GB are usable; raise pp, tp or ep"
        )
    return plan
