"""What the memory of a pool's GPUs holds, and which weights stay in the memory of the CPUs."""

from dataclasses import dataclass, replace

from rackmoe.errors import CapacityError
from rackmoe.model.architecture import ModelArchitecture
from rackmoe.model.memory import MemoryBudget, MemoryPlan, Sharding, check_fit, rank_weight_bytes
from rackmoe.model.stages import stage_memory
from rackmoe.scenario.deployment import Pool
from rackmoe.scenario.resolved import Scenario

__all__ = ["PoolMemory", "plan_memory"]

# Prompts of a step and those that leave it: what a prefill GPU caches at least, in steps.
_CACHED_STEPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMemory:
    """The memory of one GPU of a pool.

    Attributes
    ----------
    plan : MemoryPlan
        What it holds.
    stream_s : float
        Time to fetch the weights that it does not hold, once per step. [s]
    """

    plan: MemoryPlan
    stream_s: float = 0.0


def plan_memory(scenario: Scenario, *, pool: Pool, place: str) -> PoolMemory:
    """Return what a GPU of a pool holds.

    Parameters
    ----------
    scenario : Scenario
        The scenario.
    pool : Pool
        The pool.
    place : str
        Where it is defined, for messages.

    Returns
    -------
    PoolMemory
        Weights and cache; with ``offloads_weights``, the time to stream the others.

    Raises
    ------
    CapacityError
        If the weights do not fit.
    """
    reserve = scenario.backend.memory
    sharding = Sharding(
        tp=pool.tp,
        attention_dp=pool.n_attention_ranks,
        ep=pool.ep,
        n_redundant=pool.redundant_experts,
        has_mtp=pool.draft_tokens > 0,
    )
    budget = MemoryBudget(
        hbm_bytes=scenario.machine.gpu.hbm_bytes,
        usable_frac=reserve.usable_frac.value,
        workspace_bytes=reserve.workspace_bytes.value,
        is_share_of_free=reserve.is_share_of_free,
    )
    try:
        if pool.pp > 1:
            return PoolMemory(
                plan=stage_memory(
                    scenario.arch,
                    n_stages=pool.pp,
                    sharding=sharding,
                    budget=budget,
                    kv_dtype=scenario.kv_dtype,
                )
            )
        plan = check_fit(
            _stored(scenario), sharding=sharding, budget=budget, kv_dtype=scenario.kv_dtype
        )
    except CapacityError as error:
        if not pool.offloads_weights:
            raise CapacityError(f"{place}: {error}") from error
        return _offloaded(scenario, pool=pool, sharding=sharding, budget=budget)
    return PoolMemory(plan=plan)


def _offloaded(
    scenario: Scenario, *, pool: Pool, sharding: Sharding, budget: MemoryBudget
) -> PoolMemory:
    """Keep in the CPU's memory what does not fit beside a small cache."""
    host = scenario.machine.host
    weights_bytes = sum(rank_weight_bytes(scenario.arch, sharding=sharding).values())
    roomy = MemoryBudget(hbm_bytes=2 * weights_bytes + budget.hbm_bytes)
    probe = check_fit(scenario.arch, sharding=sharding, budget=roomy, kv_dtype=scenario.kv_dtype)
    tokens = pool.max_tokens_per_step or scenario.backend.scheduler.max_tokens_per_step
    cache_bytes = _CACHED_STEPS * tokens * probe.token_bytes + probe.window_bytes
    away_bytes = weights_bytes + cache_bytes - budget.usable_bytes
    room_bytes = host.memory_bytes / host.gpus_per_cpu
    if away_bytes > room_bytes:
        raise CapacityError(
            f"{scenario.name}: {away_bytes:.3g} B of weights per GPU do not fit the HBM; "
            f"{room_bytes:.3g} B of CPU memory are there; raise ep"
        )
    plan = MemoryPlan(
        weights_bytes=weights_bytes - away_bytes,
        cache_bytes=cache_bytes,
        token_bytes=probe.token_bytes,
        window_bytes=probe.window_bytes,
    )
    rate = host.link_bandwidth_bytes_per_s * host.copy_frac
    return PoolMemory(plan=plan, stream_s=away_bytes / rate)


def _stored(scenario: Scenario) -> ModelArchitecture:
    """Return the model as its caches see it: with windows only where the engine frees them."""
    arch = scenario.arch
    if scenario.backend.kv.frees_windows:
        return arch
    layers = replace(arch.layers, windows=(None,) * arch.n_layers)
    return replace(arch, layers=layers)
