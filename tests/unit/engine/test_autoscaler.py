"""An autoscaler with a fleet that obeys at once."""

import pytest
import simpy

from rackmoe.engine.autoscaler import Autoscaler
from rackmoe.errors import InvariantError
from rackmoe.records import Pool, ServiceState
from rackmoe.scenario.autoscaling import Autoscaling
from rackmoe.serving.batching import Batcher, BatchLimits

OFF, SERVING = ServiceState.OFF, ServiceState.SERVING


class Noted:
    def __init__(self, index):
        self.index, self.pool = index, Pool.AGGREGATED
        limits = BatchLimits(
            n_groups=1, max_sequences=4, max_tokens_per_step=100, kv_blocks=10, block_tokens=10
        )
        self.batcher = Batcher(limits)


class Obedient:
    def __init__(self, n_replicas):
        self.states = [SERVING] * n_replicas

    def watch(self, replica):
        assert self.states[replica.index] is SERVING

    def switch_off_at_start(self, replica):
        self.states[replica.index] = OFF

    def can_start(self, replica):
        return self.states[replica.index] in {OFF, ServiceState.DRAINING}

    def start(self, replica):
        self.states[replica.index] = SERVING

    def stop(self, replica):
        self.states[replica.index] = OFF


class World:
    def __init__(self, *, n_replicas=3, n_outside=0, **choice):
        self.env = simpy.Environment(initial_time=0)
        self.replicas = [Noted(index) for index in range(n_replicas)]
        self.fleet = Obedient(n_replicas)
        self.n_outside = n_outside
        self.autoscaler = Autoscaler(
            self.env,
            fleet=self.fleet,
            replicas=self.replicas,
            choice=Autoscaling(**({"interval_s": 1.0, "stabilization_s": 0.0} | choice)),
            n_outside=lambda: self.n_outside,
        )
        # something else is always about to happen
        self.env.timeout(int(1e16))

    def after(self, seconds):
        self.env.run(until=int(seconds * 1e12))
        return [state is SERVING for state in self.fleet.states]


def test_the_fewest_serve_at_the_start():
    assert World(waiting_per_replica=2.0).after(0.5) == [True, False, False]
    assert World(waiting_per_replica=2.0, start_replicas=2).after(0.5) == [True, True, False]


def test_a_queue_switches_replicas_on_and_its_end_switches_them_off():
    world = World(waiting_per_replica=2.0, n_outside=3)
    assert world.after(1.5) == [True, True, False]
    world.replicas[1].batcher.enqueue(0, n_tokens=5)
    world.n_outside = 4
    assert world.after(2.5) == [True, True, True]
    world.n_outside = 0
    # the one with the prompt is the last to go
    assert world.after(3.5) == [False, True, False]
    assert (world.autoscaler.n_started, world.autoscaler.n_stopped) == (2, 2)


def test_memory_in_use_switches_replicas_on():
    world = World(kv_memory_frac=0.5)
    world.replicas[0].batcher.reserve(90)
    assert world.after(1.5) == [True, True, False]
    # 0.9 of one, none of the other
    assert world.after(9.5) == [True, True, False]


def test_within_the_tolerance_nothing_is_done():
    world = World(waiting_per_replica=20.0, n_outside=21)
    assert world.after(1.5) == [True, False, False]


def test_it_waits_before_it_switches_off():
    world = World(waiting_per_replica=2.0, n_outside=6, stabilization_s=3.0)
    assert world.after(1.5) == [True, True, True]
    world.n_outside = 0
    assert world.after(3.5) == [True, True, True]
    assert world.after(5.5) == [True, False, False]


def test_it_does_not_keep_an_empty_clock_running():
    world = World(waiting_per_replica=2.0)
    world.env.run()
    assert world.env.now <= 1e16 + 1e12


def test_a_queue_that_nobody_serves_breaks_a_law():
    world = World(waiting_per_replica=2.0, n_outside=2, interval_s=0.001)
    with pytest.raises(InvariantError, match=r"LAW-08 at t=.*: 2 requests wait, but no replica"):
        world.after(2.0)
