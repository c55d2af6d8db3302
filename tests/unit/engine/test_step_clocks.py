"""Closed forms or pairs, one batch or two: the clocks of a step."""

import numpy as np
import pytest

from rackmoe.engine.step_clocks import plan_clocks, resume_clocks
from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.layer_times import LayerTimes
from rackmoe.network.paired_exchange import PairedExchanges
from rackmoe.network.recurrence import StepPlan, layered_step
from rackmoe.network.slowdown import Slowdown
from rackmoe.network.traffic import PortTimes
from rackmoe.network.two_batch import TwoBatchPlan, two_batch_step

N_RANKS = 4
TAIL_S = np.full(N_RANKS, 0.5)


def times():
    rng = np.random.default_rng(0)

    def some(mean_s):
        return mean_s * rng.uniform(0.8, 1.2, (3, N_RANKS))

    return LayerTimes(
        pre_s=some(4.0),
        shared_s=some(0.5),
        expert_s=some(3.0),
        dispatch=PortTimes(egress_s=some(1.0), ingress_s=some(1.0), latency_s=0.1),
        combine=PortTimes(egress_s=some(1.0), ingress_s=some(1.0), latency_s=0.1),
    )


def pairs(tier):
    return PairedExchanges(pairs=50.0 * (1.0 - np.eye(N_RANKS))[None], tier=tier)


def clocks(n_batches, *tiers):
    step = (times(),) * n_batches
    paired = [pairs(tier) for tier in tiers] * n_batches
    return plan_clocks(step, tails_s=(TAIL_S,) * n_batches, paired=paired)


@pytest.mark.parametrize("tiers", [(), (ExchangeTier.PLAN,)])
def test_closed_forms_are_the_compiled_ones(tiers):
    one, two = clocks(1, *tiers), clocks(2, *tiers)
    assert isinstance(one, StepPlan)
    assert isinstance(two, TwoBatchPlan)
    assert one.end_s.tolist() == layered_step(times(), tail_s=TAIL_S).end_s.tolist()
    both = two_batch_step((times(), times()), tail_s=np.stack((TAIL_S, TAIL_S)))
    assert two.end_s.tolist() == both.end_s.tolist()


@pytest.mark.parametrize("n_batches", [1, 2])
def test_pairs_change_little_where_compute_decides(n_batches):
    closed_s = clocks(n_batches).end_s.max()
    for tier in (ExchangeTier.FLOW, ExchangeTier.PACKET):
        found = clocks(n_batches, tier)
        assert found.end_s.max() == pytest.approx(closed_s, rel=0.02)
        assert found.end_s.tolist() != clocks(n_batches).end_s.tolist()


@pytest.mark.parametrize("tiers", [(), (ExchangeTier.PACKET,)])
@pytest.mark.parametrize("n_batches", [1, 2])
def test_ports_at_half_speed_lengthen_the_rest_of_a_step(n_batches, tiers):
    step = (times(),) * n_batches
    paired = [pairs(tier) for tier in tiers] * n_batches
    plan = clocks(n_batches, *tiers)
    now_s = 0.5 * float(plan.end_s.max())
    slow = Slowdown.none(N_RANKS).changed(now_s, egress=8.0, ingress=8.0)
    later = resume_clocks(step, plan=plan, slowdown=slow, now_s=now_s, paired=paired)
    assert later.end_s.max() > 1.1 * plan.end_s.max()
    before = later.layer_end_s < now_s
    assert later.layer_end_s[before].tolist() == plan.layer_end_s[before].tolist()
