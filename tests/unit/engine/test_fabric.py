"""Transfers that share links on the clock."""

import json
from pathlib import Path

import numpy as np
import pytest
import simpy

from rackmoe.engine.clock import to_ps, to_s
from rackmoe.engine.fabric import Fabric
from rackmoe.errors import CapacityError, TopologyError
from rackmoe.network.arbitration import Arbitration, TrafficClass

SIMGRID = json.loads(
    (Path(__file__).parents[2] / "data/network/simgrid_finish_times.json").read_text("utf-8")
)


def build(capacity, **options):
    env = simpy.Environment()
    names = [f"link{k}" for k in range(len(capacity))]
    return env, Fabric(env, np.array(capacity, float), names=names, **options)


def timed(env, transfer, ends, key):
    transfer.callbacks.append(lambda _: ends.__setitem__(key, to_s(env.now)))


def test_two_transfers_share_and_the_longer_one_speeds_up():
    env, fabric = build([2.0])
    ends = {}
    timed(env, fabric.transfer((0,), n_bytes=2.0), ends, "short")
    timed(env, fabric.transfer((0,), n_bytes=4.0), ends, "long")
    env.run()
    assert ends == {"short": 2.0, "long": 3.0}


def test_weights_and_classes_decide_the_shares():
    env, fabric = build(
        [12.0], arbitration=Arbitration.CLASSES, class_weights={TrafficClass.KV: 2.0}
    )
    fabric.transfer((0,), n_bytes=80.0, traffic_class=TrafficClass.KV, weight=3.0)
    fabric.transfer((0,), n_bytes=80.0, traffic_class=TrafficClass.KV)
    fabric.transfer((0,), n_bytes=80.0, traffic_class=TrafficClass.EXPERT)
    env.run(until=1)
    assert fabric.rates_on(np.array([0])).tolist() == [12.0]
    env.run(until=to_ps(2.0))
    moved = fabric.counters().moved_bytes[:, 0]
    assert dict(zip(TrafficClass, moved.tolist(), strict=True)) == pytest.approx(
        {"collective": 0.0, "pipeline": 0.0, "kv": 16.0, "expert": 8.0, "weights": 0.0}
    )


def test_changes_of_one_instant_share_one_solve():
    env, fabric = build([1.0] * 8)
    for k in range(8):
        fabric.transfer((k,), n_bytes=1.0)
    env.run()
    # one for the starts, one for the finishes
    assert fabric.n_solves == 2


def test_an_empty_transfer_is_done_at_once():
    env, fabric = build([1.0])
    ends = {}
    timed(env, fabric.transfer((0,), n_bytes=0.0), ends, 0)
    env.run()
    assert ends == {0: 0.0}


def test_transfers_stall_on_a_failed_link_and_go_on_after_repair():
    env, fabric = build([2.0])
    ends = {}
    timed(env, fabric.transfer((0,), n_bytes=4.0), ends, 0)

    def fail():
        yield env.timeout(to_ps(1.0))
        fabric.set_capacity(0, capacity_bytes_per_s=0.0)
        yield env.timeout(to_ps(5.0))
        fabric.set_capacity(0, capacity_bytes_per_s=1.0)

    env.process(fail())
    env.run()
    assert ends == {0: 8.0}


def test_reserved_bandwidth_is_kept_from_transfers():
    env, fabric = build([4.0])
    ends = {}
    fabric.reserve(np.array([0]), bytes_per_s=np.array([3.0]))
    timed(env, fabric.transfer((0,), n_bytes=4.0), ends, 0)
    env.run()
    assert ends == {0: 4.0}


def test_a_canceled_transfer_leaves_its_bandwidth():
    env, fabric = build([2.0])
    ends = {}
    victim = fabric.transfer((0,), n_bytes=100.0)
    timed(env, victim, ends, "victim")
    timed(env, fabric.transfer((0,), n_bytes=3.0), ends, "other")

    def cancel():
        yield env.timeout(to_ps(1.0))
        fabric.cancel(victim)
        fabric.cancel(victim)

    env.process(cancel())
    env.run()
    assert ends == {"other": 2.0}
    assert fabric.counters().moved_bytes.sum() == pytest.approx(4.0)


def test_bytes_on_links_are_bytes_times_hops_and_busy_time_adds_up():
    env, fabric = build([2.0, 4.0, 8.0])
    fabric.transfer((0, 1), n_bytes=6.0)
    fabric.transfer((1, 2), n_bytes=10.0)
    env.run()
    counters = fabric.counters()
    assert counters.moved_bytes.sum() == pytest.approx(2 * (6.0 + 10.0))
    assert counters.moved_bytes.sum(axis=0) == pytest.approx([6.0, 16.0, 10.0])
    # 2 each until 3; then the second alone at 4 for its last 4 bytes
    assert counters.busy_s == pytest.approx([3.0, 4.0, 4.0])


