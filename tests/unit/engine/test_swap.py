"""Caches on their way to host memory and back, on a real link between GPU and CPU."""

import numpy as np
import pytest
import simpy
from strategies import Case, Shape, build

from rackmoe.engine.assembly import plan_pool
from rackmoe.engine.interconnect import Interconnect
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.engine.shipments import Shipments
from rackmoe.engine.swap import HostSwap, SwapShape, build_swap
from rackmoe.errors import CapacityError
from rackmoe.hardware.profile import load_machine
from rackmoe.records import Pool
from rackmoe.scenario.policies import PreemptionChoice
from rackmoe.serving.batching import Batcher, BatchLimits, Preempted
from rackmoe.streams import Streams

BLOCK_BYTES = 1e9


class Noted:
    """A replica without a process."""

    def __init__(self, pool=Pool.AGGREGATED, *, tp=1, kv_blocks=10):
        self.index, self.pool, self.tp, self.first_gpu = 0, pool, tp, 0
        self.batcher = Batcher(
            BatchLimits(
                n_groups=1,
                max_sequences=4,
                max_tokens_per_step=100,
                kv_blocks=kv_blocks,
                block_tokens=10,
            )
        )
        self.joined, self.n_wakes = [], 0

    def join(self, request, *, group):
        self.joined.append((request, group))

    def wake(self):
        self.n_wakes += 1


class World:
    def __init__(self, *, host_blocks=10):
        self.env = simpy.Environment(initial_time=0)
        machine = load_machine("gb200_nvl72")
        self.net = Interconnect(self.env, machine=machine, n_gpus=4)
        shape = SwapShape(block_bytes=BLOCK_BYTES, window_bytes=0.0, host_blocks=host_blocks)
        self.swap = HostSwap(Shipments(self.net, machine=machine), shapes={Pool.AGGREGATED: shape})

    def rate_bytes_per_s(self):
        return float(self.net.links.capacity_bytes_per_s[self.net.links.host[0, 0]])


def victim(request, n_tokens):
    return Preempted(request=request, group=0, context=n_tokens, remaining=5, is_stuck=False)


def test_a_cache_goes_out_and_back_at_the_speed_of_the_link():
    world, replica = World(), Noted()
    done = world.swap.save(replica, victim=victim(3, 25))
    assert replica.batcher.holds_prompts
    assert world.swap.is_waited_for(replica)
    one_s = 3 * BLOCK_BYTES / world.rate_bytes_per_s()
    world.env.run(until=done)
    assert world.env.now / 1e12 == pytest.approx(one_s, rel=1e-4)
    # there is room: it comes back at once, and prompts may start again
    assert not replica.batcher.holds_prompts
    assert replica.batcher.held_blocks.tolist() == [3]
    world.env.run()
    assert replica.joined == [(3, 0)]
    assert world.env.now / 1e12 == pytest.approx(2 * one_s, rel=1e-4)
    assert world.swap.hosts[0].free_blocks.tolist() == [10]
    assert world.swap.figures == {
        "n_swaps": 1.0,
        "n_swaps_refused": 0.0,
        "swap_out_bytes": 3 * BLOCK_BYTES,
        "swap_in_bytes": 3 * BLOCK_BYTES,
    }


def test_two_caches_share_the_link():
    world, replica = World(), Noted(kv_blocks=1)
    reads = [world.swap.save(replica, victim=victim(request, 20)) for request in range(2)]
    world.env.run(until=world.env.all_of(reads))
    assert world.env.now / 1e12 == pytest.approx(
        4 * BLOCK_BYTES / world.rate_bytes_per_s(), rel=1e-4
    )


def test_every_gpu_of_a_group_copies_its_share():
    world, replica = World(), Noted(tp=2)
    done = world.swap.save(replica, victim=victim(0, 10))
    world.env.run(until=done)
    assert world.swap.out_bytes == 2 * BLOCK_BYTES
    assert world.env.now / 1e12 == pytest.approx(BLOCK_BYTES / world.rate_bytes_per_s(), rel=1e-4)


def test_they_come_back_in_order_of_priority_when_memory_is_freed():
    world, replica = World(), Noted(kv_blocks=4)
    replica.batcher.held_blocks[0] = 4
    replica.batcher.priorities = np.array([0, 0, 1])
    for request in range(3):
        world.swap.save(replica, victim=victim(request, 20))
    world.env.run()
    assert replica.joined == []
    assert replica.batcher.holds_prompts
    replica.batcher.held_blocks[0] = 0
    world.swap.resume(replica)
    world.env.run()
    # two blocks each; beside another one a block is left to grow
    assert replica.joined == [(2, 0)]
    assert world.swap.is_waited_for(replica)
    assert replica.batcher.holds_prompts


def test_a_full_host_refuses():
    world, replica = World(host_blocks=2), Noted()
    assert world.swap.save(replica, victim=victim(0, 21)) is None
    assert world.swap.n_refused == 1
    assert not replica.batcher.holds_prompts
    assert world.swap.save(Noted(Pool.PREFILL), victim=victim(0, 1)) is None


def test_a_failed_replica_loses_what_is_on_its_way():
    world, replica = World(), Noted()
    world.swap.save(replica, victim=victim(0, 10))
    assert world.swap.drop(replica) == [0]
    assert world.swap.drop(replica) == []
    world.env.run()
    assert replica.joined == []
    assert world.swap.hosts[0].free_blocks.tolist() == [10]


def test_a_cache_that_comes_back_to_a_failed_replica_is_lost():
    world, replica = World(), Noted()
    world.env.run(until=world.swap.save(replica, victim=victim(0, 10)))
    assert world.swap.n_in == 1
    assert world.swap.drop(replica) == [0]
    world.env.run()
    assert replica.joined == []


def planned(folder, *, policy="swap", host_memory_bytes=None, offloads=False):
    scenario = build(Case(pools=(Shape(), Shape(tp=2))), folder)
    choice = PreemptionChoice(policy=policy, host_memory_bytes=host_memory_bytes)
    deployment = scenario.document.deployment
    pools = {"decode": deployment.decode.model_copy(update={"offloads_weights": offloads})}
    deployment = deployment.model_copy(update={"preemption": choice} | pools)
    document = scenario.document.model_copy(update={"deployment": deployment})
    scenario = type(scenario)(
        name="case",
        document=document,
        machine=scenario.machine,
        arch=scenario.arch,
        backend=scenario.backend,
    )
    routing = RoutingInputs(scenario, streams=Streams(0))
    plans = [plan_pool(scenario, name=name, routing=routing) for name in ("prefill", "decode")]
    net = Interconnect(simpy.Environment(initial_time=0), machine=scenario.machine, n_gpus=4)
    shipments = Shipments(net, machine=scenario.machine)
    return build_swap(scenario, shipments=shipments, plans=plans)


def test_a_scenario_asks_for_it(small_files):
    assert planned(small_files, policy="recompute") is None
    assert planned(small_files).n_out == 0


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        ({"host_memory_bytes": 1e15}, r"deployment.preemption.host_memory: 1e\+15 B for each GPU"),
        ({"offloads": True}, "the pool keeps weights in host memory"),
    ],
)
def test_memory_that_is_not_there_is_refused(small_files, choice, problem):
    with pytest.raises(CapacityError, match=problem):
        planned(small_files, **choice)
