"""The state machine of a rebalance, with replicas and moves that do what a test says."""

from types import SimpleNamespace

import numpy as np
import pytest
import simpy

from rackmoe.engine.rebalancing import RebalancedRouting, Rebalancer
from rackmoe.records import Pool, Records
from rackmoe.routing.placement import Placement
from rackmoe.scenario.rebalance import Rebalance

S = 10**12
OLD = np.array([[0, 1, 2, 3]] * 2)
NEW = np.array([[0, 2, 1, 3], [3, 2, 1, 0]])


def placed(slots):
    return Placement.from_slots(slots, n_experts=4, n_ranks=2)


class Law:
    def __init__(self):
        self.experts = SimpleNamespace(total=np.zeros((2, 4), np.int64))
        self.routing = SimpleNamespace(placement=placed(OLD))
        self.placements = []

    def reroute(self, source):
        self.routing = source
        self.placements.append(source.placement.slots.tolist())


class FakeReplica:
    def __init__(self, index):
        self.index, self.first_gpu = index, 2 * index
        self.is_up, self.watches, self.told = True, [], []
        self.gate = self.memory = self

    def hold(self):
        self.told.append("hold")

    def release(self):
        self.told.append("release")

    def forget(self):
        self.told.append("forget")


class Mover:
    """Takes 1 s for whatever there is to move."""

    def __init__(self, env):
        self.env, self.sent, self.cancelled = env, [], []

    def send(self, pairs):
        self.sent.append(pairs)
        return self.env.timeout(S)

    def cancel(self, arrived):
        arrived.callbacks.clear()
        self.cancelled.append(arrived)


class Bench:
    def __init__(self, n_replicas=1, **choice):
        self.env = simpy.Environment(initial_time=0)
        self.law, self.mover, self.records = Law(), Mover(self.env), Records()
        self.seen = []

        def place(load, parts):
            self.seen.append((load.tolist(), len(parts)))
            return placed(NEW)

        self.rebalancer = Rebalancer(
            self.env,
            choice=Rebalance(**({"every_steps": 2, "window_steps": 2} | choice)),
            plan=SimpleNamespace(law=self.law, role=Pool.DECODE),
            routing=RebalancedRouting(
                place=place,
                source=lambda placement: SimpleNamespace(placement=placement),
                expert_bytes=100.0,
            ),
            mover=self.mover,
            table=self.records.rebalances,
        )
        self.replicas = [FakeReplica(index) for index in range(n_replicas)]
        self.rebalancer.attach(self.replicas)

    def step(self, index=0, counts=(8, 4, 1, 1)):
        """Run one step of a replica of one second."""
        replica = self.replicas[index]
        for watch in replica.watches:
            watch.started(None)
        self.law.experts.total += np.array(counts)
        self.env.run(until=self.env.now + S)
        for watch in replica.watches:
            watch.ended(None, start_ps=0, end_ps=self.env.now, n_steps=1)

    @property
    def rows(self):
        return self.records.to_frame("rebalances")


def test_nothing_happens_before_the_interval():
    bench = Bench()
    bench.step()
    assert not bench.mover.sent
    bench.step()
    assert bench.mover.sent == [{(1, 0): 300.0, (0, 1): 300.0}]
    assert bench.seen == [([[16, 8, 2, 2]] * 2, 2)]


def test_all_layers_change_over_when_the_last_expert_has_arrived():
    bench = Bench()
    bench.step()
    bench.step()
    assert bench.law.placements == []
    bench.env.run(until=bench.env.now + S + 1)
    assert bench.law.placements == [NEW.tolist()]
    assert bench.replicas[0].told == ["release", "forget"]
    row = bench.rows.iloc[0]
    assert (row["pool"], row["start_s"], row["end_s"]) == ("decode", 2.0, 3.0)
    assert (row["n_moves"], row["moved_bytes"], row["stall_s"]) == (6, 600.0, 0.0)
    # 24 and 4 of a mean of 14; then 18 and 10, and 4 and 24
    assert row["imbalance_before"] == pytest.approx(24 / 14)
    assert row["imbalance_after"] == pytest.approx((18 / 14 + 24 / 14) / 2)


def test_layers_move_between_steps_one_part_after_the_other():
    bench = Bench(layers_per_step=1)
    bench.step()
    bench.step()
    assert bench.mover.sent == [{(1, 0): 100.0, (0, 1): 100.0}]
    bench.env.run(until=bench.env.now + S // 2)
    bench.step()
    assert bench.law.placements == [[NEW[0].tolist(), OLD[1].tolist()]]
    assert len(bench.mover.sent) == 2
    bench.step()
    bench.env.run(until=bench.env.now + 1)
    assert bench.law.placements[-1] == NEW.tolist()
    assert len(bench.rows) == 1


def test_steps_wait_where_moves_block_them():
    bench = Bench(blocks_steps=True)
    bench.step()
    bench.step()
    assert bench.replicas[0].told == ["hold"]
    bench.env.run(until=bench.env.now + S + 1)
    assert bench.replicas[0].told == ["hold", "release", "forget"]
    assert bench.rows["stall_s"].tolist() == [1.0]


def test_replicas_start_after_their_own_step_and_idle_ones_at_once():
    bench = Bench(n_replicas=3)
    for index in (0, 1):
        bench.step(index)
        bench.step(index)
    for watch in bench.replicas[1].watches:
        watch.started(None)
    bench.step(0)
    bench.step(0)
    # the third has never had a step, the second is in one
    assert sorted(min(pairs)[0] for pairs in bench.mover.sent) == [0, 4]
    bench.env.run(until=bench.env.now + 2 * S)
    assert bench.law.placements == []
    bench.step(1)
    bench.env.run(until=bench.env.now + S + 1)
    assert bench.law.placements == [NEW.tolist()]


def test_a_replica_that_fails_is_not_waited_for():
    bench = Bench(n_replicas=2)
    bench.replicas[1].is_up = True
    for _ in range(4):
        bench.step(0)
    assert len(bench.mover.sent) == 2
    bench.replicas[1].is_up = False
    for watch in bench.replicas[1].watches:
        watch.idle()
    assert len(bench.mover.cancelled) == 1
    bench.env.run(until=bench.env.now + S + 1)
    assert bench.law.placements == [NEW.tolist()]


def test_planning_takes_its_time():
    bench = Bench(planning_s=0.5)
    bench.step()
    bench.step()
    assert not bench.mover.sent
    bench.step()
    assert len(bench.mover.sent) == 1


def test_balanced_loads_are_left_alone():
    bench = Bench(least_imbalance=1.2)
    for _ in range(4):
        bench.step(counts=(1, 1, 1, 1))
    assert not bench.seen


def test_an_interval_in_time_is_kept():
    bench = Bench(every_steps=None, every_s=2.5)
    bench.step()
    bench.step()
    assert not bench.mover.sent
    bench.step()
    assert len(bench.mover.sent) == 1


def test_what_has_not_ended_is_written_down_as_such():
    bench = Bench()
    bench.step()
    bench.step()
    bench.rebalancer.close()
    assert bench.rows["end_s"].isna().tolist() == [True]
    assert bench.rows["moved_bytes"].tolist() == [600.0]
