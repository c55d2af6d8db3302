"""Exchanges pair by pair: ports keep their times, and pairs get into each other's way."""

import numpy as np
import pytest

from rackmoe.errors import ShapeError
from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.paired_exchange import PairedExchanges, fitted_pairs
from rackmoe.network.slowdown import Slowdown

APART = 1.0 - np.eye(4)


def streams(pairs, *, tier, start=0.0, egress, ingress, slowdown=None, **values):
    n_ranks = len(pairs)
    return PairedExchanges(pairs=np.array(pairs, float)[None], tier=tier).streams_s(
        np.full(n_ranks, float(start)) if np.isscalar(start) else np.array(start, float),
        layer=0,
        egress_s=np.array(egress, float),
        ingress_s=np.array(ingress, float),
        slowdown=slowdown or Slowdown.none(n_ranks),
        **values,
    )


@pytest.mark.parametrize("tier", ExchangeTier)
def test_ports_are_busy_for_their_own_times(tier):
    # 300 copies from each rank to each other; ports that need 3 s, one of them 6 s
    end_s, free_s = streams(300 * APART, tier=tier, egress=[3] * 4, ingress=[3, 3, 3, 6])
    assert end_s.max() == pytest.approx(6.0, rel=0.02)
    assert free_s.max() == pytest.approx(6.0, rel=0.02)


@pytest.mark.parametrize("tier", ExchangeTier)
def test_time_of_the_clock_does_not_matter(tier):
    at_once, _ = streams(100 * APART, tier=tier, egress=[3] * 4, ingress=[3, 3, 3, 6])
    later, _ = streams(100 * APART, tier=tier, start=1e4, egress=[3] * 4, ingress=[3, 3, 3, 6])
    assert later - 1e4 == pytest.approx(at_once, rel=1e-6)


@pytest.mark.parametrize("tier", ExchangeTier)
def test_a_combine_sends_the_copies_back(tier):
    pairs = np.zeros((3, 3))
    pairs[0, 1] = pairs[0, 2] = 50
    end_s, _ = streams(pairs, tier=tier, egress=[0, 1, 1], ingress=[4, 0, 0], is_combine=True)
    assert end_s[0] == pytest.approx(4.0, rel=0.02)


@pytest.mark.parametrize("tier", ExchangeTier)
def test_busy_ports_without_pairs_are_waited_for(tier):
    # own tokens take rank 2 five seconds, and what rank 1 gets comes from nobody known
    end_s, _ = streams(np.zeros((3, 3)), tier=tier, egress=[0, 0, 5], ingress=[0, 7, 0])
    assert end_s.tolist() == pytest.approx([5, 7, 5])


@pytest.mark.parametrize("tier", ExchangeTier)
def test_half_done_exchanges_keep_their_half_when_ports_slow_down(tier):
    slow = Slowdown.none(4).changed(1.5, egress=2.0, ingress=2.0)
    end_s, _ = streams(300 * APART, tier=tier, egress=[3] * 4, ingress=[3] * 4, slowdown=slow)
    assert end_s == pytest.approx([1.5 + 3.0] * 4, rel=0.02)


@pytest.mark.parametrize("tier", ExchangeTier)
def test_changes_before_and_after_an_exchange_leave_it_alone(tier):
    slow = Slowdown.none(4).changed(1.0, egress=2.0).changed(2.0, egress=1.0).changed(9, egress=5)
    end_s, _ = streams(
        300 * APART, tier=tier, start=3.0, egress=[3] * 4, ingress=[3] * 4, slowdown=slow
    )
    assert end_s == pytest.approx([6.0] * 4, rel=0.02)


def test_streams_are_free_when_no_port_has_a_backlog():
    # rank 0 gets 8 s of data from ranks that send for 2 s; then everyone is free
    pairs = np.zeros((4, 4))
    pairs[0, 3], pairs[1, 0], pairs[2, 0] = 10, 100, 100
    for tier in (ExchangeTier.PLAN, ExchangeTier.FLOW, ExchangeTier.PACKET):
        _, free_s = streams(pairs, tier=tier, egress=[1, 2, 2, 0], ingress=[8, 0, 0, 1])
        assert free_s == pytest.approx([8.0] * 4, rel=0.02)
        # where nothing queues, each is free when it has sent
        _, free_s = streams(pairs.T, tier=tier, egress=[8, 1, 1, 1], ingress=[1, 2, 2, 1])
        assert free_s == pytest.approx([8, 1, 1, 1])


def test_layers_beyond_the_last_are_like_it():
    paired = PairedExchanges(pairs=100 * APART[None], tier=ExchangeTier.FLOW)
    ends = [
        paired.streams_s(
            np.zeros(4),
            layer=layer,
            egress_s=np.ones(4),
            ingress_s=np.ones(4),
            slowdown=Slowdown.none(4),
        )[0].tolist()
        for layer in (0, 3)
    ]
    assert ends[0] == ends[1]


def test_fitted_pairs_have_the_sums_that_are_asked_for():
    out = np.array([[5.0, 1.0, 2.0, 4.0]])
    into = np.array([[1.0, 6.0, 3.0, 2.0]])
    pairs = fitted_pairs(APART[None], out=out, into=into)
    assert pairs.sum(axis=2) == pytest.approx(out, rel=1e-6)
    assert pairs.sum(axis=1) == pytest.approx(into, rel=1e-6)
    assert np.diagonal(pairs[0]).tolist() == [0.0] * 4


def test_pairs_that_fit_already_stay_as_they_are():
    pairs = np.array([[[0.0, 3.0, 1.0], [2.0, 0.0, 5.0], [4.0, 1.0, 0.0]]])
    found = fitted_pairs(pairs, out=pairs.sum(axis=2), into=pairs.sum(axis=1))
    assert found == pytest.approx(pairs)


def test_a_single_matrix_is_refused():
    with pytest.raises(ShapeError, match=r"pairs: shape \(4, 4\); expected"):
        PairedExchanges(pairs=APART, tier=ExchangeTier.FLOW)
