"""How many copies of tokens the ranks of a balanced group send."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.backend.collectives import Spread
from rackmoe.errors import ConfigError
from rackmoe.network.traffic import ExpertGroup, PortTimes, balanced_traffic


def group(n_ranks, *, domain=8, top_k=8, n_experts=256):
    return ExpertGroup(n_ranks=n_ranks, ranks_per_domain=domain, top_k=top_k, n_experts=n_experts)


def test_two_of_four_experts_on_two_ranks_reach_the_other_with_five_sixths():
    # both experts on the own rank: 1 of 6 pairs; so 5/6 copies per token
    traffic = balanced_traffic(6.0, group=group(2, top_k=2, n_experts=4), spread=Spread.RANDOM)
    assert traffic.copies_out[0, 0] == pytest.approx(5.0)
    assert traffic.assignments_out[0, 0] == pytest.approx(6.0)
    assert traffic.rank_assignments[0, 0] == pytest.approx(12.0)


def test_evenly_dealt_experts_reach_as_many_ranks_as_they_can():
    eight = balanced_traffic(1.0, group=group(8), spread=Spread.EVEN)
    assert eight.copies_out[0, 0] == pytest.approx(7.0)
    many = balanced_traffic(1.0, group=group(32), spread=Spread.EVEN)
    assert many.copies_out[0, 0] == pytest.approx(8 * 31 / 32)


def test_grouped_routing_reaches_fewer_ranks_than_random_routing():
    random = balanced_traffic(1.0, group=group(8), spread=Spread.RANDOM).copies_out[0, 0]
    grouped = balanced_traffic(1.0, group=group(8), spread=Spread.GROUPED).copies_out[0, 0]
    # 4 of 8 ranks are open; one of them gets none of 8 of 128 experts with C(96,8)/C(128,8)
    open_ranks = 4 * (1 - math.comb(96, 8) / math.comb(128, 8))
    assert grouped == pytest.approx(open_ranks * 7 / 8)
    assert grouped < random


def test_grouped_routing_of_another_model_is_random():
    two = [
        balanced_traffic(1.0, group=group(8, n_experts=384), spread=spread).copies_out[0, 0]
        for spread in (Spread.GROUPED, Spread.RANDOM)
    ]
    assert two[0] == two[1]


@pytest.mark.parametrize("n_ranks", [2, 4, 8, 16, 64, 256])
def test_grouped_routing_is_never_wider_than_random_routing(n_ranks):
    sent = [
        balanced_traffic(1.0, group=group(n_ranks), spread=spread).copies_out[0, 0]
        for spread in (Spread.GROUPED, Spread.RANDOM, Spread.EVEN)
    ]
    assert 0 < sent[0] <= sent[1] <= sent[2]


def test_one_rank_sends_nothing():
    traffic = balanced_traffic(100.0, group=group(1), spread=Spread.RANDOM)
    assert traffic.copies_out[0, 0] == 0
    assert traffic.assignments_out[0, 0] == 0
    assert traffic.remote_assignments_out[0, 0] == 0


def test_one_domain_sends_nothing_to_others():
    traffic = balanced_traffic(100.0, group=group(72, domain=72), spread=Spread.RANDOM)
    assert traffic.node_copies_out[0, 0] == 0
    assert traffic.remote_assignments_out[0, 0] == 0


def test_half_of_the_assignments_leave_one_of_two_domains():
    traffic = balanced_traffic(10.0, group=group(16), spread=Spread.RANDOM)
    assert traffic.remote_assignments_out[0, 0] == pytest.approx(40.0)
    assert traffic.node_copies_out[0, 0] == pytest.approx(
        10 * (1 - math.comb(128, 8) / math.comb(256, 8))
    )


def test_several_numbers_of_tokens_are_rows():
    traffic = balanced_traffic(np.array([1.0, 2.0]), group=group(8), spread=Spread.RANDOM)
    assert traffic.copies_out.shape == (2, 1)
    assert traffic.copies_out[1, 0] == pytest.approx(2 * traffic.copies_out[0, 0])


@given(st.integers(1, 8), st.sampled_from([2, 4, 8, 16, 32]))
def test_copies_lie_between_one_rank_and_all_assignments(top_k, n_ranks):
    traffic = balanced_traffic(1.0, group=group(n_ranks, top_k=top_k), spread=Spread.RANDOM)
    copies = traffic.copies_out[0, 0]
    assert copies <= traffic.assignments_out[0, 0] * (1 + 1e-9)
    assert copies >= (n_ranks - 1) / n_ranks * (1 - 1e-9)


@pytest.mark.parametrize(
    ("n_ranks", "domain", "top_k"), [(0, 8, 8), (8, 0, 8), (8, 8, 0), (8, 8, 257)]
)
def test_impossible_group_is_refused(n_ranks, domain, top_k):
    with pytest.raises(ConfigError, match="at least one rank"):
        group(n_ranks, domain=domain, top_k=top_k)


def test_collective_ends_with_its_busiest_port():
    times = PortTimes(
        egress_s=np.array([[1.0, 2.0]]), ingress_s=np.array([[3.0, 0.0]]), latency_s=0.5
    )
    assert times.total_s() == pytest.approx([3.5])
