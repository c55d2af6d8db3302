"""Which laws and limits a pool gets."""

from dataclasses import replace

import numpy as np
import pytest
import simpy
from strategies import Case, Shape, build

from rackmoe.backend.collective_files import load_collectives
from rackmoe.backend.collectives import Spread
from rackmoe.engine import assembly
from rackmoe.engine.assembly import build_replicas, plan_pool
from rackmoe.engine.exchanges import DispatchCombine, ExpertReduce, LocalExperts
from rackmoe.engine.ledger import Ledger
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.errors import CapacityError, ConfigError
from rackmoe.model.architecture import Window
from rackmoe.network.build import build_collective
from rackmoe.network.traffic import ExpertGroup, balanced_traffic
from rackmoe.records import Pool, Records
from rackmoe.scenario.resolved import resolve_scenario
from rackmoe.serving.batching import BatchPolicy, GroupChoice
from rackmoe.streams import Streams


def pool_plan(case, folder, name="aggregated"):
    scenario = build(case, folder)
    return plan_pool(scenario, name=name, routing=RoutingInputs(scenario, streams=Streams(0)))


def test_limits_come_from_scenario_backend_and_memory(small_files):
    case = Case(
        policy="prefill_first",
        group_choice="least_kv",
        block_tokens=8,
        kv_tokens=100,
        max_batch=3,
        max_tokens=50,
        pools=(Shape(attention_dp=4, ep=4),),
    )
    limits = pool_plan(case, small_files).limits
    assert limits.n_groups == 4
    assert (limits.max_sequences, limits.max_tokens_per_step) == (3, 50)
    # 100 or 101 tokens are 12 full blocks of 8
    assert (limits.block_tokens, limits.kv_blocks) == (8, 12)
    assert limits.policy is BatchPolicy.PREFILL_FIRST
    assert limits.group_choice is GroupChoice.LEAST_KV
    assert limits.window is None


@pytest.mark.parametrize(
    ("model", "window"),
    [("windowed", Window(n_tokens=16)), ("alternate", Window(n_tokens=32, is_chunked=True))],
)
def test_local_attention_bounds_what_is_read(small_files, model, window):
    assert pool_plan(Case(model=model), small_files).limits.window == window


@pytest.mark.parametrize(
    ("shape", "kind", "n_expert_ranks"),
    [
        (Shape(), LocalExperts, 1),
        (Shape(tp=2), ExpertReduce, 1),
        (Shape(tp=2, ep=2), ExpertReduce, 2),
        (Shape(attention_dp=2), DispatchCombine, 1),
        (Shape(attention_dp=4, ep=4), DispatchCombine, 4),
        (Shape(tp=2, attention_dp=2, ep=4), DispatchCombine, 4),
    ],
)
@pytest.mark.parametrize("backend", ["ideal", "trtllm-2026h1"])
def test_exchanges_follow_from_the_shape(small_files, backend, shape, kind, n_expert_ranks):
    law = pool_plan(Case(backend=backend, pools=(shape,)), small_files).law
    assert isinstance(law._exchanges, kind)
    assert law.routing.placement.n_ranks == n_expert_ranks
    assert law.shape.n_gpus == shape.tp * shape.attention_dp


def test_a_family_without_constants_gives_way_to_the_next(small_files):
    """One-sided NVLink kernels were not measured on HGX H200: DeepEP stands in."""
    shapes = (Shape(attention_dp=4, ep=4),)
    case = Case(backend="trtllm-2026h1", hardware="hgx_h200", pools=shapes)
    exchanges = pool_plan(case, small_files).law._exchanges
    assert exchanges._family.value.startswith("deepep")


def summing_plan(folder, **case):
    """A plan of 4 ranks whose switches are asked to sum the outputs of experts."""
    document = build(Case(pools=(Shape(attention_dp=4, ep=4),), **case), folder).document
    changed = document.simulation.model_copy(update={"combine_in_network": True})
    scenario = resolve_scenario(document.model_copy(update={"simulation": changed}), name="case")
    routing = RoutingInputs(scenario, streams=Streams(0))
    return plan_pool(scenario, name="aggregated", routing=routing)


def test_switches_that_sum_outputs_shorten_what_a_rank_receives_and_nothing_else(small_files):
    case = {"backend": "trtllm-2026h1"}
    plain = pool_plan(Case(pools=(Shape(attention_dp=4, ep=4),), **case), small_files)
    group = ExpertGroup(n_ranks=4, ranks_per_domain=72, top_k=4, n_experts=8)
    traffic = balanced_traffic(4096.0, group=group, spread=Spread.RANDOM)
    times = []
    for plan in (plain, summing_plan(small_files, **case)):
        exchange = plan.law._exchanges._exchange
        dispatch, combine = (
            law.port_times(traffic, tokens=traffic.tokens)
            for law in (exchange.dispatch, exchange.combine)
        )
        times.append((dispatch.total_s().max(), combine.egress_s.max(), combine.ingress_s.max()))
    (into_s, sent_s, back_s), (summed_into_s, summed_sent_s, summed_back_s) = times
    # the ranks of experts send what they did, only the rank of a token receives less
    assert (summed_into_s, summed_sent_s) == (into_s, sent_s)
    assert summed_back_s < back_s


def test_switches_that_cannot_add_are_not_asked_to(small_files):
    with pytest.raises(ConfigError, match="combine_in_network: true, but the switches of"):
        summing_plan(small_files, overrides=(("scale_up.has_in_network_reduction", False),))


