"""Two overlapped micro-batches pair by pair, against the recurrence."""

import numpy as np
import pytest

from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.paired_exchange import PairedExchanges
from rackmoe.network.paired_two_batch import paired_two_batch, resume_paired_two_batch
from rackmoe.network.slowdown import Slowdown
from rackmoe.network.two_batch import two_batch_step

N_RANKS = 8
TIERS = (ExchangeTier.FLOW, ExchangeTier.PACKET)


def pairs_of(times, tier):
    """Equal pairs: ports are busy for their own times all the same."""
    n_layers, n_ranks = times.shape
    apart = np.broadcast_to(1.0 - np.eye(n_ranks), (n_layers, n_ranks, n_ranks))
    return PairedExchanges(pairs=60.0 * apart, tier=tier)


def both(random_times, **values):
    return tuple(random_times(4, N_RANKS, seed=seed, **values) for seed in (1, 2))


@pytest.mark.parametrize("overlap_shared", [True, False])
def test_the_closed_form_pair_by_pair_is_the_compiled_one(random_times, overlap_shared):
    batches = both(random_times, spread=0.6, overlap_shared=overlap_shared)
    for egress in (1.0, 8.0):
        slow = Slowdown.steady(N_RANKS, egress=egress, ingress=np.linspace(1, 8, N_RANKS))
        paired = tuple(pairs_of(times, ExchangeTier.PLAN) for times in batches)
        found = paired_two_batch(batches, paired=paired, slowdown=slow)
        expected = two_batch_step(batches, slowdown=slow)
        assert found.clocks_s == pytest.approx(expected.clocks_s, rel=1e-9)
        assert found.overlaps.tolist() == expected.overlaps.tolist()


@pytest.mark.parametrize("overlap_shared", [True, False])
@pytest.mark.parametrize("tier", TIERS)
def test_compute_bound_steps_take_what_the_recurrence_says(random_times, tier, overlap_shared):
    batches = both(random_times, spread=0.1, overlap_shared=overlap_shared)
    tail_s = np.full((2, N_RANKS), 5e-6)
    paired = tuple(pairs_of(times, tier) for times in batches)
    found = paired_two_batch(batches, paired=paired, tail_s=tail_s)
    expected = two_batch_step(batches, tail_s=tail_s)
    assert not expected.is_network_bound
    assert found.end_s.max() == pytest.approx(expected.end_s.max(), rel=0.01)
    assert found.port_busy_frac == pytest.approx(expected.port_busy_frac, rel=0.02)


@pytest.mark.parametrize("tier", TIERS)
def test_exchanges_queue_for_a_slow_port(uniform_times, tier):
    # as in test_two_batch: dispatch(0) 1-4, dispatch(1) 4-7, combine(0) 7-10, combine(1) 10-13
    times = uniform_times(
        1, 4, pre=1.0, shared=0.0, expert=1.0, dispatch=(3.0, 3.0, 0.0), combine=(3.0, 3.0, 0.0)
    )
    paired = (pairs_of(times, tier),) * 2
    plan = paired_two_batch((times, times), paired=paired)
    assert plan.layer_end_s == pytest.approx([13.0], rel=0.02)
    assert plan.overlaps.tolist() == [3] * 4
    assert plan.is_network_bound


@pytest.mark.parametrize("tier", TIERS)
def test_replanning_equals_planning_with_foresight(random_times, tier):
    batches = both(random_times)
    paired = tuple(pairs_of(times, tier) for times in batches)
    plan = paired_two_batch(batches, paired=paired)
    history, rng = Slowdown.none(N_RANKS), np.random.default_rng(0)
    for now_s in np.sort(rng.uniform(0.0, plan.end_s.max(), 6)):
        history = history.changed(now_s, egress=rng.uniform(0.5, 6.0, N_RANKS), compute=1.1)
        plan = resume_paired_two_batch(
            batches, paired=paired, plan=plan, slowdown=history, now_s=now_s
        )
    exact = paired_two_batch(batches, paired=paired, slowdown=history)
    assert plan.end_s == pytest.approx(exact.end_s, rel=1e-9)


def test_without_exchanges_the_batches_follow_each_other(uniform_times):
    times = uniform_times(2, 3, pre=1.0, shared=0.5, expert=2.0, dispatch=None, combine=None)
    paired = (PairedExchanges(pairs=np.zeros((2, 3, 3)), tier=ExchangeTier.FLOW),) * 2
    assert paired_two_batch((times, times), paired=paired).end_s.tolist() == [14.0] * 3
