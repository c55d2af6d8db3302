import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.errors import ConfigError
from rackmoe.routing.eplb import eplb
from rackmoe.routing.eplb_vec import deal_serpentine, eplb_vec, replicate_by_steps

CASES = json.loads(
    (Path(__file__).parents[2] / "data" / "routing" / "eplb_vectors.json").read_text()
)["cases"]


@pytest.mark.parametrize(
    "case", [one for one in CASES if "vec" in one["policy"]], ids=lambda case: case["name"]
)
def test_placement_equals_the_vectors_of_the_policy(case):
    weight = np.array(case["weight"])
    is_hierarchical = case["policy"].endswith("hierarchical")
    place = eplb_vec(
        weight[None],
        n_ranks=case["num_gpus"],
        n_redundant=case["num_replicas"] - weight.shape[1],
        n_groups=case.get("num_groups", 1),
        ranks_per_node=case["num_gpus"] // case["num_nodes"] if is_hierarchical else None,
        is_hierarchical=is_hierarchical,
    )
    assert place.slots.tolist() == case["phy2log"]
    assert place.n_replicas.tolist() == case["logcnt"]


def test_replica_goes_to_the_expert_that_lowers_most_maxima():
    # expert 0 has the largest mean, but expert 1 is the busiest of two steps out of three
    loads = np.array([[[9.0, 1.0, 1.0]], [[3.0, 6.0, 1.0]], [[2.0, 6.0, 1.0]]])
    expert, n_replicas = replicate_by_steps(loads, n_slots=4)
    # with 0 twice: 4.5 + 6 + 6 = 16.5; with 1 twice: 9 + 3 + 3 = 15
    assert expert.tolist() == [[0, 1, 2, 1]]
    assert n_replicas.tolist() == [[1, 2, 1]]


def test_slots_are_dealt_forth_and_back():
    order = deal_serpentine(np.array([[1.0, 9, 5, 4, 3, 2]]), n_ranks=2)
    # heaviest first 1 2 3 4 5 0; dealt (1 2), (4 3), (5 0)
    assert order.tolist() == [[1, 4, 5, 2, 3, 0]]
    assert deal_serpentine(np.array([[1.0, 9.0]]), n_ranks=2).tolist() == [[0, 1]]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_experts_that_are_busy_together_make_it_better_than_the_mean(seed):
    rng = np.random.default_rng(seed)
    # each step has one hot expert of a few: the mean hides it
    loads = rng.uniform(1, 2, (24, 1, 16))
    loads[np.arange(24), 0, rng.integers(0, 4, 24)] += 30
    by_step = _sum_of_maxima(loads, eplb_vec(loads, n_ranks=4, n_redundant=8))
    by_mean = _sum_of_maxima(loads, eplb(loads.sum(axis=0), n_ranks=4, n_redundant=8))
    assert by_step <= by_mean * 1.05


def test_each_expert_keeps_a_slot_and_ties_are_spread():
    place = eplb_vec(np.full((2, 1, 16), 7.0), n_ranks=4, n_redundant=4)
    assert sorted(place.n_replicas[0].tolist()) == [1] * 12 + [2] * 4


def test_loads_that_are_no_loads_are_refused():
    for loads in (np.ones((2, 4)), np.full((1, 1, 4), -1.0), np.full((1, 1, 4), np.nan)):
        with pytest.raises(ConfigError, match="expected finite loads of at least 0"):
            eplb_vec(loads, n_ranks=2)
    with pytest.raises(ConfigError, match="expected the nodes to divide"):
        eplb_vec(np.ones((1, 1, 8)), n_ranks=4, n_groups=3, ranks_per_node=2, is_hierarchical=True)


def _sum_of_maxima(loads, place):
    per_slot = (loads / place.n_replicas)[:, 0, place.slots[0]]
    return per_slot.max(axis=1).sum()
