import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.errors import ConfigError
from rackmoe.routing.eplb import eplb, pack_balanced, replicate

CASES = json.loads(
    (Path(__file__).parents[2] / "data" / "routing" / "eplb_vectors.json").read_text()
)["cases"]
POLICIES = {"hierarchical": True, "global": False}


def solve(case):
    is_hierarchical = POLICIES[case["policy"]]
    per_node = case["num_gpus"] // case["num_nodes"] if is_hierarchical else None
    weight = np.array(case["weight"])
    return eplb(
        weight,
        n_ranks=case["num_gpus"],
        n_redundant=case["num_replicas"] - weight.shape[1],
        n_groups=case["num_groups"],
        ranks_per_node=per_node,
        is_hierarchical=is_hierarchical,
    )


def share(case, slots):
    """Load of each slot; experts with equal loads are equal here."""
    weight, n_replicas = np.array(case["weight"]), np.array(case["logcnt"])
    return np.take_along_axis(weight / n_replicas, np.asarray(slots, np.int64), axis=1)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["policy"] in POLICIES], ids=lambda case: case["name"]
)
def test_placement_equals_the_reference_but_for_ties(case):
    place = solve(case)
    assert place.n_replicas.sum() == np.array(case["logcnt"]).sum()
    if case["name"] == "ties_all_equal":
        assert sorted(place.n_replicas[0]) == sorted(case["logcnt"][0])
        return
    assert place.n_replicas.tolist() == case["logcnt"]
    assert (share(case, place.slots) == share(case, case["phy2log"])).all()
    for layer, weight in enumerate(case["weight"]):
        if len(set(weight)) == len(weight) or case["name"] == "zeros_and_hot":
            assert place.slots[layer].tolist() == case["phy2log"][layer]


def test_items_fill_the_lightest_pack_that_has_room():
    pack, place = pack_balanced(np.array([[9, 1, 5, 4]], np.float32), n_packs=2)
    # 9 to the first, 5 to the second, 4 to the second (5 < 9), 1 to the first: it alone has room
    assert pack.tolist() == [[0, 0, 1, 1]]
    assert place.tolist() == [[0, 1, 0, 1]]


def test_one_item_per_pack_stays_where_it_is():
    pack, place = pack_balanced(np.array([[1, 2, 3]], np.float32), n_packs=3)
    assert pack.tolist() == [[0, 1, 2]]
    assert place.tolist() == [[0, 0, 0]]


def test_replicas_go_to_the_highest_load_per_replica():
    expert, n_replicas = replicate(np.array([[8, 5, 1]], np.float32), n_slots=6)
    # 8 -> 4, 5 -> 2.5, then 8/2 = 4 -> 8/3
    assert expert.tolist() == [[0, 1, 2, 0, 1, 0]]
    assert n_replicas.tolist() == [[3, 2, 1]]


@given(seed=st.integers(0, 10**6), n_redundant=st.sampled_from([0, 8, 16]))
@settings(max_examples=20, deadline=None)
def test_eplb_never_loads_a_rank_more_than_contiguous_experts(seed, n_redundant):
    weight = np.random.default_rng(seed).lognormal(0, 1, (2, 32))
    place = eplb(weight, n_ranks=8, n_redundant=n_redundant)
    load = np.take_along_axis(weight / place.n_replicas, place.slots.astype(int), axis=1)
    balanced = load.reshape(2, 8, -1).sum(axis=2).max(axis=1)
    plain = weight.reshape(2, 8, -1).sum(axis=2).max(axis=1)
    assert (balanced <= plain * (1 + 1e-6)).all()


def test_relabeled_experts_are_placed_alike():
    rng = np.random.default_rng(3)
    weight = rng.lognormal(0, 1, (1, 32))
    label = rng.permutation(32)
    relabeled = np.empty_like(weight)
    relabeled[0, label] = weight[0]
    one = eplb(weight, n_ranks=8, n_redundant=8).slots[0]
    other = eplb(relabeled, n_ranks=8, n_redundant=8).slots[0]
    assert (label[one] == other).all()


def test_hierarchical_variant_keeps_groups_on_their_node():
    weight = np.random.default_rng(0).random((1, 16))
    place = eplb(weight, n_ranks=4, n_groups=4, ranks_per_node=2, n_redundant=4)
    by_node = place.slots.reshape(2, -1) // 4
    assert not set(by_node[0].tolist()) & set(by_node[1].tolist())


@pytest.mark.parametrize(
    ("weight", "options", "match"),
    [
        ([[1.0, np.nan]], {"n_ranks": 1}, "expected finite loads"),
        ([[1.0, -1.0]], {"n_ranks": 1}, "at least 0"),
        ([1.0, 1.0], {"n_ranks": 1}, "expected finite loads"),
        ([[1.0] * 8], {"n_ranks": 3}, "3 does not divide 8"),
        (
            [[1.0] * 8],
            {"n_ranks": 8, "ranks_per_node": 2, "n_groups": 2, "is_hierarchical": True},
            "2 groups on 4 nodes",
        ),
    ],
)
def test_impossible_balancing_is_refused(weight, options, match):
    with pytest.raises(ConfigError, match=match):
        eplb(np.array(weight), **options)