def test_pools_have_their_roles(small_files):
    case = Case(pools=(Shape(), Shape(tp=2)))
    assert pool_plan(case, small_files, "prefill").role is Pool.PREFILL
    assert pool_plan(case, small_files, "decode").role is Pool.DECODE
    assert pool_plan(Case(), small_files).role is Pool.AGGREGATED


def test_weights_that_do_not_fit_are_refused_by_pool(small_files):
    case = Case(pools=(Shape(), Shape(tp=2)), overrides=(("gpu.hbm_capacity", "5 MB"),))
    with pytest.raises(CapacityError, match=r"^case: deployment.decode: latent: rank 0 needs"):
        pool_plan(case, small_files, "decode")


def test_replicas_are_numbered_over_all_pools(small_files):
    case = Case(pools=(Shape(tp=2, replicas=2), Shape(attention_dp=4, ep=4)))
    scenario = build(case, small_files)
    routing = RoutingInputs(scenario, streams=Streams(0))
    plans = [plan_pool(scenario, name=name, routing=routing) for name in ("prefill", "decode")]
    records = Records()
    replicas = build_replicas(
        simpy.Environment(initial_time=0),
        plans=plans,
        ledger=Ledger(n_input_tokens=np.array([1]), n_output_tokens=np.array([1])),
        steps=records.steps,
        hooks=None,
    )
    assert [r.index for r in replicas] == [0, 1, 2]
    assert [r.first_gpu for r in replicas] == [0, 2, 4]
    assert [r.tp for r in replicas] == [2, 2, 1]
    assert [r.pool for r in replicas] == [Pool.PREFILL, Pool.PREFILL, Pool.DECODE]


def test_free_compute_leaves_the_network_alone(small_files):
    case = Case(backend="ideal-network", pools=(Shape(attention_dp=4, ep=4),))
    law = pool_plan(case, small_files).law
    assert law._laws.gemm_time_s(8.0, n=100, k=100, dtype="bf16") == 0
    paid = pool_plan(replace(case, backend="ideal"), small_files).law
    assert paid._laws.gemm_time_s(8.0, n=100, k=100, dtype="bf16") > 0


def test_all_reduces_beyond_one_nvlink_domain_are_those_of_nccl(small_files):
    case = Case(backend="trtllm-2026h1", hardware="hgx_h200", pools=(Shape(tp=8),))
    scenario = build(case, small_files)
    law = {
        library: build_collective(
            scenario.machine,
            book=load_collectives(scenario.machine.gpu.name),
            operation="all_reduce",
            n_ranks=16,
            library=library,
        )
        for library in ("nccl", "trtllm")
    }
    assert law["nccl"].time_s(1e6) != law["trtllm"].time_s(1e6)
    assert assembly._all_reduce(scenario, 16).time_s(1e6) == law["nccl"].time_s(1e6)
    assert assembly._all_reduce(scenario, 8).time_s(1e6) < law["nccl"].time_s(1e6)


@pytest.mark.parametrize(("n_output_tokens", "family"), [(1, "normal"), (8, "low_latency")])
def test_pools_that_never_decode_run_the_kernels_of_prompts(small_files, n_output_tokens, family):
    case = Case(
        backend="sglang-2026h1",
        hardware="hgx_h200",
        pools=(Shape(attention_dp=8, ep=8),),
        lengths=(40, n_output_tokens),
        spread=(1.0, 1.0),
    )
    exchanges = pool_plan(case, small_files).law._exchanges
    assert exchanges._family.value.startswith(f"deepep_{family}")


def test_overlapped_exchanges_hold_sms(small_files):
    case = Case(
        backend="sglang-2026h1",
        hardware="hgx_h200",
        pools=(Shape(attention_dp=8, ep=8),),
        lengths=(40, 1),
        spread=(1.0, 1.0),
    )
    scenario = build(case, small_files)
    pool = scenario.document.deployment.pools["aggregated"]
    gpu = scenario.machine.gpu
    assert assembly._computing_gpu(scenario, pool, phase="prefill") == gpu
    split = pool.model_copy(update={"two_batch_overlap": True})
    left = assembly._computing_gpu(scenario, split, phase="prefill")
    assert left.n_sms == gpu.n_sms - 24
    assert left.peak_flop_per_s["fp8"] == pytest.approx(gpu.peak_flop_per_s["fp8"] * 108 / 132)
    # low-latency kernels leave the transfer to the NICs
    assert assembly._computing_gpu(scenario, split, phase="decode") == gpu


def test_trtllm_balances_prompts_and_runs_low_latency_experts(small_files):
    case = Case(backend="trtllm-2026h1", hardware="hgx_b200", pools=(Shape(tp=8),))
    assert pool_plan(case, small_files).limits.pace.balance_steps == 60
    scenario = build(case, small_files)
    pool = scenario.document.deployment.pools["aggregated"]
    narrow = assembly._operators(scenario, pool, phase="aggregated")
    wide = assembly._operators(
        scenario,
        pool.model_copy(update={"tp": 1, "attention_dp": 8, "ep": 8}),
        phase="aggregated",
    )
    # DeepGEMM walks all experts of a table; the other kernel finds its tokens at once
    scans = [one.grouped_gemm["fp8_block"].expert_scan_s for one in (narrow, wide)]
    assert scans[0] < 0.01 * scans[1]
