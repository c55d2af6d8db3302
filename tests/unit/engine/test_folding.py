"""What comes before each MoE layer, by hand and against the NumPy twin."""

import numpy as np
import pytest
from strategies import write_model

from rackmoe.engine.folding import Folding, folded_times_s, folded_times_s_plain
from rackmoe.model.config import load_model


def folding(name, small_files, class_of_layer):
    return Folding(load_model(write_model(name, small_files)), class_of_layer=class_of_layer)


def test_leading_dense_layer_is_counted_with_the_first_experts(small_files):
    # four layers, the first of them dense
    fold = folding("latent", small_files, (0, 0, 0, 0))
    assert fold.n_blocks.tolist() == [2, 1, 1]
    assert fold.n_dense.tolist() == [1, 0, 0]


def test_attention_blocks_are_counted_by_class(small_files):
    # experts in layers 1 and 3 of four
    fold = folding("alternate", small_files, (0, 0, 0, 1))
    assert fold.n_of_class.tolist() == [[2, 1], [0, 1]]
    assert fold.n_dense.tolist() == [1, 1]


def test_work_before_a_layer_is_that_of_all_layers_since_the_last(small_files):
    fold = folding("alternate", small_files, (0, 0, 0, 1))
    parts = {"block_s": [1.0], "dense_s": [10.0], "router_s": [0.5], "attention_s": [[100], [200]]}
    arrays = {name: np.array(value, float) for name, value in parts.items()}
    assert fold.pre_times_s(**arrays, tp=2).tolist() == [[212.5] * 2, [312.5] * 2]


def test_attention_of_all_layers_is_a_mean_over_the_groups(small_files):
    fold = folding("alternate", small_files, (0, 0, 0, 1))
    assert fold.attention_s(np.array([[1.0, 3.0], [10.0, 20.0]])) == 3 * 2.0 + 15.0


@pytest.mark.parametrize("tp", [1, 3])
def test_kernel_is_its_twin_to_the_last_bit(tp):
    rng = np.random.default_rng(3)
    groups, classes = rng.random((3, 5)) * 1e-5, rng.random((2, 5)) * 1e-5
    counts, of_class = rng.integers(0, 4, (2, 7)) * 1.0, rng.integers(0, 4, (2, 7)) * 1.0
    arguments = (groups[0], groups[1], classes, groups[2], counts[0], counts[1], of_class, tp)
    assert folded_times_s(*arguments).tolist() == folded_times_s_plain(*arguments).tolist()
