import numpy as np
import pytest

from rackmoe.routing.expected import (
    clear,
    count_active,
    count_active_plain,
    gather_expected,
    idle_chances,
)


@pytest.fixture
def place(make_placement):
    return make_placement(n_layers=2, n_experts=16, n_ranks=8, n_redundant=8, ranks_per_node=2)


def test_gathered_loads_are_the_shares_of_the_slots_of_a_rank(place, make_rng):
    counts = make_rng().integers(0, 20, (2, 16)).astype(np.int32)
    shares = 1.0 / place.n_replicas[np.arange(2)[:, None], place.slots]
    totals, expected = np.ones_like(counts), np.full(counts.shape, 5, np.int32)
    load, hit, ratio = np.empty((2, 8)), np.empty((2, 8)), np.full((2, 8), 0.25)
    gather_expected(counts, place.slots, shares, ratio, totals, expected, load, hit)
    assert (totals == counts + 1).all()
    assert (expected == counts + 5).all()
    assert (hit == 0.25 * load).all()
    taken = np.take_along_axis(counts, place.slots.astype(int), axis=1) * shares
    assert load == pytest.approx(taken.reshape(2, 8, 3).sum(axis=2), rel=1e-12)


def test_single_rank_gets_all_assignments_whatever_the_shares():
    counts, slots = np.array([[3, 4]], np.int32), np.array([[0, 1, 1]], np.int16)
    load, hit = np.empty((1, 1)), np.empty((1, 1))
    sums = np.zeros((2, 1, 2), np.int32)
    shares, ratio = np.array([[1.0, 0.5, 0.5]]), np.array([[0.5]])
    gather_expected(counts, slots, shares, ratio, sums[0], sums[1], load, hit)
    assert load.tolist() == [[7.0]]
    assert hit.tolist() == [[3.5]]


@pytest.mark.parametrize("is_random", [True, False])
def test_active_experts_equal_their_twin(place, make_rng, is_random):
    rng = make_rng()
    exact = rng.integers(0, 2, (24, 2))
    expected = rng.integers(0, 90, (2, 16)).astype(np.int32)
    expected[:, ::3] = 0
    shares = 1.0 / place.n_replicas[np.arange(2)[:, None], place.slots]
    n_replicas = place.n_replicas[np.arange(2)[:, None], place.slots]
    idle = idle_chances(int(n_replicas.max())) if is_random else np.empty((0, 0))
    active = np.empty((2, 8))
    count_active(exact, expected, place.slots, shares, n_replicas, idle, active)
    twin = count_active_plain(exact, expected, place.slots, shares, is_random=is_random, n_ranks=8)
    assert active == pytest.approx(twin, rel=1e-12)


def test_replica_of_a_rare_expert_may_stay_idle():
    active = np.empty((1, 2))
    slots = np.array([[0, 1, 0, 2]], np.int16)
    expected = np.array([[2, 5, 0]], np.int32)
    shares = np.array([[0.5, 1.0, 0.5, 1.0]])
    n_replicas, none = np.array([[2, 1, 2, 1]]), np.empty((0, 0), np.int64)
    count_active(none, expected, slots, shares, n_replicas, idle_chances(2), active)
    assert active.tolist() == [[1.75, 0.75]]


def test_expert_of_one_slot_is_busy_with_any_token():
    slots, shares = np.array([[2, 0, 1, 3]], np.int16), np.ones((1, 4))
    expected = np.array([[7, 0, 1, 90]], np.int32)
    ones, none = np.ones((1, 4), np.int32), np.empty((0, 0), np.int64)
    active = np.empty((1, 2))
    count_active(none, expected, slots, shares, ones, idle_chances(1), active)
    assert active.tolist() == [[2.0, 1.0]]


def test_step_starts_without_tokens():
    counts, expected = np.ones((2, 1, 3), np.int32)
    ranks = np.ones((6, 1, 2))
    clear(counts, expected, ranks)
    assert not counts.any()
    assert not expected.any()
    assert not ranks.any()


def test_chance_to_stay_idle_halves_with_each_token_for_two_replicas():
    assert idle_chances(2)[2, :4].tolist() == [1.0, 0.5, 0.25, 0.125]
    # a single replica gets every token, and any of them
    assert idle_chances(2)[1, :3].tolist() == [1.0, 0.0, 0.0]
