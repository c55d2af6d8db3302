"""How long dense collectives take, and by which way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.backend.collectives import (
    Algorithm,
    AlgorithmConstants,
    CollectiveConstants,
    CollectiveKey,
    FitReport,
    Knots,
)
from rackmoe.errors import ConfigError
from rackmoe.hardware.profile import load_machine
from rackmoe.network.collectives import CollectiveLaw, point_to_point_time_s, wire_bytes

H200_PORT, NIC = 450e9, 50e9


@pytest.fixture(scope="module")
def h200():
    return load_machine("hgx_h200")


def way(algorithm, *, latency_s=10e-6, share=0.5, nic=1.0):
    return AlgorithmConstants(
        algorithm=algorithm,
        latency_s=Knots(sizes=(8,), values=(latency_s,)),
        port_efficiency=Knots(sizes=(8,), values=(share,)),
        nic_efficiency=nic,
        ramp=1.0,
    )


def law(machine, *ways, operation="all_reduce", n_ranks=8, n_local=None):
    constants = CollectiveConstants(
        key=CollectiveKey(library="lib", kernel="lib", operation=operation),
        algorithms=ways,
        report=FitReport(kind="fitted", file="t.csv", n_rows=1),
    )
    return CollectiveLaw(constants, machine=machine, n_ranks=n_ranks, n_local=n_local)


@pytest.mark.parametrize(
    ("operation", "algorithm", "expected"),
    [
        ("all_reduce", Algorithm.RING, 2 * 7 / 8),
        ("all_reduce", Algorithm.TWO_SHOT, 2 * 7 / 8),
        ("all_reduce", Algorithm.ONE_SHOT, 7.0),
        ("all_reduce", Algorithm.NVLS, 9 / 8),
        ("all_gather", Algorithm.RING, 7 / 8),
        ("reduce_scatter", Algorithm.RING, 7 / 8),
        ("all_to_all", Algorithm.PAIRWISE, 7 / 8),
    ],
)
def test_port_carries_the_bytes_of_the_algorithm(operation, algorithm, expected):
    assert float(
        wire_bytes(1.0, operation=operation, algorithm=algorithm, n_ranks=8)
    ) == pytest.approx(expected)


def test_unknown_operation_is_refused():
    with pytest.raises(ConfigError, match="'broadcast'; expected one of all_reduce"):
        wire_bytes(1.0, operation="broadcast", algorithm=Algorithm.RING, n_ranks=8)


def test_ring_pays_start_up_and_its_wire_bytes(h200):
    n_bytes = 450e6
    expected_s = 10e-6 + n_bytes * 2 * 7 / 8 / (0.5 * H200_PORT)
    assert float(law(h200, way(Algorithm.RING)).time_s(n_bytes)) == pytest.approx(expected_s)


def test_small_buffers_go_in_one_shot_and_large_ones_in_two(h200):
    one = way(Algorithm.ONE_SHOT, latency_s=3e-6)
    two = way(Algorithm.TWO_SHOT, latency_s=20e-6)
    reduce = law(h200, one, two)
    assert reduce.algorithm(1e3) is Algorithm.ONE_SHOT
    assert reduce.algorithm(1e8) is Algorithm.TWO_SHOT
    assert float(reduce.time_s(0.0)) == pytest.approx(3e-6)


def test_sizes_are_answered_together(h200):
    reduce = law(h200, way(Algorithm.RING), way(Algorithm.NVLS))
    sizes = np.array([1e3, 1e9])
    assert reduce.time_s(sizes) == pytest.approx([float(reduce.time_s(one)) for one in sizes])


def test_switches_do_not_reduce_for_few_ranks(h200):
    both = law(h200, way(Algorithm.RING), way(Algorithm.NVLS), n_ranks=4)
    assert both.algorithms == (Algorithm.RING,)
    assert Algorithm.NVLS in law(h200, way(Algorithm.RING), way(Algorithm.NVLS)).algorithms


def test_collective_without_a_possible_way_is_refused(h200):
    with pytest.raises(ConfigError, match="only reductions in the switches"):
        law(h200, way(Algorithm.NVLS), n_ranks=2)


def test_all_to_all_over_two_domains_is_bound_by_the_nic(h200):
    exchange = law(h200, way(Algorithm.PAIRWISE, nic=0.91), operation="all_to_all", n_ranks=16)
    # half of the buffer leaves the node; 15/16 of it count as bus bandwidth
    expected = 15 / 16 / 0.5 * 0.91 * NIC
    assert float(exchange.bus_bytes_per_s(1e10)) == pytest.approx(expected, rel=0.01)


def test_ring_over_two_domains_spreads_over_all_nics(h200):
    reduce = law(h200, way(Algorithm.RING, share=1.0), n_ranks=16)
    # each of 8 NICs carries S / 8, the port 2 S 15/16: the port decides
    slow = law(h200, way(Algorithm.RING, share=1.0, nic=0.05), n_ranks=16)
    assert float(slow.time_s(1e10)) == pytest.approx(1e10 / 8 / (0.05 * NIC), rel=0.05)
    assert float(reduce.time_s(1e10)) < float(slow.time_s(1e10))


def test_ranks_are_split_evenly_over_the_fewest_domains():
    nvl72 = load_machine("gb200_nvl72")
    pairs = law(nvl72, way(Algorithm.PAIRWISE), operation="all_to_all", n_ranks=128)
    assert pairs.n_local == 64
    given_local = law(
        nvl72, way(Algorithm.PAIRWISE), operation="all_to_all", n_ranks=128, n_local=32
    )
    assert given_local.n_local == 32


@given(st.floats(1, 1e10), st.floats(1, 1e10))
def test_larger_buffers_never_take_less_time(first, second):
    reduce = law(
        load_machine("hgx_h200"),
        way(Algorithm.ONE_SHOT, latency_s=3e-6),
        way(Algorithm.TWO_SHOT, latency_s=20e-6),
    )
    small, large = sorted([first, second])
    assert float(reduce.time_s(small)) <= float(reduce.time_s(large)) * (1 + 1e-12)


def test_point_to_point_pays_hops_and_the_copy_share(h200):
    local_s = point_to_point_time_s(450e6, machine=h200, is_remote=False)
    assert local_s == pytest.approx(h200.scale_up.latency_s + 1e-3 / h200.scale_up.copy_frac)
    out = h200.scale_out
    remote_s = point_to_point_time_s(50e6, machine=h200, is_remote=True)
    start_s = 2 * out.endpoint_latency_s + out.switch_latency_s
    assert remote_s == pytest.approx(start_s + 1e-3 / out.copy_frac)