def test_watchers_hear_of_rates_and_capacities_once_per_instant():
    env, fabric = build([2.0, 2.0, 2.0])
    heard = []
    fabric.on_change([0, 1], callback=lambda: heard.append(to_s(env.now)))
    fabric.transfer((0, 1), n_bytes=2.0)
    fabric.transfer((2,), n_bytes=1.0)
    env.run()
    assert heard == [0.0, 1.0]
    fabric.set_capacity(1, capacity_bytes_per_s=1.0)
    env.run()
    assert heard == [0.0, 1.0, 1.0]


def test_more_transfers_than_first_slots_are_taken():
    env, fabric = build([1.0, 1.0])
    done = [fabric.transfer((k % 2,), n_bytes=1.0) for k in range(200)]
    env.run(until=env.all_of(done))
    assert to_s(env.now) == pytest.approx(100.0)
    assert fabric.transfers_on(np.array([0, 1])).tolist() == [0, 0]


def test_finish_holds_over_fifteen_orders_of_magnitude():
    # a fixed tolerance in bytes would end the small transfer early or hang on the large one
    env, fabric = build([1e12, 1e3])
    ends = {}
    timed(env, fabric.transfer((0,), n_bytes=1.0), ends, "small")
    timed(env, fabric.transfer((1,), n_bytes=1e7), ends, "slow")
    timed(env, fabric.transfer((0,), n_bytes=1e15), ends, "large")
    env.run()
    assert ends["small"] == pytest.approx(2e-12)
    assert ends["slow"] == pytest.approx(1e4, rel=1e-12)
    assert ends["large"] == pytest.approx(1e3, rel=1e-12)


@pytest.mark.parametrize("case", SIMGRID["cases"], ids=lambda case: case["name"])
def test_finishing_times_equal_those_of_simgrid(case):
    # sizes and times scaled by a million, so that a tick of 1 ps is far below the tolerance
    scale = 1e6
    n_ranks, n_flows = case["n"], len(case["src"])
    env, fabric = build([case["cap"]] * (2 * n_ranks))
    ends = {}
    starts = case.get("start", [0.0] * n_flows)

    def send(k):
        yield env.timeout(round(starts[k] * scale * 1e12))
        path = (case["src"][k], n_ranks + case["dst"][k])
        timed(env, fabric.transfer(path, n_bytes=case["size"][k] * scale), ends, k)

    for k in range(n_flows):
        env.process(send(k))
    env.run()
    finish_s = [ends[k] / scale for k in range(n_flows)]
    assert finish_s == pytest.approx(case["finish"], rel=1e-9)
    moved = fabric.counters().moved_bytes.sum()
    assert moved == pytest.approx(2 * sum(case["size"]) * scale, rel=1e-12)


def test_same_transfers_finish_at_the_same_ticks():
    def run():
        env, fabric = build([3.0, 5.0, 7.0])
        rng = np.random.default_rng(0)
        ends = {}

        def arrive():
            for k in range(50):
                yield env.timeout(to_ps(rng.exponential(0.3)))
                path = tuple(rng.permutation(3)[: rng.integers(1, 4)].tolist())
                timed(env, fabric.transfer(path, n_bytes=float(rng.random())), ends, k)

        env.process(arrive())
        env.run()
        return ends

    assert run() == run()


@pytest.mark.parametrize("path", [(), (0, 0), (3,), (-1,), tuple(range(9))])
def test_impossible_paths_are_refused(path):
    _, fabric = build([1.0] * 3)
    with pytest.raises(TopologyError, match="expected 1 to 8 different links below 3"):
        fabric.transfer(path, n_bytes=1.0)


@pytest.mark.parametrize(("n_bytes", "weight"), [(-1.0, 1.0), (np.nan, 1.0), (1.0, 0.0)])
def test_impossible_transfers_are_refused(n_bytes, weight):
    _, fabric = build([1.0])
    with pytest.raises(CapacityError, match="expected a finite size and a positive weight"):
        fabric.transfer((0,), n_bytes=n_bytes, weight=weight)


def test_a_negative_capacity_is_refused():
    _, fabric = build([1.0])
    with pytest.raises(CapacityError, match=r"link0: capacity -1\.0 B/s"):
        fabric.set_capacity(0, capacity_bytes_per_s=-1.0)


def test_links_are_found_by_name():
    _, fabric = build([1.0, 2.0])
    assert fabric.link("link1") == 1
    assert fabric.capacity_bytes_per_s.tolist() == [1.0, 2.0]
    with pytest.raises(TopologyError, match="no link 'spine'"):
        fabric.link("spine")


def test_a_name_is_needed_for_each_link():
    with pytest.raises(TopologyError, match="1 names for 2 capacities"):
        Fabric(simpy.Environment(), np.ones(2), names=["one"])
