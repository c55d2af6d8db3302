import numpy as np

from rackmoe.routing.step import StepRouting


def test_empty_step_has_the_documented_shapes_and_is_balanced():
    step = StepRouting.zeros(n_layers=3, n_experts=8, n_ranks=4)
    assert step.expert_counts.shape == (3, 8)
    assert step.expert_counts.dtype == np.int32
    assert step.node_copies_in.shape == (3, 4)
    assert step.imbalance().tolist() == [1.0, 1.0, 1.0]


def test_imbalance_is_the_peak_over_the_mean_of_each_layer():
    step = StepRouting.zeros(n_layers=2, n_experts=8, n_ranks=4)
    step.rank_assignments[:] = [[1, 1, 1, 1], [0, 0, 0, 4]]
    assert step.imbalance().tolist() == [1.0, 4.0]
