from math import comb

import numpy as np
import pytest

from rackmoe.errors import ShapeError
from rackmoe.routing.balanced import BalancedSource
from rackmoe.routing.placement import contiguous


def test_balanced_source_loads_all_ranks_alike():
    place = contiguous(16, n_layers=2, n_ranks=4)
    step = BalancedSource(place, top_k=2).route(np.array([8, 0, 4, 4]), phase="decode")
    assert step.rank_assignments.tolist() == [[8.0] * 4] * 2
    assert step.imbalance().tolist() == [1.0, 1.0]
    assert step.expert_counts.sum() == 2 * 16 * 2
    assert step.active_experts.tolist() == [[4.0] * 4] * 2
    assert step.assignments_out[0].tolist() == [12.0, 0.0, 6.0, 6.0]
    assert step.assignments_in[0].tolist() == [4.0, 8.0, 6.0, 6.0]


def test_balanced_copies_follow_the_hypergeometric_chance():
    place = contiguous(16, n_layers=1, n_ranks=4, ranks_per_node=2)
    step = BalancedSource(place, top_k=2).route(np.full(4, 10), phase="prefill")
    hit = 1 - comb(12, 2) / comb(16, 2)
    assert step.copies_in[0] == pytest.approx(np.full(4, 30 * hit), rel=1e-12)
    assert step.copies_out.sum() == pytest.approx(step.copies_in.sum(), rel=1e-12)
    node_hit = 1 - comb(8, 2) / comb(16, 2)
    assert step.node_copies_out[0] == pytest.approx(np.full(4, 10 * node_hit), rel=1e-12)
    assert step.node_copies_in[0] == pytest.approx(np.full(4, 10 * node_hit), rel=1e-12)
    assert step.remote_assignments_in.sum() == step.remote_assignments_out.sum() == 40.0


def test_balanced_source_adds_phases_and_starts_over():
    source = BalancedSource(contiguous(8, n_layers=1, n_ranks=2), top_k=1)
    source.begin()
    source.add(np.array([1, 1]), phase="prefill")
    source.add(np.array([1, 1]), phase="decode")
    assert source.finish().rank_assignments.tolist() == [[2.0, 2.0]]
    assert source.route(np.array([0, 0]), phase="decode").expert_counts.sum() == 0


def test_balanced_source_refuses_another_number_of_ranks():
    source = BalancedSource(contiguous(8, n_layers=1, n_ranks=2), top_k=1)
    with pytest.raises(ShapeError, match="give one number for each rank"):
        source.route(np.array([1, 1, 1]), phase="decode")
