"""The life of replicas, with a rack that takes notes."""

import pytest
import simpy

from rackmoe.engine.fleet import Fleet
from rackmoe.engine.interconnect import Interconnect
from rackmoe.engine.shipments import Shipments
from rackmoe.hardware.profile import load_machine
from rackmoe.records import REPLICA_COLUMNS, Pool, ServiceState, Table
from rackmoe.scenario.autoscaling import StartUp
from rackmoe.serving.batching import Batcher, BatchLimits

STORAGE = StartUp(weights_from="storage", bandwidth_bytes_per_s=1e9, delay_s=2.0)


class Noted:
    def __init__(self, index, pool=Pool.AGGREGATED):
        self.index, self.pool, self.tp, self.first_gpu = index, pool, 1, index
        limits = BatchLimits(
            n_groups=1, max_sequences=4, max_tokens_per_step=100, kv_blocks=10, block_tokens=10
        )
        self.batcher = Batcher(limits)
        self.watches, self.n_failures = [], 0

    def fail(self):
        self.n_failures += 1
        return []


class Desk:
    """A rack that takes notes."""

    swap = None

    def __init__(self):
        self.calls = []

    def install(self, replicas):
        self.calls.append(("install", [one.index for one in replicas]))

    def take_out(self, replica):
        self.calls.append(("take_out", replica.index))

    def put_back(self, replica):
        self.calls.append(("put_back", replica.index))

    def refill(self):
        self.calls.append(("refill",))


class World:
    def __init__(self, start_up=STORAGE, n_replicas=2):
        self.env = simpy.Environment(initial_time=0)
        machine = load_machine("gb200_nvl72")
        net = Interconnect(self.env, machine=machine, n_gpus=4)
        self.machine, self.rack = machine, Desk()
        self.replicas = [Noted(index) for index in range(n_replicas)]
        self.fleet = Fleet(
            self.env,
            rack=self.rack,
            replicas=self.replicas,
            shipments=Shipments(net, machine=machine),
            weights_bytes={Pool.AGGREGATED: 8e9},
            start_up=start_up,
        )

    def rows(self):
        table = Table(REPLICA_COLUMNS)
        self.fleet.write(table)
        frame = table.to_frame()
        columns = ("replica", "state", "start_s", "duration_s")
        return list(frame[list(columns)].astype({"state": str}).itertuples(index=False, name=None))


def test_a_repaired_replica_loads_its_weights_first():
    world = World()
    world.env.run(until=int(1e12))
    world.fleet.take_out(world.replicas[0])
    world.env.run(until=int(3e12))
    world.fleet.put_back(world.replicas[0])
    world.env.run(until=int(20e12))
    assert world.rack.calls[0] == ("take_out", 0)
    assert world.rack.calls[-1] == ("put_back", 0)
    # 2 s and 8 GB at 1 GB/s
    assert world.rows() == [
        (0, "serving", 0.0, 1.0),
        (0, "failed", 1.0, 2.0),
        (0, "loading", 3.0, 10.0),
        (0, "serving", 13.0, 7.0),
        (1, "serving", 0.0, 20.0),
    ]
    assert world.fleet.n_loads == 1


def test_without_start_up_it_serves_at_once():
    world = World(start_up=None)
    world.fleet.take_out(world.replicas[0])
    world.fleet.put_back(world.replicas[0])
    assert world.rack.calls[-1] == ("put_back", 0)
    assert world.fleet.states == [ServiceState.SERVING] * 2
    assert world.fleet.n_loads == 0


def test_weights_from_the_host_come_over_its_link():
    world = World(StartUp(weights_from="host", delay_s=1.0))
    world.fleet.take_out(world.replicas[1])
    world.fleet.put_back(world.replicas[1])
    world.env.run()
    host = world.machine.host
    expected_s = 1.0 + 8e9 / (host.link_bandwidth_bytes_per_s * host.copy_frac)
    assert world.env.now / 1e12 == pytest.approx(expected_s, rel=1e-4)


def test_a_replica_that_fails_while_it_loads_begins_again():
    world = World()
    one = world.replicas[0]
    world.fleet.take_out(one)
    world.fleet.put_back(one)
    world.env.run(until=int(1e12))
    world.fleet.take_out(one)
    assert world.fleet.states[0] is ServiceState.FAILED
    world.env.run(until=int(30e12))
    assert ("put_back", 0) not in world.rack.calls
    world.fleet.put_back(one)
    world.env.run()
    assert world.rack.calls[-1] == ("put_back", 0)
    assert world.rack.calls.count(("take_out", 0)) == 1


def test_a_replica_leaves_when_it_is_empty_and_comes_back():
    world = World()
    one = world.replicas[1]
    world.fleet.watch(one)
    one.batcher.running.add(7, group=0, context=5, remaining=2, row=0)
    world.fleet.stop(one)
    assert world.rack.calls == [("install", [0])]
    assert world.fleet.states[1] is ServiceState.DRAINING
    one.watches[0].idle()
    world.env.run()
    assert world.fleet.states[1] is ServiceState.DRAINING
    one.batcher.running.pop_latest(0)
    one.watches[0].idle()
    world.env.run()
    assert world.fleet.states[1] is ServiceState.OFF
    assert one.n_failures == 1
    assert world.fleet.can_start(one)
    world.fleet.start(one)
    world.env.run()
    assert world.rack.calls[-2:] == [("install", [0, 1]), ("put_back", 1)]


def test_a_replica_that_is_about_to_leave_can_stay():
    world = World()
    one = world.replicas[1]
    one.batcher.enqueue(7, n_tokens=5)
    world.fleet.stop(one)
    world.fleet.start(one)
    assert world.rack.calls[-2:] == [("install", [0, 1]), ("refill",)]
    assert world.fleet.states[1] is ServiceState.SERVING


def test_a_replica_that_is_off_can_break_and_be_repaired():
    world = World()
    one = world.replicas[1]
    world.fleet.switch_off_at_start(one)
    world.fleet.take_out(one)
    assert not world.fleet.can_start(one)
    world.fleet.put_back(one)
    assert world.fleet.can_start(one)
    assert world.fleet.states[1] is ServiceState.OFF
    world.fleet.start(one)
    world.fleet.stop(one)
    assert world.fleet.states[1] is ServiceState.OFF
    world.env.run()
    assert ("put_back", 1) not in world.rack.calls


def test_a_replica_that_breaks_while_it_drains_does_not_come_back():
    world = World()
    one = world.replicas[1]
    one.batcher.enqueue(7, n_tokens=5)
    world.fleet.stop(one)
    world.fleet.take_out(one)
    world.fleet.put_back(one)
    world.env.run()
    assert world.fleet.states[1] is ServiceState.OFF
    assert world.rack.calls[-1] == ("take_out", 1)
