import numpy as np
import pytest
import simpy

from rackmoe.engine.clock import to_s
from rackmoe.engine.expert_links import ExpertLinks, fold_pairs
from rackmoe.engine.interconnect import Interconnect
from rackmoe.engine.shipments import Shipments
from rackmoe.hardware.profile import load_machine
from rackmoe.records import Records


def sent(pairs, *, path, hardware="gb200_nvl72", n_gpus=8):
    env = simpy.Environment(initial_time=0)
    machine = load_machine(hardware)
    net = Interconnect(env, machine=machine, n_gpus=n_gpus)
    arrived = ExpertLinks(Shipments(net, machine=machine), path=path).send(pairs)
    env.run(until=arrived)
    records = Records()
    net.write(records.links)
    return to_s(env.now), records.to_frame("links"), machine


def test_experts_over_scale_up_take_the_time_of_the_busiest_port():
    time_s, links, machine = sent({(0, 1): 1e9, (2, 1): 1e9}, path="scale_up")
    up = machine.scale_up
    rate = up.gpu_bandwidth_bytes_per_s * up.copy_frac
    assert time_s == pytest.approx(2e9 / rate + up.latency_s, rel=1e-6)
    assert links["expert_bytes"].sum() == 2 * 2e9
    assert links["tier"].unique().tolist() == ["scale_up"]


def test_experts_from_the_host_come_over_the_link_to_the_cpu():
    time_s, links, machine = sent({(0, 1): 1e9, (2, 1): 1e9, (1, 3): 1e9}, path="host")
    rate = machine.host.link_bandwidth_bytes_per_s * machine.host.copy_frac
    assert time_s == pytest.approx(2e9 / rate + machine.host.link_latency_s, rel=1e-6)
    assert links["tier"].unique().tolist() == ["host"]
    assert links["received_bytes"].sum() == 3e9


def test_experts_of_another_node_come_over_the_nics():
    for path in ("scale_up", "scale_out"):
        _, links, _ = sent({(0, 9): 1e9}, path=path, hardware="hgx_h100", n_gpus=16)
        assert set(links["tier"]) >= {"scale_out"}
        assert "scale_up" not in set(links["tier"])


def test_what_is_given_up_never_arrives():
    env = simpy.Environment(initial_time=0)
    machine = load_machine("gb200_nvl72")
    net = Interconnect(env, machine=machine, n_gpus=4)
    links = ExpertLinks(Shipments(net, machine=machine), path="scale_up")
    arrived = links.send({(0, 1): 1e9})
    links.cancel(arrived)
    env.run(until=1_000_000_000_000)
    assert not arrived.triggered


def test_folded_pairs_load_each_port_and_tier_the_same():
    rng = np.random.default_rng(0)
    domain = [0] * 8 + [1] * 8
    pairs = {(a, b): float(rng.integers(1, 9)) for a in range(16) for b in range(16) if a != b}
    folded = fold_pairs(pairs, domain=domain)
    assert len(folded) < 4 * 16
    assert all(source != target for source, target in folded)

    def sums(found, end, far):
        out = [0.0] * 16
        for pair, n_bytes in found.items():
            if (domain[pair[0]] != domain[pair[1]]) == far:
                out[pair[end]] += n_bytes
        return out

    for end in (0, 1):
        for far in (False, True):
            assert sums(folded, end, far) == sums(pairs, end, far)


def test_few_pairs_and_those_that_would_meet_themselves_stay_as_they_are():
    few = {(0, 1): 3.0, (1, 0): 2.0}
    assert fold_pairs(few, domain=[0, 0]) == few
    lopsided = {(0, b): 1.0 for b in range(1, 66)} | {(a, 0): 1.0 for a in range(1, 66)}
    assert fold_pairs(lopsided, domain=[0] * 66) == lopsided
