"""The replicas of a scenario, built from its laws and put on the clock."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import simpy

from rackmoe.backend.collective_files import load_collectives
from rackmoe.backend.collectives import CollectiveBook, Family
from rackmoe.backend.operator_files import operator_constants
from rackmoe.backend.operators import OperatorConstants, free_constants, ideal_constants
from rackmoe.backend.profile import HostTimes
from rackmoe.compute.operators import OperatorLaws
from rackmoe.engine.context_parallel import ContextStepLaw, Ring
from rackmoe.engine.dense_work import DenseWork
from rackmoe.engine.exchanges import (
    DispatchCombine,
    ExpertReduce,
    LocalExperts,
    ReplicaExchanges,
)
from rackmoe.engine.ledger import Ledger
from rackmoe.engine.pair_traffic import PairTraffic
from rackmoe.engine.pipeline import StageShape, hops_between, join_stages
from rackmoe.engine.pool_memory import plan_memory
from rackmoe.engine.pool_plan import PoolPlan
from rackmoe.engine.replica import Replica, ReplicaHooks
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.engine.step import ReplicaShape, StepLaw, StepSchedule
from rackmoe.errors import ConfigError
from rackmoe.hardware.machine import Gpu
from rackmoe.model.architecture import Window
from rackmoe.model.attention import layer_groups
from rackmoe.model.costs import dispatch_bytes
from rackmoe.model.memory import MemoryPlan
from rackmoe.network.build import ExchangeChoice, build_collective, build_exchange
from rackmoe.network.collectives import CollectiveLaw
from rackmoe.network.dispatch import ExchangeLaw
from rackmoe.records import Pool as PoolRole
from rackmoe.records import Table
from rackmoe.scenario.deployment import Pool
from rackmoe.scenario.resolved import Scenario
from rackmoe.serving.batching import BatchLimits, BatchPolicy, GroupChoice
from rackmoe.serving.prompt_gate import PromptPace
from rackmoe.serving.speculation import Speculation
from rackmoe.streams import Streams

__all__ = ["build_replicas", "plan_pool"]

# All-reduces of engines reach as far as NVLink does; beyond, all of them call NCCL.
_IDEAL, _ACROSS_DOMAINS = "ideal", "nccl"

_ROLES = {
    "aggregated": PoolRole.AGGREGATED,
    "prefill": PoolRole.PREFILL,
    "decode": PoolRole.DECODE,
}


def plan_pool(
    scenario: Scenario, *, name: str, routing: RoutingInputs, streams: Streams | None = None
) -> PoolPlan:
    """Return the laws and limits of a pool.

    Parameters
    ----------
    scenario : Scenario
        The scenario.
    name : str
        Name of the pool in the deployment.
    routing : RoutingInputs
        Popularity and traces of the run.
    streams : Streams, optional
        Random streams of the run; those of seed 0 by default.

    Returns
    -------
    PoolPlan
        What its replicas share.

    Raises
    ------
    CapacityError
        If the weights or a single request do not fit.
    """
    pool = scenario.document.deployment.pools[name]
    held = plan_memory(scenario, pool=pool, place=f"{scenario.name}: deployment.{name}")
    memory = held.plan
    limits = _limits(scenario, pool, memory)
    shape = ReplicaShape(
        tp=pool.tp,
        n_groups=pool.n_attention_ranks,
        is_expert_parallel=pool.ep > 1 or pool.n_gpus_per_stage == 1,
    )
    backend, arch = scenario.backend, scenario.arch
    laws = OperatorLaws(
        _computing_gpu(scenario, pool, phase=_phase(scenario, name)),
        _operators(scenario, pool, phase=_phase(scenario, name)),
    )
    dense = DenseWork(
        arch,
        laws=laws,
        tp=pool.tp,
        kv_dtype=scenario.kv_dtype,
        max_rows=limits.max_tokens_per_step + limits.max_sequences * (1 + pool.draft_tokens),
        is_free=backend.operators.is_compute_free,
    )
    law = (StepLaw if pool.cp == 1 else ContextStepLaw)(
        arch,
        shape=shape,
        laws=laws,
        dense=dense,
        routing=routing.source(pool, role=name),
        exchanges=_exchanges(scenario, pool, phase=_phase(scenario, name)),
        schedule=StepSchedule(
            host=_host(scenario, stream_s=held.stream_s),
            is_two_batch=pool.two_batch_overlap,
            n_drafts=pool.draft_tokens,
        ),
        domain_of_request=None if routing.domains is None else routing.domains.of_request,
    )
    if isinstance(law, ContextStepLaw):
        law.ring = _ring(scenario, pool, memory)
    return PoolPlan(
        role=_ROLES[name],
        pool=pool,
        limits=limits,
        memory=memory,
        law=law,
        step_tolerance_frac=scenario.document.workload.measurement.step_tolerance_frac,
        speculation=_speculation(scenario, pool, (streams or Streams(0)).rng(f"drafts {name}")),
        stages=None if pool.pp == 1 else StageShape(machine=scenario.machine, hidden=arch.hidden),
    )


def build_replicas(
    env: simpy.Environment,
    *,
    plans: list[PoolPlan],
    ledger: Ledger,
    steps: Table,
    hooks: ReplicaHooks,
    places: Sequence[int] | None = None,
) -> list[Replica]:
    """Put the replicas of all pools on the clock.

    Parameters
    ----------
    env : simpy.Environment
        The clock.
    plans : list of PoolPlan
        The pools.
    ledger : Ledger
        The requests of the run.
    steps : Table
        Where steps are written.
    hooks : ReplicaHooks
        What replicas tell the rest of the rack.
    places : sequence of int, optional
        First GPU of each replica; one after the other by default.

    Returns
    -------
    list of Replica
        In the order of the pools, one number after the other.
    """
    replicas: list[Replica] = []
    next_gpu = 0
    for plan in plans:
        for number in range(plan.pool.replicas * plan.pool.pp):
            replica = Replica(
                env,
                index=len(replicas),
                plan=plan,
                first_gpu=next_gpu if places is None else places[len(replicas)],
                ledger=ledger,
                steps=steps,
                hooks=hooks,
            )
            replicas.append(replica)
            next_gpu += plan.pool.n_gpus_per_stage
            if plan.stages is not None and number % plan.pool.pp == plan.pool.pp - 1:
                join_stages(replicas[-plan.pool.pp :], shape=plan.stages)
    return replicas


def _ring(scenario: Scenario, pool: Pool, memory: MemoryPlan) -> Ring:
    """Return the way of keys and values around a divided context; its ends are farthest apart."""
    (slowest,) = hops_between(scenario.machine, first_gpus=(0, pool.tp * pool.cp - 1))
    return Ring(
        n_ranks=pool.cp,
        token_bytes=memory.token_bytes,
        n_layers=scenario.arch.n_layers,
        bandwidth_bytes_per_s=slowest.bandwidth_bytes_per_s,
        latency_s=slowest.latency_s,
    )


def _speculation(scenario: Scenario, pool: Pool, rng: np.random.Generator) -> Speculation | None:
    if not pool.draft_tokens:
        return None
    return Speculation(
        n_drafts=pool.draft_tokens,
        acceptance_frac=tuple(scenario.backend.speculation.acceptance_frac.value),
        rng=rng,
    )


def _phase(scenario: Scenario, name: str) -> str:
    """Return the phase whose kernels a pool runs; one that never decodes runs those of prompts."""
    lengths = scenario.document.workload.lengths
    has_one_token = lengths is not None and lengths.output == 1
    return "prefill" if has_one_token else name


def _computing_gpu(scenario: Scenario, pool: Pool, *, phase: str) -> Gpu:
    """Return the GPU without the SMs that exchanges hold while they overlap with computing.

    Engines that overlap two micro-batches give the exchange kernels their SMs for whole
    steps, and tell the GEMM kernels to leave them alone.
    """
    gpu = scenario.machine.gpu
    if not pool.two_batch_overlap or pool.attention_dp == 1:
        return gpu
    book = load_collectives(gpu.name)
    family = _family(scenario, pool, phase=phase, book=book)
    held = max((one.n_sms for one in book.exchanges if one.family is family), default=0)
    left_frac = 1 - held / gpu.n_sms
    peaks = {name: peak * left_frac for name, peak in gpu.peak_flop_per_s.items()}
    return replace(gpu, n_sms=gpu.n_sms - held, peak_flop_per_s=peaks)


def _operators(scenario: Scenario, pool: Pool, *, phase: str) -> OperatorConstants:
    choice = scenario.backend.operators
    if choice.is_compute_free:
        return free_constants()
    if choice.source == "ideal":
        return ideal_constants()
    if pool.n_attention_ranks == 1:
        own = choice.latency_kernels
    elif pool.ep == 1:
        own = {}
    else:
        is_prefill = phase == "prefill"
        own = choice.wide_prefill_kernels if is_prefill else choice.wide_decode_kernels
    return operator_constants(
        scenario.machine.gpu.name,
        source=choice.source,
        kernels={**choice.kernels, **own},
        other_sources=choice.other_sources,
    )


def _host(scenario: Scenario, *, stream_s: float) -> HostTimes:
    """Return the host times; a step lasts at least as long as its weights stream in."""
    host = scenario.host
    if stream_s <= host.step_s.value:
        return host
    step = host.step_s.model_copy(update={"value": stream_s})
    return host.model_copy(update={"step_s": step})


def _limits(scenario: Scenario, pool: Pool, memory: MemoryPlan) -> BatchLimits:
    scheduler = scenario.backend.scheduler
    max_sequences = pool.max_batch_per_rank or scheduler.max_batch_per_rank
    # the schedulers of a pipeline divide the slots and the memory of its stages
    n_tokens = memory.capacity_tokens(n_sequences=max_sequences) * pool.cp // pool.pp
    max_sequences = -(-max_sequences // pool.pp)
    host = scenario.host
    return BatchLimits(
        n_groups=pool.attention_dp,
        max_sequences=max_sequences,
        max_tokens_per_step=pool.max_tokens_per_step or scheduler.max_tokens_per_step,
        kv_blocks=n_tokens // scheduler.block_tokens,
        block_tokens=scheduler.block_tokens,
        policy=BatchPolicy(scheduler.policy),
        group_choice=GroupChoice(scheduler.group_choice),
        kv_watermark_frac=scheduler.kv_watermark_frac,
        window=_window(scenario),
        draft_tokens=pool.draft_tokens,
        declared_output_tokens=_declared_tokens(scenario),
        pace=PromptPace(
            poll_steps=scenario.document.deployment.intake_every_steps or host.poll_steps.value,
            balance_steps=scheduler.balance_steps,
        ),
    )


def _declared_tokens(scenario: Scenario) -> int:
    """Return the output that clients declare, where the scheduler counts on it.

    Recorded requests declare nothing, nor do those whose lengths have no nominal value.
    """
    lengths = scenario.document.workload.lengths
    if not scenario.backend.scheduler.guarantees_output:
        return 0
    if lengths is None or lengths.output is None:
        return 0
    return int(lengths.output * lengths.spread[1])


def _window(scenario: Scenario) -> Window | None:
    windows = [group.window for group in layer_groups(scenario.arch) if group.window is not None]
    return windows[0] if windows else None


def _exchanges(scenario: Scenario, pool: Pool, *, phase: str) -> ReplicaExchanges:
    n_gpus = pool.n_gpus_per_stage
    if n_gpus == 1:
        return LocalExperts()
    arch = scenario.arch
    if pool.n_attention_ranks == 1:
        return ExpertReduce(
            _all_reduce(scenario, n_gpus),
            hidden=arch.hidden,
            n_layers=arch.n_layers,
            n_moe_layers=len(arch.moe_layers),
            traffic=PairTraffic.on_machine(None, n_ranks=n_gpus, machine=scenario.machine),
        )
    book = load_collectives(scenario.machine.gpu.name)
    family = _family(scenario, pool, phase=phase, book=book)
    choice = ExchangeChoice(
        family=family,
        n_ranks=n_gpus,
        top_k=arch.moe.top_k,
        hidden=arch.hidden,
        dispatch_dtype=scenario.dispatch_dtype,
        combine_dtype=scenario.combine_dtype,
        library=scenario.backend.collectives.source,
        combine_in_network=_sums_in_network(scenario),
    )
    payloads = tuple(
        dispatch_bytes(arch.hidden, dtype=dtype)
        for dtype in (scenario.dispatch_dtype, scenario.combine_dtype)
    )
    exchange = build_exchange(scenario.machine, book=book, choice=choice)
    return DispatchCombine(
        exchange,
        tp=pool.tp,
        reduce_law=_all_reduce(scenario, pool.tp) if pool.tp > 1 else None,
        payload_bytes=(payloads[0], payloads[1]),
        hidden=arch.hidden,
        n_layers=arch.n_layers,
        traffic=PairTraffic.on_machine(
            family, n_ranks=n_gpus, machine=scenario.machine, exchange=exchange
        ),
        combines_in_network=isinstance(exchange.combine, ExchangeLaw)
        and choice.combine_in_network,
    )


def _sums_in_network(scenario: Scenario) -> bool:
    """Return whether switches sum the outputs of experts, which some cannot."""
    wanted = scenario.document.simulation.combine_in_network
    if wanted and not scenario.machine.scale_up.has_in_network_reduction:
        raise ConfigError(
            f"{scenario.name}: simulation.combine_in_network: true, but the switches of "
            f"{scenario.machine.name} cannot add; expected scale_up.has_in_network_reduction; "
            "set it in overrides or leave the combine to the ranks"
        )
    return wanted


def _family(scenario: Scenario, pool: Pool, *, phase: str, book: CollectiveBook) -> Family:
    """Return the preferred family of the backend that the GPU has constants for."""
    if pool.ep == 1:
        return Family.ALLGATHER_REDUCESCATTER
    choice = scenario.backend.collectives
    is_one = pool.n_gpus_per_stage <= scenario.machine.scale_up.domain_gpus
    if phase == "prefill":
        wanted = choice.one_domain_prefill if is_one else choice.many_domains_prefill
    else:
        wanted = choice.one_domain_decode if is_one else choice.many_domains_decode
    known = {one.family for one in book.exchanges} | {Family.IDEAL}
    return next((family for family in wanted if family in known), wanted[0])


def _all_reduce(scenario: Scenario, n_ranks: int) -> CollectiveLaw:
    library = scenario.backend.collectives.all_reduce
    if n_ranks > scenario.machine.scale_up.domain_gpus and library != _IDEAL:
        library = _ACROSS_DOMAINS
    return build_collective(
        scenario.machine,
        book=load_collectives(scenario.machine.gpu.name),
        operation="all_reduce",
        n_ranks=n_ranks,
        library=library,
    )
