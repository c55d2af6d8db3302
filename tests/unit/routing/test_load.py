import numpy as np
import pytest

from rackmoe.errors import ConfigError, ShapeError
from rackmoe.routing.load import StepLoad
from rackmoe.routing.placement import contiguous
from rackmoe.routing.tally import Tally


@pytest.fixture
def place():
    return contiguous(4, n_layers=1, n_ranks=2)


def expected_step(load, counts, tokens):
    load.begin()
    load.add_expected(
        np.array([counts], np.int32),
        rank_ratio=np.ones((1, 2)),
        node_ratio=np.ones((1, 1)),
        tokens_per_rank=np.array(tokens),
    )
    return load.finish()


def test_parts_of_a_step_add_up_before_active_experts_are_counted(place):
    load = StepLoad(place, top_k=2)
    load.begin()
    tally = Tally.zeros(place)
    tally.slots[:, 0] = [2, 0, 0, 0]
    tally.rank_hits[:, 0] = [2, 0]
    tally.destinations[:, 0] = [0, 2]
    load.add_exact(tally, tokens_per_rank=np.array([0, 1]))
    load.add_expected(
        np.array([[3, 1, 0, 2]], np.int32),
        rank_ratio=np.ones((1, 2)),
        node_ratio=np.ones((1, 1)),
        tokens_per_rank=np.array([3, 0]),
    )
    step = load.finish()
    assert step.expert_counts.tolist() == [[5, 1, 0, 2]]
    assert step.rank_assignments.tolist() == [[6.0, 2.0]]
    assert step.active_experts.tolist() == [[2.0, 1.0]]
    # exact: rank 1 sends both; expected: rank 0 sends all, and keeps 4 of 6
    assert step.assignments_out.tolist() == [[2.0, 2.0]]
    assert step.assignments_in.tolist() == [[2.0, 2.0]]


def test_step_starts_from_zero_each_time(place):
    load = StepLoad(place, top_k=1)
    expected_step(load, [5, 5, 5, 5], [10, 10])
    step = expected_step(load, [1, 0, 0, 1], [1, 1])
    assert step.rank_assignments.tolist() == [[1.0, 1.0]]
    assert step.active_experts.tolist() == [[1.0, 1.0]]
    empty = expected_step(load, [0, 0, 0, 0], [0, 0])
    assert not empty.rank_assignments.any()
    assert not empty.copies_out.any()


def test_counted_loads_are_kept_and_senders_shared(place):
    load = StepLoad(place, top_k=1)
    load.begin()
    load.add_counted(
        np.array([[3], [0], [4], [1]], np.int32),
        rank_hits=np.array([[3], [5]], np.int32),
        node_hits=np.array([[8]], np.int32),
        tokens_per_rank=np.array([6, 2]),
    )
    step = load.finish()
    assert step.expert_counts.tolist() == [[3, 0, 4, 1]]
    assert step.active_experts.tolist() == [[1.0, 2.0]]
    assert step.copies_in.tolist() == [[0.75, 3.75]]
    assert step.copies_out.tolist() == [[3.75, 0.75]]


@pytest.mark.parametrize("choice", ["round_robin", "least_loaded", "nearest"])
def test_every_replica_choice_keeps_the_sum(make_placement, choice):
    place = make_placement(n_layers=2, n_experts=8, n_ranks=4, n_redundant=4, ranks_per_node=2)
    load = StepLoad(place, top_k=2, replica_choice=choice)
    load.begin()
    counts = np.array([[9, 1, 4, 2, 7, 1, 0, 8], [4] * 8], np.int32)
    load.add_expected(
        counts,
        rank_ratio=np.ones((2, 4)),
        node_ratio=np.ones((2, 2)),
        tokens_per_rank=np.array([4, 4, 4, 4]),
    )
    step = load.finish()
    assert step.rank_assignments.sum(axis=1) == pytest.approx([32, 32], rel=1e-12)
    assert step.assignments_in.sum() == pytest.approx(step.assignments_out.sum(), rel=1e-12)
    assert step.node_copies_in.sum() == pytest.approx(step.node_copies_out.sum(), rel=1e-12)


def test_least_loaded_is_better_balanced_than_random(make_placement):
    place = make_placement(n_layers=4, n_experts=32, n_ranks=8, n_redundant=16)
    counts = np.random.default_rng(0).integers(0, 60, (4, 32)).astype(np.int32)
    imbalance = {}
    for choice in ("random", "least_loaded"):
        load = StepLoad(place, top_k=1, replica_choice=choice)
        load.begin()
        load.add_expected(
            counts,
            rank_ratio=np.ones((4, 8)),
            node_ratio=np.ones((4, 1)),
            tokens_per_rank=np.full(8, 10),
        )
        imbalance[choice] = load.finish().imbalance().mean()
    assert imbalance["least_loaded"] < imbalance["random"]


def test_wrong_number_of_ranks_and_unknown_choices_are_refused(place):
    with pytest.raises(ConfigError, match="is unknown"):
        StepLoad(place, top_k=1, replica_choice="best")
    load = StepLoad(place, top_k=1)
    load.begin()
    with pytest.raises(ShapeError, match=r"tokens_per_rank: shape \(3,\); expected \(2,\)"):
        expected_step(load, [0, 0, 0, 0], [1, 1, 1])
