"""Cost of the network laws and of the fabric; figures are read, never asserted."""

import time
from dataclasses import replace

import numpy as np
import pytest
import simpy
from linked_cases import make_linked, under

from rackmoe.engine.fabric import Fabric
from rackmoe.network.fluid import flow_finish_s, one_fill_finish_s
from rackmoe.network.layer_times import LayerTimes
from rackmoe.network.link_state import LinkState
from rackmoe.network.packet import packet_receive_ends_s
from rackmoe.network.paired_step import paired_step, resume_paired_step
from rackmoe.network.recurrence import layered_step, resume_step
from rackmoe.network.sharing import FlowLinks
from rackmoe.network.slowdown import Slowdown
from rackmoe.network.two_batch import two_batch_step

N_LAYERS = 58
PORT = 900e9
COPY_BYTES = 7392.0

pytestmark = pytest.mark.benchmark(timer=time.process_time, min_rounds=20)


class Ports:
    latency_s = 3e-6

    def __init__(self, egress_s, ingress_s):
        self.egress_s, self.ingress_s = egress_s, ingress_s


def skewed_times(n_ranks, *, seed=0):
    """Attention skew of 5 %, expert load of 20 %, exchanges of 8 and 16 us."""
    rng = np.random.default_rng(seed)
    shape = (N_LAYERS, n_ranks)
    load = np.exp(0.2 * rng.standard_normal(shape))
    load /= load.mean(axis=1, keepdims=True)
    out = 8e-6 * (1.0 + 0.01 * rng.standard_normal(shape))
    return LayerTimes(
        pre_s=np.tile(90e-6 * (1.0 + 0.05 * rng.standard_normal(n_ranks)), (N_LAYERS, 1)),
        shared_s=np.full(shape, 5e-6),
        expert_s=30e-6 * (1.0 + load),
        dispatch=Ports(out, 8e-6 * load),
        combine=Ports(16e-6 * load, 2.0 * out),
    )


