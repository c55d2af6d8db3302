"""How long each family keeps the ports of a rank busy, on round numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.backend.collectives import (
    CollectiveKey,
    ExchangeConstants,
    Family,
    FitReport,
    Knots,
    Spread,
)
from rackmoe.errors import ConfigError
from rackmoe.network.dispatch import (
    ExchangeLaw,
    GroupPorts,
    IdealExchange,
    balanced_time_s,
    family_copies,
)
from rackmoe.network.traffic import ExpertGroup

# one copy: 1000 B over a port of 1 GB/s at half efficiency: 2 us; a NIC of 0.1 GB/s: 10 us
PAYLOAD_BYTES = 1000.0
NAMES = ("copies", "assignments", "node_copies", "remote_assignments")


def constants(family, *, operation="dispatch", **changes):
    values = {
        "key": CollectiveKey(library="lib", kernel="k", operation=operation),
        "family": family,
        "spread": Spread.RANDOM,
        "payload_dtype": "bf16",
        "latency_s": Knots(sizes=(1, 2), values=(10e-6, 20e-6)),
        "port_efficiency": Knots(sizes=(1,), values=(0.5,)),
        "nic_efficiency": 1.0,
        "token_time_s": 0.0,
        "sm_bandwidth_bytes_per_s": None,
        "n_sms": 0,
        "ramp": 1.0,
        "report": FitReport(kind="fitted", file="t.csv", n_rows=1),
    }
    return ExchangeConstants(**(values | changes))


def ports(*, n_nodes=1, n_domains=1):
    return GroupPorts(
        port_bandwidth_bytes_per_s=1e9,
        nic_bandwidth_bytes_per_s=1e8,
        n_nodes=n_nodes,
        n_domains=n_domains,
    )


def traffic(*, out, into, load=None):
    """Traffic of one layer: all kinds of copies alike, half of them remote."""
    fields = {}
    for name in NAMES:
        share = 0.5 if "node" in name or "remote" in name else 1.0
        fields[f"{name}_out"] = share * np.array([out], float)
        fields[f"{name}_in"] = share * np.array([into], float)
    fields["rank_assignments"] = np.array([into if load is None else load], float)
    return SimpleNamespace(**fields)


TRAFFIC = traffic(out=[10, 20], into=[25, 5])
TOKENS = np.array([4.0, 8.0])


def law(family, *, operation="dispatch", n_nodes=1, n_domains=1, **options):
    changes = {k: v for k, v in options.items() if k in ExchangeConstants.__slots__}
    others = {k: v for k, v in options.items() if k not in changes}
    return ExchangeLaw(
        constants(family, operation=operation, **changes),
        ports=ports(n_nodes=n_nodes, n_domains=n_domains),
        payload_bytes=PAYLOAD_BYTES,
        **others,
    )


def test_dispatch_sends_copies_out_and_receives_copies_in():
    times = law(Family.NVLINK_ONE_SIDED).port_times(TRAFFIC, tokens=TOKENS)
    assert times.latency_s == 10e-6
    assert times.egress_s == pytest.approx(np.array([[20e-6, 40e-6]]))
    assert times.ingress_s == pytest.approx(np.array([[50e-6, 10e-6]]))


def test_combine_sends_back_what_dispatch_received():
    times = law(Family.NVLINK_ONE_SIDED, operation="combine").port_times(TRAFFIC, tokens=TOKENS)
    assert times.egress_s == pytest.approx(np.array([[50e-6, 10e-6]]))
    assert times.ingress_s == pytest.approx(np.array([[20e-6, 40e-6]]))


def test_low_latency_takes_the_slower_of_nic_and_fabric():
    times = law(Family.DEEPEP_LOW_LATENCY, n_domains=2).port_times(TRAFFIC, tokens=TOKENS)
    # rank 0 sends 5 copies over the NIC (50 us) and 5 over the port (10 us)
    assert times.egress_s[0, 0] == pytest.approx((50e-6**4 + 10e-6**4) ** 0.25)


def test_low_latency_inside_a_domain_leaves_the_nic_idle():
    inside = traffic(out=[10, 20], into=[25, 5])
    inside.remote_assignments_out[:] = inside.remote_assignments_in[:] = 0
    times = law(Family.DEEPEP_LOW_LATENCY).port_times(inside, tokens=TOKENS)
    assert times.egress_s == pytest.approx(np.array([[20e-6, 40e-6]]))


def test_pure_rdma_sends_every_assignment_over_the_nic():
    times = law(Family.DEEPEP_LOW_LATENCY_RDMA).port_times(TRAFFIC, tokens=TOKENS)
    assert times.egress_s == pytest.approx(np.array([[100e-6, 200e-6]]))


def test_normal_kernels_send_one_copy_per_domain_and_forward_the_rest():
    times = law(Family.DEEPEP_NORMAL, n_domains=2).port_times(TRAFFIC, tokens=TOKENS)
    # rank 0 sends 5 copies over the NIC (50 us), its port carries 10 (20 us)
    assert times.egress_s[0, 0] == pytest.approx((50e-6**4 + 20e-6**4) ** 0.25)


def test_few_sms_slow_every_copy():
    sm = Knots(sizes=(1,), values=(1e7,))  # 10 SMs send 0.1 GB/s: 10 us for each copy
    times = law(Family.DEEPEP_NORMAL, sm_bandwidth_bytes_per_s=sm, n_sms=10).port_times(
        TRAFFIC, tokens=TOKENS
    )
    assert times.egress_s[0, 0] == pytest.approx(10 * (2e-6**4 + 10e-6**4) ** 0.25)


def test_own_tokens_cost_the_side_that_owns_them():
    for operation, side in (("dispatch", "egress_s"), ("combine", "ingress_s")):
        times = law(Family.NVLINK_TWO_SIDED, operation=operation, token_time_s=1e-3).port_times(
            TRAFFIC, tokens=TOKENS
        )
        assert getattr(times, side) == pytest.approx(np.array([[4e-3, 8e-3]]), rel=1e-6)


def test_prepare_depends_on_tokens_and_not_on_copies():
    times = law(Family.NVLINK_TWO_SIDED, operation="prepare", token_time_s=1e-6).port_times(
        TRAFFIC, tokens=TOKENS
    )
    assert times.egress_s == pytest.approx(np.array([[4e-6, 8e-6]]))
    assert not times.ingress_s.any()


def test_start_up_time_depends_on_the_nodes():
    assert law(Family.NVLINK_ONE_SIDED, n_nodes=2).latency_s == pytest.approx(20e-6)
    # inside a domain it keeps the last value; across domains it grows like a tree
    assert law(Family.NVLINK_ONE_SIDED, n_nodes=8).latency_s == pytest.approx(20e-6)
    far = law(Family.DEEPEP_NORMAL, n_nodes=8, n_domains=8)
    assert far.latency_s == pytest.approx(20e-6 * 4 / 2)


def test_lost_links_slow_the_port_in_proportion():
    whole = law(Family.NVLINK_ONE_SIDED).port_times(TRAFFIC, tokens=TOKENS)
    frac = np.array([16 / 18, 1.0])
    less = law(Family.NVLINK_ONE_SIDED).port_times(TRAFFIC, tokens=TOKENS, port_frac=frac)
    assert less.egress_s[0, 0] == pytest.approx(whole.egress_s[0, 0] * 18 / 16)
    assert less.egress_s[0, 1] == pytest.approx(whole.egress_s[0, 1])


def test_sums_in_the_network_return_each_token_once():
    options = {"operation": "combine", "combine_in_network": True}
    times = law(Family.NVLINK_ONE_SIDED, **options).port_times(TRAFFIC, tokens=TOKENS)
    assert times.ingress_s == pytest.approx(np.array([[8e-6, 16e-6]]))
    assert times.egress_s == pytest.approx(np.array([[50e-6, 10e-6]]))


def test_nvlink_kernel_across_domains_is_refused():
    with pytest.raises(ConfigError, match=r"covers 2 scale-up domains.*deepep_normal"):
        law(Family.NVLINK_ONE_SIDED, n_domains=2)


def test_nic_is_unused_inside_a_domain():
    assert family_copies(Family.DEEPEP_NORMAL, traffic=TRAFFIC, n_domains=1).nic is None
    assert family_copies(Family.DEEPEP_NORMAL, traffic=TRAFFIC, n_domains=2).nic is not None


@given(st.lists(st.floats(0, 1e4), min_size=4, max_size=4), st.floats(0.02, 10))
def test_an_empty_port_costs_nothing_beyond_the_start_up(copies, ramp):
    one = traffic(out=copies, into=copies[::-1])
    times = law(Family.NVLINK_ONE_SIDED, ramp=ramp).port_times(one, tokens=np.zeros(4))
    assert (times.egress_s >= -1e-18).all()
    assert (times.egress_s[one.copies_out == 0] == 0).all()


@pytest.mark.parametrize("family", [Family.NVLINK_ONE_SIDED, Family.DEEPEP_LOW_LATENCY])
def test_symmetric_ranks_take_the_same_time(family):
    one = traffic(out=[10] * 6, into=[10] * 6)
    times = law(family, n_domains=1).port_times(one, tokens=np.full(6, 3.0))
    assert len(set(times.egress_s.ravel().tolist())) == 1


def test_port_times_have_the_shape_of_the_traffic_and_are_contiguous():
    for family in (Family.NVLINK_ONE_SIDED, Family.NVLINK_TWO_SIDED, Family.DEEPEP_NORMAL):
        for operation in ("dispatch", "combine", "prepare"):
            times = law(family, operation=operation).port_times(TRAFFIC, tokens=TOKENS)
            for part in (times.egress_s, times.ingress_s):
                assert part.shape == (1, 2)
                assert part.flags.c_contiguous
                assert part.flags.writeable


def test_ideal_exchange_counts_every_copy_at_full_bandwidth():
    ideal = IdealExchange(bandwidth_bytes_per_s=1e9, payload_bytes=1000.0, n_destinations=9)
    load = traffic(out=[0, 0], into=[0, 0], load=[3 * 8, 9 * 8])
    times = ideal.port_times(load, tokens=np.array([6.0, 6.0]))
    assert times.latency_s == 0
    assert times.egress_s == pytest.approx(np.array([[54e-6, 54e-6]]))
    # 108 copies arrive in the ratio of the loads
    assert times.ingress_s == pytest.approx(np.array([[27e-6, 81e-6]]))


def test_ideal_exchange_without_tokens_takes_no_time():
    ideal = IdealExchange(bandwidth_bytes_per_s=1e9, payload_bytes=1.0, n_destinations=9)
    empty = traffic(out=[0, 0], into=[0, 0])
    assert not ideal.port_times(empty, tokens=np.zeros(2)).total_s().any()


def test_balanced_time_is_the_law_on_the_expected_copies():
    group = ExpertGroup(n_ranks=2, ranks_per_domain=2, top_k=2, n_experts=4)
    exchange = law(Family.NVLINK_ONE_SIDED)
    # 6 tokens send 5 copies: 10 us after the start-up time of 10 us
    time_s = balanced_time_s(exchange, tokens_per_rank=6.0, group=group)
    assert time_s == pytest.approx([20e-6])
