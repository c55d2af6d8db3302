"""How GPUs are divided into replicas and pools."""

import pytest

from rackmoe.errors import ConfigError
from rackmoe.scenario.deployment import Deployment, Experts, PlacementFile, Pool


def test_a_replica_has_the_gpus_of_its_attention_groups():
    pool = Pool(replicas=3, tp=2, attention_dp=4, ep=8)
    assert (pool.n_gpus_per_replica, pool.n_gpus) == (8, 24)
    assert Pool().n_gpus == 1


@pytest.mark.parametrize("ep", [1, 8])
def test_experts_are_whole_on_all_gpus_or_split_over_all(ep):
    assert Pool(tp=2, attention_dp=4, ep=ep).ep == ep


def test_another_degree_of_expert_parallelism_is_refused(make_document):
    with pytest.raises(
        ConfigError, match=r"ep: 4 differs from tp x attention_dp = 8; write ep: 8, or ep: 1"
    ):
        make_document(deployment="deployment: {aggregated: {ep: 4, tp: 8}}")


def test_pools_are_named_in_the_order_of_a_request():
    split = Deployment(prefill=Pool(tp=2), decode=Pool(replicas=2, tp=4))
    assert list(split.pools) == ["prefill", "decode"]
    assert split.n_gpus == 2 + 8
    assert list(Deployment(aggregated=Pool()).pools) == ["aggregated"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{prefill: {tp: 2}}", "'decode' is missing; a split deployment has both pools"),
        ("{decode: {tp: 2}}", "'prefill' is missing"),
        ("{}", "write either 'aggregated', or both 'prefill' and 'decode'"),
        ("{aggregated: {}, prefill: {}, decode: {}}", "write either 'aggregated'"),
        ("{aggregated: {tp: 0}}", "deployment.aggregated.tp: '?0'?"),
        ("{aggregated: {max_batch_per_rank: 5000}}", "max_batch_per_rank: '?5000'?"),
    ],
)
def test_incomplete_deployments_are_refused(make_document, text, problem):
    with pytest.raises(ConfigError, match=problem):
        make_document(deployment=f"deployment: {text}")


def test_experts_stay_where_they_are_unless_asked():
    assert Experts().placement == "contiguous"
    assert Experts(placement="eplb", balance_on_frac=0.5).balance_on_frac == 0.5


def test_placement_is_a_policy_or_a_file(make_document):
    assert make_document(experts="experts: {placement: eplb_vec}").experts.placement == "eplb_vec"
    given = make_document(experts="experts: {placement: {file: map.json}}").experts.placement
    assert given == PlacementFile(file="map.json")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("eplbb", "expected one of 'contiguous'.*or a mapping with file; did you mean 'eplb'"),
        ("{fil: a}", r"placement\.fil: unknown key; did you mean 'file'"),
        ("{file: ''}", r"placement\.file"),
    ],
)
def test_misspelt_placements_are_refused(make_document, text, problem):
    with pytest.raises(ConfigError, match=problem):
        make_document(experts=f"experts: {{placement: {text}}}")
