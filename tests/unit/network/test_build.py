"""Which constants and laws a choice of kernels gets on a machine."""

from dataclasses import replace

import numpy as np
import pytest

from rackmoe.backend.collective_files import load_collectives
from rackmoe.backend.collectives import Family, Spread
from rackmoe.errors import ConfigError
from rackmoe.hardware.profile import load_machine
from rackmoe.network.build import (
    ExchangeChoice,
    MoeExchange,
    build_collective,
    build_exchange,
    find_collective,
    find_exchange,
    group_ports,
)
from rackmoe.network.dispatch import balanced_time_s
from rackmoe.network.traffic import ExpertGroup, PortTimes, balanced_traffic


@pytest.fixture(scope="module")
def nvl72():
    return load_machine("gb200_nvl72")


@pytest.fixture(scope="module")
def h200():
    return load_machine("hgx_h200")


def choice(family, **changes):
    values = {
        "family": family,
        "n_ranks": 8,
        "top_k": 8,
        "hidden": 7168,
        "dispatch_dtype": "fp8_block",
        "combine_dtype": "bf16",
    }
    return ExchangeChoice(**(values | changes))


def build(machine, family, **changes):
    book = load_collectives(machine.gpu.name)
    return build_exchange(machine, book=book, choice=choice(family, **changes))


def dispatch_s(machine, exchange, *, n_ranks, tokens=1024.0):
    group = ExpertGroup(
        n_ranks=n_ranks,
        ranks_per_domain=machine.scale_up.domain_gpus,
        top_k=8,
        n_experts=256,
    )
    return float(balanced_time_s(exchange.dispatch, tokens_per_rank=tokens, group=group)[0])


def test_group_counts_nodes_and_domains(nvl72, h200):
    assert (group_ports(nvl72, n_ranks=64).n_nodes, group_ports(nvl72, n_ranks=64).n_domains) == (
        16,
        1,
    )
    ports = group_ports(h200, n_ranks=20)
    assert (ports.n_nodes, ports.n_domains) == (3, 3)
    assert ports.nic_bandwidth_bytes_per_s == 50e9


def test_nic_of_a_cloud_replaces_that_of_the_profile(h200):
    ports = group_ports(h200, n_ranks=16, nic_bandwidth_bytes_per_s=25e9)
    assert ports.nic_bandwidth_bytes_per_s == 25e9
    fast = build(h200, Family.DEEPEP_LOW_LATENCY, n_ranks=16)
    slow = build(h200, Family.DEEPEP_LOW_LATENCY, n_ranks=16, nic_bandwidth_bytes_per_s=25e9)
    ratio = dispatch_s(h200, slow, n_ranks=16) / dispatch_s(h200, fast, n_ranks=16)
    assert 1.8 < ratio < 2.0


@pytest.mark.parametrize("family", list(Family))
def test_every_family_times_a_dispatch_and_a_combine(family, nvl72, h200):
    machine = h200 if family.value.startswith("deepep") else nvl72
    exchange = build(machine, family) if family in _KNOWN else None
    if exchange is None:
        with pytest.raises(ConfigError, match="no constants"):
            build(machine, family)
        return
    group = ExpertGroup(n_ranks=8, ranks_per_domain=8, top_k=8, n_experts=256)
    traffic = balanced_traffic(100.0, group=group, spread=Spread.RANDOM)
    for times in (
        exchange.dispatch_times(traffic, tokens=traffic.tokens),
        exchange.combine_times(traffic, tokens=traffic.tokens),
    ):
        assert 1e-6 < times.total_s()[0] < 1e-3


_KNOWN = set(Family) - {Family.DEEPEP_LOW_LATENCY_RDMA}


def test_two_sided_dispatch_begins_with_a_prepare(nvl72):
    exchange = build(nvl72, Family.NVLINK_TWO_SIDED)
    assert exchange.prepare is not None
    group = ExpertGroup(n_ranks=8, ranks_per_domain=72, top_k=8, n_experts=256)
    traffic = balanced_traffic(100.0, group=group, spread=Spread.EVEN)
    both = exchange.dispatch_times(traffic, tokens=traffic.tokens)
    alone = exchange.dispatch.port_times(traffic, tokens=traffic.tokens)
    first = exchange.prepare.port_times(traffic, tokens=traffic.tokens)
    assert both.latency_s == pytest.approx(alone.latency_s + first.latency_s)
    assert both.ingress_s == pytest.approx(alone.ingress_s + first.egress_s)


