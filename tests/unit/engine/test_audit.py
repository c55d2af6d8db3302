"""Steps of closed forms against the packets that their routing sends."""

from types import SimpleNamespace

import numpy as np
import pytest

from rackmoe.engine.audit import Audit
from rackmoe.engine.step_clocks import plan_clocks
from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.layer_times import LayerTimes
from rackmoe.network.paired_exchange import PairedExchanges
from rackmoe.network.slowdown import Slowdown
from rackmoe.network.traffic import PortTimes

N_RANKS, N_LAYERS = 8, 4
APART = 1.0 - np.eye(N_RANKS)


def step(pairs, *, n_batches=1, slowdown=None, **busy):
    """A step whose ports are busy for a second per exchange, and whose ranks start as one."""

    def full(value):
        return np.zeros((N_LAYERS, N_RANKS)) + value

    ports = PortTimes(
        egress_s=full(busy.get("egress", 1.0)),
        ingress_s=full(busy.get("ingress", 1.0)),
        latency_s=0.0,
    )
    one = LayerTimes(
        pre_s=full(busy.get("pre", 0.5)),
        shared_s=full(0.0),
        expert_s=full(0.5),
        dispatch=ports,
        combine=ports,
    )
    times = (one,) * n_batches
    paired = (PairedExchanges(pairs=np.array(pairs)[None], tier=ExchangeTier.PLAN),) * n_batches
    tails_s = [np.zeros(N_RANKS)] * n_batches
    plan = plan_clocks(times, tails_s=tails_s, slowdown=slowdown, paired=paired)
    return SimpleNamespace(times=times, plan=plan, paired=paired, slowdown=slowdown)


def report_of(plan, *, is_audited=True):
    audit = Audit(SimpleNamespace(is_audited=is_audited))
    audit.started(plan)
    return audit.report()


@pytest.mark.parametrize("n_batches", [1, 2])
def test_balanced_exchanges_agree_with_packets(n_batches):
    report = report_of(step(200.0 * APART, n_batches=n_batches))
    assert report.n_steps == 1
    assert report.n_exchanges == 3 * 2 * n_batches
    assert abs(report.worst_error_frac) < 0.01
    assert abs(report.step_error_frac) < 0.01


def test_packets_are_those_that_the_routing_sends():
    # rank 0 is 2 s late, and rank 1, which is slow to receive, gets everything from it alone;
    # the closed form has the others send a part of that early
    pre = np.full(N_RANKS, 0.5)
    pre[0] = 2.5
    ingress = np.ones(N_RANKS)
    ingress[1] = 3.0
    alone = 200.0 * APART
    alone[1:, 1] = alone[0, 2:] = 0.0
    even = report_of(step(200.0 * APART, pre=pre, ingress=ingress))
    odd = report_of(step(alone, pre=pre, ingress=ingress))
    assert abs(even.worst_error_frac) < 0.02
    assert odd.worst_error_frac < -0.05
    assert odd.step_error_frac < -0.02


def test_ports_are_audited_at_their_present_speed():
    slow = Slowdown.steady(N_RANKS, egress=np.linspace(1, 3, N_RANKS), ingress=2.0)
    report = report_of(step(200.0 * APART, slowdown=slow))
    assert abs(report.worst_error_frac) < 0.02


def test_steps_that_are_not_due_are_left_alone():
    assert report_of(step(200.0 * APART), is_audited=False) is None


def test_a_report_says_its_errors_in_words():
    text = str(report_of(step(200.0 * APART)))
    assert text.startswith("6 exchanges of 1 steps against packets: error")
    assert "whole steps" in text
