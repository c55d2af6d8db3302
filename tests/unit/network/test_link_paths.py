"""Exchanges over NICs and uplinks pair by pair: hand-worked, and the same at all tiers."""

import numpy as np
import pytest
from linked_cases import rails

from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.link_paths import Uplinks, far_ends_s
from rackmoe.network.paired_exchange import pair_exchange

CLOSER = [ExchangeTier.PHASE, ExchangeTier.FLOW, ExchangeTier.PACKET]
N_RANKS = 16


def counterparts_shifted(by):
    """Each rank sends a hundred copies to one rank of the other domain."""
    pairs = np.zeros((N_RANKS, N_RANKS))
    rank = np.arange(N_RANKS)
    pairs[rank, (rank // 8 * 8 + 8) % N_RANKS + (rank + by) % 8] = 100.0
    return pairs


def end_s(pairs, *, per_leaf, tier):
    busy_s = np.ones(N_RANKS)
    exchange = pair_exchange(pairs, start_s=np.zeros(N_RANKS), busy_s=(busy_s, busy_s))
    state = rails(N_RANKS, per_leaf=per_leaf)
    uplinks = Uplinks.of_state(state, pairs=pairs, far_s=busy_s) if state.tight.size else None
    return far_ends_s(exchange, tier=tier, uplinks=uplinks).max()


@pytest.mark.parametrize("tier", CLOSER)
def test_bytes_on_one_rail_feel_no_spine(tier):
    found = end_s(counterparts_shifted(0), per_leaf=0.5, tier=tier)
    assert found == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("tier", CLOSER)
@pytest.mark.parametrize(("per_leaf", "expected"), [(2, 1.0), (1, 2.0), (0.5, 4.0)])
def test_bytes_across_rails_take_the_time_of_the_uplinks(tier, per_leaf, expected):
    # two ranks below each leaf, which send all their bytes to another rail
    found = end_s(counterparts_shifted(1), per_leaf=per_leaf, tier=tier)
    assert found == pytest.approx(expected, rel=0.02)


def test_uplinks_carry_each_crossing_copy_once_up_and_once_down():
    pairs = counterparts_shifted(1)
    state = rails(N_RANKS, per_leaf=1)
    found = Uplinks.of_state(state, pairs=pairs, far_s=np.full(N_RANKS, 2.0))
    # 200 copies for four seconds of work on each uplink
    assert found.work_s.sum(axis=1).tolist() == pytest.approx([4.0] * 16)
    assert found.copies_per_s.tolist() == pytest.approx([50.0] * 16)
    crossed = found.crossed(np.array([0, 1]), destination=np.array([9, 9]))
    assert crossed.tolist() == [[[0, -1], [8 + 1, -1]]]