def test_exchange_without_prepare_dispatches_directly():
    times = PortTimes(egress_s=np.ones((1, 1)), ingress_s=np.ones((1, 1)), latency_s=1.0)

    class _Fixed:
        def port_times(self, traffic, *, tokens, port_frac=1.0):  # noqa: ARG002
            return times

    exchange = MoeExchange(dispatch=_Fixed(), combine=_Fixed())
    assert exchange.dispatch_times(None, tokens=None) is times


def test_format_on_the_wire_chooses_the_constants(nvl72):
    for dtype in ("nvfp4", "bf16"):
        law = build(nvl72, Family.NVLINK_ONE_SIDED, dispatch_dtype=dtype).dispatch
        assert law.constants.payload_dtype == dtype


def test_low_precision_combine_has_its_own_kernel(nvl72):
    law = build(nvl72, Family.NVLINK_TWO_SIDED, combine_dtype="nvfp4").combine
    assert law.constants.key.operation == "combine_low_precision"


def test_constants_that_cover_the_nodes_are_preferred(h200):
    one = build(h200, Family.DEEPEP_NORMAL, n_ranks=8).dispatch.constants
    many = build(h200, Family.DEEPEP_NORMAL, n_ranks=72).dispatch.constants
    assert one.latency_s.sizes == (1,)
    assert many.latency_s.sizes == (2,)


def test_odd_cluster_serves_no_prediction(h200):
    odd = [one for one in load_collectives("h200").exchanges if one.report.caveat]
    assert odd
    assert not build(h200, Family.DEEPEP_NORMAL, n_ranks=64).dispatch.constants.report.caveat


def test_named_library_is_preferred(h200):
    law = build(h200, Family.DEEPEP_LOW_LATENCY, library="vllm").dispatch
    assert law.constants.key.library.startswith("vllm")


def test_more_sms_move_more(h200):
    slow = build(h200, Family.DEEPEP_NORMAL, n_sms=8)
    fast = build(h200, Family.DEEPEP_NORMAL, n_sms=24)
    ratio = dispatch_s(h200, slow, n_ranks=8, tokens=1e5) / dispatch_s(
        h200, fast, n_ranks=8, tokens=1e5
    )
    assert 2 < ratio < 3


def test_ideal_uses_the_slowest_port_that_the_group_needs(nvl72, h200):
    inside = dispatch_s(nvl72, build(nvl72, Family.IDEAL, n_ranks=72), n_ranks=72)
    across = dispatch_s(h200, build(h200, Family.IDEAL, n_ranks=72), n_ranks=72)
    assert across / inside == pytest.approx(900 / 50)
    # 1,024 tokens x 8 destinations x 7,392 B over 900 GB/s
    assert inside == pytest.approx(1024 * 8 * 7392 / 900e9)


def test_unknown_family_on_a_gpu_is_refused():
    entries = load_collectives("h200").exchanges
    with pytest.raises(ConfigError, match=r"nvlink_one_sided dispatch: no constants.*deepep_"):
        find_exchange(entries, family=Family.NVLINK_ONE_SIDED, operation="dispatch")


def test_unknown_collective_is_refused():
    with pytest.raises(ConfigError, match=r"broadcast: no constants for h200"):
        find_collective(load_collectives("h200"), operation="broadcast", n_ranks=8)


def test_far_group_leaves_a_library_for_one_that_measured_it(nvl72):
    book = load_collectives("gb200")
    near = build_collective(nvl72, book=book, operation="all_to_all", n_ranks=4)
    far = build_collective(
        nvl72, book=book, operation="all_to_all", n_ranks=64, library="nccl-2.29.2"
    )
    assert near.constants.key.library == "nccl-2.29.2"
    assert far.constants.key.library == "nccl-tests"


def test_all_to_all_falls_off_the_cliff_between_racks(nvl72):
    # 623 GB/s in one rack; 45.5 GB/s per NIC x 127/64 over two racks (OCI quickstart GB200)
    book = load_collectives("gb200")
    rates = [
        float(
            build_collective(nvl72, book=book, operation="all_to_all", n_ranks=n).bus_bytes_per_s(
                8 * 2.0**30
            )
        )
        for n in (64, 128)
    ]
    assert rates[0] == pytest.approx(620e9, rel=0.02)
    assert rates[1] == pytest.approx(45.5e9 * 127 / 64, rel=0.02)


def test_faster_port_speeds_up_a_moved_kernel(nvl72):
    fast = replace(nvl72, scale_up=replace(nvl72.scale_up, gpu_bandwidth_bytes_per_s=1800e9))
    times = [
        dispatch_s(one, build(one, Family.NVLINK_ONE_SIDED), n_ranks=8, tokens=16384.0)
        for one in (nvl72, fast)
    ]
    assert times[1] < 0.65 * times[0]
