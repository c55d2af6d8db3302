"""Ways of dividing a model that do not go together are refused."""

import pytest

from rackmoe.errors import ConfigError
from rackmoe.scenario.deployment import Pool
from rackmoe.scenario.resolved import resolve_scenario

SPLIT = "prefill: {%s}, decode: {%s}"


def resolved(make_document, text, tail=""):
    return resolve_scenario(
        make_document(deployment=f"deployment: {{{text}}}", tail=tail), name="test"
    )


def test_stages_and_parts_of_contexts_have_gpus_of_their_own():
    pool = Pool(tp=2, attention_dp=3, cp=4, pp=5, replicas=2)
    assert (pool.n_attention_ranks, pool.n_gpus_per_stage) == (12, 24)
    assert (pool.n_gpus_per_replica, pool.n_gpus) == (120, 240)


def test_pipelines_and_divided_prompts_are_accepted(make_document):
    resolved(make_document, "aggregated: {pp: 4}")
    resolved(make_document, SPLIT % ("tp: 2, cp: 2, ep: 4", "pp: 2"))


@pytest.mark.parametrize(
    ("text", "tail", "problem"),
    [
        ("aggregated: {cp: 2}", "", "aggregated.cp: 2; context parallelism computes prompts only"),
        (SPLIT % ("cp: 2", "cp: 2"), "", "decode.cp: 2; context parallelism computes prompts"),
        ("aggregated: {pp: 16, replicas: 1}", "", None),
        ("aggregated: {pp: 25}", "", "pp: 25; expected at most 24, a MoE layer each; lower it"),
        (
            "aggregated: {pp: 2, two_batch_overlap: true}",
            "",
            "pp: 2 together with two_batch_overlap is not modeled; remove one of them",
        ),
        (
            "aggregated: {pp: 2, replicas: 2}",
            "simulation: {faults: [{kind: gpu}]}",
            "pp: 2 together with simulation.faults is not modeled",
        ),
        (
            "aggregated: {pp: 2}, preemption: {policy: swap}",
            "",
            "pp: 2 together with deployment.preemption: swap is not modeled",
        ),
        (
            SPLIT % ("cp: 2", "tp: 1") + ", start_up: {}",
            "",
            "cp: 2 together with deployment.start_up is not modeled",
        ),
        (SPLIT % ("cp: 2, ep: 4", "tp: 1"), "", r"tp x cp x attention_dp = 2; write ep: 2"),
    ],
)
def test_what_is_not_modeled_is_refused(make_document, text, tail, problem):
    if problem is None:
        resolved(make_document, text, tail)
        return
    with pytest.raises(ConfigError, match=problem):
        resolved(make_document, text, tail)
