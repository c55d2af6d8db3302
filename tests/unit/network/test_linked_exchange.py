"""Exchanges over several domains: all tiers agree, and calibrated times stay what they are."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from linked_cases import make_linked, rails, rank_times_s, under

from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.layer_times import LayerTimes
from rackmoe.network.paired_step import paired_step, resume_paired_step
from rackmoe.network.paired_two_batch import paired_two_batch, resume_paired_two_batch
from rackmoe.network.recurrence import layered_step
from rackmoe.network.slowdown import Slowdown
from rackmoe.network.traffic import PortTimes

MEDIAN, WORST = 0.01, 0.05


def end_s(linked, *, tier, start_s, slowdown, is_combine=False):
    egress_s, ingress_s = rank_times_s(linked)
    if is_combine:
        egress_s, ingress_s = ingress_s, egress_s
    ends_s, _ = replace(linked, tier=tier).streams_s(
        start_s,
        layer=0,
        egress_s=egress_s,
        ingress_s=ingress_s,
        slowdown=slowdown,
        is_combine=is_combine,
    )
    return float(ends_s.max())


def test_closed_forms_flows_and_packets_agree_link_by_link():
    errors = []
    for n_ranks, zipf, spread, per_leaf, is_combine in product(
        (16, 32), (0.0, 0.6), (0.0, 0.7), (None, 1, 2), (False, True)
    ):
        linked = make_linked(n_ranks, zipf=zipf)
        rng = np.random.default_rng(1)
        mean_s = rank_times_s(linked)[0].mean()
        start_s = np.abs(spread * mean_s * rng.standard_normal(n_ranks))
        found = [
            end_s(
                linked,
                tier=tier,
                start_s=start_s,
                slowdown=under(n_ranks, per_leaf=per_leaf),
                is_combine=is_combine,
            )
            for tier in (ExchangeTier.PLAN, ExchangeTier.FLOW, ExchangeTier.PACKET)
        ]
        errors.append([abs(one / found[2] - 1) for one in found[:2]])
    assert np.median(errors) <= MEDIAN
    assert np.max(errors) <= WORST


@pytest.mark.parametrize("tier", ExchangeTier)
@pytest.mark.parametrize(("per_leaf", "factor"), [(4, 1.0), (2, 1.75), (1, 3.5)])
def test_oversubscribed_spines_slow_direct_writes_by_what_crosses_them(tier, per_leaf, factor):
    # four ranks below each leaf, seven of eight of their remote copies to other rails
    linked = make_linked(32, tokens_per_rank=1024)
    ratio = end_s(
        linked, tier=tier, start_s=np.zeros(32), slowdown=under(32, per_leaf=per_leaf)
    ) / end_s(linked, tier=tier, start_s=np.zeros(32), slowdown=Slowdown.none(32))
    # the busiest NIC of a random exchange is a little above the mean, as is the busiest leaf
    assert ratio == pytest.approx(factor, rel=0.05)


@pytest.mark.parametrize("tier", ExchangeTier)
def test_a_slow_nic_is_felt_and_a_port_beside_it_is_not(tier):
    linked = make_linked(16)
    none, ones = Slowdown.none(16), np.ones(16)
    slow = ones.copy()
    slow[3] = 2.0
    state = replace(rails(16, per_leaf=2), far_out=slow, far_in=slow)
    start_s = np.zeros(16)
    healthy_s = end_s(linked, tier=tier, start_s=start_s, slowdown=none)
    far_s = end_s(linked, tier=tier, start_s=start_s, slowdown=Slowdown.steady(16, links=state))
    near = Slowdown.steady(16, egress=slow, ingress=slow)
    near_s = end_s(linked, tier=tier, start_s=start_s, slowdown=near)
    worst_s = max(2 * side[3] for side in rank_times_s(linked))
    assert far_s == pytest.approx(max(worst_s, healthy_s), rel=0.02)
    # ports take a ninth of the time of NICs
    assert near_s == pytest.approx(healthy_s, rel=1e-9)


@pytest.mark.parametrize("tier", ExchangeTier)
def test_half_done_exchanges_keep_their_half_when_uplinks_fail(tier):
    linked = make_linked(32, tokens_per_rank=1024)
    start_s = np.zeros(32)
    whole_s = end_s(linked, tier=tier, start_s=start_s, slowdown=Slowdown.none(32))
    hurt_s = end_s(linked, tier=tier, start_s=start_s, slowdown=under(32, per_leaf=1))
    half = Slowdown.none(32).changed(whole_s / 2, links=rails(32, per_leaf=1))
    found = end_s(linked, tier=tier, start_s=start_s, slowdown=half)
    assert found == pytest.approx((whole_s + hurt_s) / 2, rel=0.03)


def layer_times(linked, *, n_layers):
    n_ranks = len(linked.loads.far_mask)
    rng = np.random.default_rng(0)
    egress_s, ingress_s = (np.repeat(side[None], n_layers, 0) for side in rank_times_s(linked))
    return LayerTimes(
        pre_s=100 * rng.random((n_layers, n_ranks)),
        shared_s=10 * rng.random((n_layers, n_ranks)),
        expert_s=100 * rng.random((n_layers, n_ranks)),
        dispatch=PortTimes(egress_s=egress_s, ingress_s=ingress_s, latency_s=2.0),
        combine=PortTimes(egress_s=ingress_s, ingress_s=egress_s, latency_s=3.0),
    )


def one_by_one(monkeypatch):
    """Let steps look at each exchange by itself, instead of compiled runs of layers."""
    monkeypatch.setattr("rackmoe.network.paired_step._steady_layers", lambda *_: None)
    monkeypatch.setattr("rackmoe.network.paired_two_batch._Clocks.run_steady_layers", lambda *_: 0)


@pytest.mark.parametrize("per_leaf", [None, 1])
@pytest.mark.parametrize("changes", [(), (0.3, 0.6)])
def test_compiled_steps_are_as_their_exchanges_one_by_one(monkeypatch, per_leaf, changes):
    linked = replace(make_linked(16, zipf=0.6, n_layers=6), pairs=None)
    times, slow = layer_times(linked, n_layers=6), under(16, per_leaf=per_leaf)
    span_s = paired_step(times, paired=linked, slowdown=slow).end_s.max()
    for frac in changes:
        slow = slow.changed(frac * span_s, egress=10.0, links=rails(16, per_leaf=1.5))
    tail_s = np.linspace(0.0, 50.0, 16)

    def steps():
        one = paired_step(times, paired=linked, slowdown=slow, tail_s=tail_s)
        two = paired_two_batch((times, times), paired=(linked, linked), slowdown=slow)
        return one, two

    (one, two) = steps()
    one_by_one(monkeypatch)
    expected = steps()
    assert one.clock_s == pytest.approx(expected[0].clock_s, rel=1e-12)
    assert one.end_s == pytest.approx(expected[0].end_s, rel=1e-12)
    assert one.layer_end_s == pytest.approx(expected[0].layer_end_s, rel=1e-12)
    assert one.parts_s == pytest.approx(expected[0].parts_s, rel=1e-9, abs=1e-6)
    assert two.clocks_s == pytest.approx(expected[1].clocks_s, rel=1e-12)
    assert two.port_busy_frac == pytest.approx(expected[1].port_busy_frac, rel=1e-9)
    assert two.overlaps.tolist() == expected[1].overlaps.tolist()


@pytest.mark.parametrize("n_batches", [1, 2])
def test_a_change_plans_the_rest_anew_as_if_it_had_been_known(n_batches):
    linked = replace(make_linked(16, zipf=0.6, n_layers=6), pairs=None)
    times = layer_times(linked, n_layers=6)
    steps, resumes = (
        (paired_step, resume_paired_step)
        if n_batches == 1
        else (paired_two_batch, resume_paired_two_batch)
    )
    what = (times, linked) if n_batches == 1 else ((times, times), (linked, linked))
    plan = steps(what[0], paired=what[1])
    now_s = 0.45 * float(plan.end_s.max())
    slow = Slowdown.none(16).changed(now_s, links=rails(16, per_leaf=1))
    later = resumes(what[0], paired=what[1], plan=plan, slowdown=slow, now_s=now_s)
    known = steps(what[0], paired=what[1], slowdown=slow)
    assert later.end_s == pytest.approx(known.end_s, rel=1e-12)
    assert later.end_s.max() > plan.end_s.max()


def test_a_balanced_exchange_takes_what_the_law_of_the_kernel_says():
    linked = make_linked(16)
    for kind in (linked.loads.near, linked.loads.far):
        for side in kind:
            side[:] = side.mean()
    times = layer_times(linked, n_layers=1)
    found = layered_step(times, links=linked.closed_links(times, slowdown=Slowdown.none(16)))
    assert found.end_s == pytest.approx(layered_step(times).end_s, rel=1e-12)
