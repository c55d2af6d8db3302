"""How the fabric of a run is put together, and what it says afterwards."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import simpy
from strategies import Case, Shape, build

from rackmoe.engine.audit import Audit
from rackmoe.engine.fabric_run import FabricRun
from rackmoe.errors import ConfigError
from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.recurrence import LayerTimes
from rackmoe.network.traffic import PortTimes
from rackmoe.network.two_batch import two_batch_step
from rackmoe.records import Records
from rackmoe.scenario.resolved import resolve_scenario
from rackmoe.scenario.simulation import Fault
from rackmoe.streams import Streams

SPLIT = (Shape(attention_dp=2, ep=2), Shape(attention_dp=2, ep=2))


def scenario_of(folder, *, pools=SPLIT, **simulation):
    document = build(Case(pools=pools), folder).document
    changed = document.simulation.model_copy(update=simulation)
    return resolve_scenario(document.model_copy(update={"simulation": changed}), name="small")


class Attached:
    """A fabric and one stand-in for each replica of a scenario."""

    def __init__(self, scenario):
        plans = [
            SimpleNamespace(pool=pool, law=SimpleNamespace(far_mask=None))
            for pool in scenario.document.deployment.pools.values()
        ]
        self.env = simpy.Environment(initial_time=0)
        self.fabric = FabricRun(self.env, scenario=scenario, plans=plans)
        self.replicas = [
            SimpleNamespace(index=index, first_gpu=2 * index, watches=[])
            for index in range(sum(plan.pool.replicas for plan in plans))
        ]
        self.fabric.attach(self.replicas, rack=None, streams=Streams(0))


def network_bound():
    """A step of two micro-batches whose ports are busy for most of it."""
    slow = PortTimes(egress_s=np.ones((2, 2)), ingress_s=np.ones((2, 2)), latency_s=0.0)
    times = LayerTimes(
        pre_s=np.full((2, 2), 0.1),
        shared_s=np.zeros((2, 2)),
        expert_s=np.full((2, 2), 0.1),
        dispatch=slow,
        combine=slow,
    )
    plan = two_batch_step((times, times), tail_s=np.zeros((2, 2)))
    assert plan.is_network_bound
    return SimpleNamespace(plan=plan, totals=SimpleNamespace(port_bytes=None), exchange_s=None)


def test_every_replica_has_its_own_gpus(small_files):
    made = Attached(scenario_of(small_files))
    assert [ports.gpus.tolist() for ports in made.fabric.ports] == [[0, 1], [2, 3]]
    assert [len(replica.watches) for replica in made.replicas] == [2, 2]


def test_only_split_pools_have_a_way_for_caches(small_files):
    assert Attached(scenario_of(small_files)).fabric.kv is not None
    assert Attached(scenario_of(small_files, pools=SPLIT[:1])).fabric.kv is None


def test_an_audit_watches_every_replica_and_says_nothing_of_no_steps(small_files):
    made = Attached(scenario_of(small_files, audit=3))
    assert all(isinstance(replica.watches[2], Audit) for replica in made.replicas)
    assert made.fabric.notes() == {}


def test_exchanges_are_written_with_the_replica_that_made_them(small_files):
    made = Attached(scenario_of(small_files))
    step = SimpleNamespace(
        plan=None,
        tier=ExchangeTier.PACKET,
        totals=SimpleNamespace(port_bytes=np.full((4, 2), 5.0)),
        exchange_s=np.zeros(2),
    )
    for watch in made.replicas[1].watches:
        watch.ended(step, start_ps=0, end_ps=1000, n_steps=2)
    made.env.run(until=1000)
    records = Records()
    made.fabric.write(records.links)
    frame = records.to_frame("links")
    assert frame["replica"].tolist() == [1, 1]
    assert frame["rank"].tolist() == [0, 1]
    assert frame["port"].tolist() == [2, 3]
    assert frame["sent_bytes"].tolist() == [10.0, 10.0]


@pytest.mark.parametrize(("fidelity", "n_warnings"), [("auto", 1), ("plan", 0)])
def test_steps_that_wait_for_the_network_are_warned_of(small_files, fidelity, n_warnings):
    made = Attached(scenario_of(small_files, fidelity=fidelity))
    assert made.fabric.warnings() == ()
    for replica in made.replicas:
        for watch in replica.watches:
            watch.started(network_bound())
    warnings = made.fabric.warnings()
    assert len(warnings) == n_warnings
    assert all(one.startswith("2 steps of two micro-batches waited") for one in warnings)


def test_steps_are_counted_by_the_tier_that_priced_them(small_files):
    made = Attached(scenario_of(small_files, fidelity="packet"))
    for tier, n_steps in ((ExchangeTier.PACKET, 3), (ExchangeTier.PLAN, 2)):
        step = SimpleNamespace(
            plan=None, tier=tier, totals=SimpleNamespace(port_bytes=None), exchange_s=None
        )
        for watch in made.replicas[0].watches:
            watch.ended(step, start_ps=0, end_ps=1000, n_steps=n_steps)
    assert made.fabric.notes() == {"fidelity": "packet: 3 steps by packet, 2 steps by plan"}
    assert made.replicas[0].detail.next_tier() is ExchangeTier.PACKET


@pytest.mark.parametrize(("fidelity", "n_warnings"), [("auto", 1), ("plan", 0)])
def test_links_where_transfers_met_are_named(small_files, fidelity, n_warnings):
    made = Attached(scenario_of(small_files, fidelity=fidelity))
    assert made.fabric.warnings() == ()
    met = {"gpu0.scale_up.in": 7, "gpu1.scale_up.in": 9, "gpu2.scale_up.in": 2, "nic0.nic.in": 1}
    made.fabric.ports[1].met.update(met)
    warnings = made.fabric.warnings()
    assert len(warnings) == n_warnings
    for warning in warnings:
        assert warning.startswith(
            "replica 1: transfers met at gpu1.scale_up.in (9 steps), gpu0.scale_up.in (7 steps), "
            "gpu2.scale_up.in (2 steps) and 1 other links"
        )


def test_faults_of_a_scenario_are_put_on_the_clock(small_files):
    good, bad = (Fault(kind="gpu", at_s=1.0, where=where) for where in (0, 999))
    made = Attached(scenario_of(small_files, faults=(good,)))
    assert made.fabric.notes()["faults"].startswith("0 faults; replicas out of service for 0 s")
    with pytest.raises(ConfigError, match=r"faults\.0\.where: 999"):
        Attached(scenario_of(small_files, faults=(bad,)))


def test_replicas_without_room_in_one_domain_are_warned_of(small_files):
    crowded = (
        Shape(attention_dp=6, ep=6, redundant_experts=2, replicas=2),
        Shape(attention_dp=4, ep=4),
    )
    scenario = scenario_of(small_files, pools=crowded)
    plans = [SimpleNamespace(pool=pool) for pool in scenario.document.deployment.pools.values()]
    up = replace(scenario.machine.scale_up, domain_gpus=8)
    small = replace(scenario, machine=replace(scenario.machine, scale_up=up))
    fabric = FabricRun(simpy.Environment(initial_time=0), scenario=small, plans=plans)
    assert fabric.places == (0, 6, 12)
    assert [one.split(",")[0] for one in fabric.warnings()] == [
        "replica 1 straddles two scale-up domains"
    ]
    assert FabricRun(simpy.Environment(), scenario=scenario, plans=plans).warnings() == ()
