"""Steps whose exchanges are looked at pair by pair, against the closed form."""

import numpy as np
import pytest

from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.paired_exchange import PairedExchanges, fitted_pairs
from rackmoe.network.paired_step import paired_step, resume_paired_step
from rackmoe.network.recurrence import layered_step
from rackmoe.network.slowdown import Slowdown

N_RANKS = 8
MEDIAN, WORST = 0.01, 0.05


def paired(times, tier, n_copies=400.0):
    """Pairs in proportion to the port times of the dispatch."""
    n_layers, n_ranks = times.shape
    apart = np.broadcast_to(1.0 - np.eye(n_ranks), (n_layers, n_ranks, n_ranks))
    out, into = times.dispatch.egress_s, times.dispatch.ingress_s
    copies = n_copies * n_ranks / out.sum(axis=1, keepdims=True)
    into = into * (out.sum(axis=1) / into.sum(axis=1))[:, None]
    return PairedExchanges(
        pairs=fitted_pairs(apart, out=out * copies, into=into * copies), tier=tier
    )


@pytest.mark.parametrize("overlap_shared", [True, False])
def test_the_closed_form_pair_by_pair_is_the_compiled_one(random_times, overlap_shared):
    times = random_times(5, N_RANKS, seed=3, overlap_shared=overlap_shared)
    slow = Slowdown.steady(N_RANKS, egress=np.linspace(1, 3, N_RANKS), compute=1.2)
    tail_s = np.full(N_RANKS, 7e-6)
    expected = layered_step(times, tail_s=tail_s, slowdown=slow)
    found = paired_step(
        times, paired=paired(times, ExchangeTier.PLAN), tail_s=tail_s, slowdown=slow
    )
    for name in ("clock_s", "layer_end_s", "end_s", "parts_s"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9), name


def test_tiers_agree_on_the_duration_of_steps(random_times):
    errors = []
    for seed in range(6):
        times = random_times(4, N_RANKS, seed=seed, spread=0.4)
        ends_s = {
            tier: paired_step(times, paired=paired(times, tier)).end_s.max()
            for tier in (ExchangeTier.PLAN, ExchangeTier.FLOW, ExchangeTier.PACKET)
        }
        plan_s = ends_s.pop(ExchangeTier.PLAN)
        errors.extend(abs(plan_s / end_s - 1.0) for end_s in ends_s.values())
    assert np.median(errors) <= MEDIAN
    assert max(errors) <= WORST


def test_a_barrier_makes_no_step_shorter(random_times):
    times = random_times(4, N_RANKS, seed=1)
    barrier = paired_step(times, paired=paired(times, ExchangeTier.PHASE))
    assert barrier.end_s.max() >= layered_step(times).end_s.max()


@pytest.mark.parametrize("tier", [ExchangeTier.PLAN, ExchangeTier.FLOW])
def test_parts_add_up_to_the_step(random_times, tier):
    times = random_times(3, N_RANKS, seed=2)
    plan = paired_step(times, paired=paired(times, tier), tail_s=np.full(N_RANKS, 1e-6))
    assert plan.parts_s.sum(axis=0) == pytest.approx(plan.end_s, rel=1e-9)
    assert (plan.parts_s >= -1e-15).all()


@pytest.mark.parametrize("tier", [ExchangeTier.FLOW, ExchangeTier.PACKET])
def test_replanning_equals_planning_with_foresight(random_times, tier):
    times = random_times(5, N_RANKS, seed=1)
    pairs, tail_s = paired(times, tier), np.full(N_RANKS, 5e-6)
    plan = paired_step(times, paired=pairs, tail_s=tail_s)
    history, rng = Slowdown.none(N_RANKS), np.random.default_rng(0)
    for now_s in np.sort(rng.uniform(0.0, plan.end_s.max(), 6)):
        history = history.changed(now_s, egress=rng.uniform(0.5, 6.0, N_RANKS), compute=1.1)
        plan = resume_paired_step(times, paired=pairs, plan=plan, slowdown=history, now_s=now_s)
    exact = paired_step(times, paired=pairs, tail_s=tail_s, slowdown=history)
    assert plan.end_s == pytest.approx(exact.end_s, rel=1e-9)
    assert plan.layer_end_s == pytest.approx(exact.layer_end_s, rel=1e-9)


def test_ranks_that_exchange_nothing_only_compute(uniform_times):
    times = uniform_times(2, 3, pre=1.0, shared=0.5, expert=2.0, dispatch=None, combine=None)
    pairs = PairedExchanges(pairs=np.zeros((2, 3, 3)), tier=ExchangeTier.PACKET)
    assert paired_step(times, paired=pairs).end_s.tolist() == [7.0] * 3