def packets(n_ranks, *, tokens_per_rank=128, top_k=8):
    """One packet per token and destination rank, popularity as rank ** -0.6."""
    rng = np.random.default_rng(1)
    weight = rng.permutation(np.arange(1, n_ranks + 1) ** -0.6)
    n_tokens = n_ranks * tokens_per_rank
    gumbel = np.log(weight) - np.log(-np.log(rng.random((n_tokens, n_ranks))))
    chosen = np.argpartition(-gumbel, top_k, axis=1)[:, :top_k]
    source = np.repeat(np.arange(n_tokens) // tokens_per_rank, top_k)
    destination = chosen.ravel()
    far = source != destination
    return source[far], destination[far]


@pytest.mark.parametrize("n_ranks", [8, 72, 320])
def test_closed_form_of_one_step_of_58_layers(benchmark, n_ranks):
    times = skewed_times(n_ranks)
    plan = benchmark(layered_step, times)
    assert plan.layer_end_s.size == N_LAYERS


@pytest.mark.parametrize("n_ranks", [16, 32, 64])
@pytest.mark.parametrize("per_leaf", [None, 1])
def test_closed_form_of_one_step_over_nodes(benchmark, n_ranks, per_leaf):
    linked = replace(make_linked(n_ranks, n_layers=N_LAYERS), pairs=None)
    slow = under(n_ranks, per_leaf=per_leaf)
    plan = benchmark(paired_step, skewed_times(n_ranks), paired=linked, slowdown=slow)
    assert plan.layer_end_s.size == N_LAYERS


@pytest.mark.parametrize("n_ranks", [16, 64])
def test_replanning_over_nodes_after_a_capacity_change(benchmark, n_ranks):
    linked = replace(make_linked(n_ranks, n_layers=N_LAYERS), pairs=None)
    times = skewed_times(n_ranks)
    plan = paired_step(times, paired=linked)
    now_s = 0.5 * float(plan.end_s.max())
    slow = Slowdown.none(n_ranks).changed(now_s, egress=18 / 16, links=LinkState.free(n_ranks))
    resumed = benchmark(
        resume_paired_step, times, paired=linked, plan=plan, slowdown=slow, now_s=now_s
    )
    assert resumed.end_s.max() >= plan.end_s.max()


@pytest.mark.parametrize("n_ranks", [8, 72, 320])
def test_two_batch_step_of_58_layers(benchmark, n_ranks):
    batches = (skewed_times(n_ranks), skewed_times(n_ranks, seed=1))
    plan = benchmark(two_batch_step, batches)
    assert not plan.is_network_bound


@pytest.mark.parametrize("n_changed", [1, 72])
def test_replanning_after_a_capacity_change_in_mid_step(benchmark, n_changed):
    times = skewed_times(72)
    plan = layered_step(times)
    now_s = 0.5 * float(plan.end_s.max())
    factor = np.where(np.arange(72) < n_changed, 18 / 16, 1.0)
    slow = Slowdown.none(72).changed(now_s, egress=factor, ingress=factor)
    resumed = benchmark(resume_step, times, plan=plan, slowdown=slow, now_s=now_s)
    assert resumed.end_s.max() >= plan.end_s.max()


@pytest.mark.parametrize("n_ranks", [72, 144, 320])
def test_packet_all_to_all(benchmark, n_ranks):
    source, destination = packets(n_ranks)
    port = np.full(n_ranks, PORT)
    ends_s = benchmark(
        packet_receive_ends_s,
        source,
        destination=destination,
        size_bytes=COPY_BYTES,
        egress_bytes_per_s=port,
        ingress_bytes_per_s=port,
    )
    assert ends_s.min() > 0.0


def flows(n_ranks):
    source, destination = packets(n_ranks)
    counts = np.bincount(source * n_ranks + destination, minlength=n_ranks**2)
    pairs = np.flatnonzero(counts)
    links = FlowLinks.of_crossbar(pairs // n_ranks, destination=pairs % n_ranks, n_ranks=n_ranks)
    return links, np.full(2 * n_ranks, PORT), counts[pairs] * COPY_BYTES


@pytest.mark.benchmark(min_rounds=3)
@pytest.mark.parametrize("n_ranks", [72, 144])
def test_flow_all_to_all_batched_at_one_percent(benchmark, n_ranks):
    links, capacity, size = flows(n_ranks)
    ends_s = benchmark(
        flow_finish_s, links, capacity_bytes_per_s=capacity, size_bytes=size, batch_frac=0.01
    )
    assert ends_s.min() > 0.0


def test_flow_all_to_all_by_one_filling(benchmark):
    links, capacity, size = flows(72)
    ends_s = benchmark(one_fill_finish_s, links, capacity_bytes_per_s=capacity, size_bytes=size)
    assert ends_s.min() > 0.0


N_TRANSFERS = 1000


@pytest.mark.benchmark(min_rounds=5)
@pytest.mark.parametrize("n_concurrent", [5, 500])
def test_thousand_kv_transfers_by_concurrency(benchmark, n_concurrent):
    n_ranks = 72
    rng = np.random.default_rng(1)
    pairs = rng.permuted(np.tile(np.arange(n_ranks), (N_TRANSFERS + 500, 1)), axis=1)[
        :, :2
    ].tolist()
    sizes = (280e6 * rng.random(N_TRANSFERS + 500)).tolist()

    def run():
        # a closed population: each transfer that ends starts the next
        env = simpy.Environment()
        fabric = Fabric(env, np.full(2 * n_ranks, 50e9), names=[str(k) for k in range(144)])
        queue = iter(range(N_TRANSFERS))

        def one():
            for k in queue:
                source, destination = pairs[k]
                yield fabric.transfer((source, n_ranks + destination), n_bytes=sizes[k])

        for _ in range(n_concurrent):
            env.process(one())
        env.run()
        return fabric

    fabric = benchmark(run)
    moved = fabric.counters().moved_bytes.sum()
    assert moved == pytest.approx(2.0 * sum(sizes[:N_TRANSFERS]))
