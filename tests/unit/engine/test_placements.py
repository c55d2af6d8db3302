import numpy as np
import pytest

from rackmoe.engine.placements import SeenRouting, build_placement
from rackmoe.errors import ConfigError
from rackmoe.routing.exporters.exporting import export_placement
from rackmoe.routing.families import STATISTICS
from rackmoe.routing.placement import round_robin
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.tokens import generate_token_trace
from rackmoe.routing.traces import count_experts

SHAPE = MoeShape(n_layers=2, n_experts=16, top_k=2, n_groups=4, top_groups=4)
POLICIES = ("eplb", "eplb_global", "eplb_hierarchical", "eplb_vec", "affinity")


@pytest.fixture(scope="module")
def seen():
    trace = generate_token_trace(
        STATISTICS["deepseek_narrow"],
        shape=SHAPE,
        n_tokens=2000,
        n_requests=20,
        rng=np.random.default_rng(0),
    )
    rows = np.arange(2000)
    load = count_experts(trace, rows=rows).astype(float)
    return SeenRouting(load=load, trace=trace, rows=rows)


def place(policy, seen, **changes):
    group = {"n_ranks": 4, "n_redundant": 4, "ranks_per_node": 2, "moe_layer_ids": (3, 4)}
    return build_placement(policy, seen=seen, shape=SHAPE, **(group | changes))


def imbalance(found, load):
    share = np.take_along_axis(load / found.n_replicas, found.slots.astype(int), axis=1)
    per_rank = share.reshape(2, found.n_ranks, -1).sum(axis=2)
    return float((per_rank.max(axis=1) / per_rank.mean(axis=1)).mean())


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_that_see_loads_balance_them(seen, policy):
    found = place(policy, seen)
    assert found.n_physical == 20
    assert imbalance(found, seen.load) < imbalance(place("contiguous", seen), seen.load)


def test_hierarchical_keeps_the_groups_of_the_gate_on_a_node(seen):
    halves = place("eplb_hierarchical", seen).slots.reshape(2, 2, -1) // 4
    for layer in halves:
        assert not set(layer[0].tolist()) & set(layer[1].tolist())
    assert (place("eplb", seen).slots == place("eplb_hierarchical", seen).slots).all()
    assert (place("eplb_global", seen).slots != place("eplb", seen).slots).any()


def test_groups_that_nodes_do_not_divide_are_refused_by_name(seen):
    with pytest.raises(ConfigError, match=r"experts\.placement: eplb: 4 groups on 5 nodes"):
        place("eplb_hierarchical", seen, n_ranks=10, ranks_per_node=2)


@pytest.mark.parametrize("policy", ["eplb_vec", "affinity"])
def test_policies_that_need_tokens_say_so(seen, policy):
    counts = SeenRouting(load=seen.load, rows=np.empty(0, np.int64))
    with pytest.raises(ConfigError, match=r"experts\.placement: this routing has counts"):
        place(policy, counts)


@pytest.mark.parametrize("policy", ["round_robin", *POLICIES])
def test_one_rank_holds_all_experts(seen, policy):
    one = place(policy, seen, n_ranks=1, ranks_per_node=1)
    assert one.n_ranks == 1


@pytest.mark.parametrize(
    ("engine", "name"), [("sglang", "map.json"), ("tensorrt_llm", "balancer.yaml")]
)
def test_placement_of_an_engine_is_taken_as_it_is(seen, tmp_path, engine, name):
    dealt = round_robin(16, n_layers=2, n_ranks=4, ranks_per_node=2, n_redundant=4)
    export_placement(dealt, path=tmp_path / name, format=engine, moe_layer_ids=(3, 4))
    assert (place(tmp_path / name, seen).slots == dealt.slots).all()


def test_file_that_does_not_fit_is_refused(seen, tmp_path):
    dealt = round_robin(16, n_layers=2, n_ranks=4, n_redundant=8)
    path = tmp_path / "map.json"
    export_placement(dealt, path=path, format="sglang", moe_layer_ids=(3, 4))
    with pytest.raises(ConfigError, match=r"map\.json: 2 layers of 24 slots; expected 2 of 20"):
        place(path, seen)
    with pytest.raises(ConfigError, match=r"experts\.placement: gone\.json"):
        place(tmp_path / "gone.json", seen)
