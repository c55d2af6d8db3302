"""LAW-04 with pipelines and divided prompts, and what both are for."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Case, Shape, build

from rackmoe.metrics.checks import check_power, check_requests, check_steps
from rackmoe.scenario.resolved import load_scenario, resolve_scenario
from rackmoe.simulation import simulate

SPLIT = Case(
    backend="ideal",
    pools=(Shape(attention_dp=2, ep=2), Shape(attention_dp=2, ep=2)),
    requests=12,
    arrivals=("batch", True),
)
WHOLE = replace(SPLIT, pools=(Shape(tp=2),))
LONG = replace(SPLIT, lengths=(3000, 2), spread=(1.0, 1.0), max_tokens=4096, requests=1)


def run(case, folder, **degrees):
    scenario = build(case, folder)
    deployment = scenario.document.deployment
    changes = {}
    for role, values in degrees.items():
        pool = deployment.pools[role]
        ranks = pool.tp * pool.attention_dp * values.get("cp", 1)
        ep = ranks if pool.ep > 1 else 1
        changes[role] = pool.model_copy(update=values | {"ep": ep})
    deployment = deployment.model_copy(update=changes)
    document = scenario.document.model_copy(update={"deployment": deployment})
    return simulate(resolve_scenario(document, name="case"), seed=0)


@settings(max_examples=8)
@given(
    prefill=st.fixed_dictionaries(
        {"pp": st.sampled_from([1, 2, 3]), "cp": st.sampled_from([1, 2])}
    ),
    decode=st.fixed_dictionaries({"pp": st.sampled_from([1, 2])}),
)
def test_every_request_of_split_pools_ends(small_files, prefill, decode):
    result = run(SPLIT, small_files, prefill=prefill, decode=decode)
    requests = result.to_frame("requests")
    check_requests(requests, n_arrived=SPLIT.requests)
    assert (requests["state"] == "done").all()
    check_steps(result.to_frame("steps"))
    check_power(result.to_frame("power"))
    n_schedulers = prefill["pp"] + decode["pp"]
    assert len(result.run.replica_pools) == n_schedulers


@pytest.mark.parametrize("pp", [2, 3])
def test_a_pipeline_serves_all_with_a_part_of_the_weights_in_each_stage(small_files, pp):
    one, many = (run(WHOLE, small_files, aggregated={"pp": n}) for n in (1, pp))
    for result in (one, many):
        assert (result.to_frame("requests")["state"] == "done").all()
    weights = [result.run.plans[0].memory.weights_bytes for result in (one, many)]
    assert weights[1] < weights[0]
    # steps of the schedulers pass the stages one after the other
    steps = many.to_frame("steps")
    assert steps["replica"].nunique() == pp
    assert steps["other_s"].sum() > 0.0


def test_a_divided_prompt_comes_sooner_and_passes_its_keys_around(small_files):
    one, four = (run(LONG, small_files, prefill={"cp": n}) for n in (1, 4))
    first = [result.to_frame("steps").iloc[0] for result in (one, four)]
    assert first[1]["duration_s"] < first[0]["duration_s"]
    assert first[1]["scale_up_bytes"] > first[0]["scale_up_bytes"]
    blocks = [result.run.plans[0].limits.kv_blocks for result in (one, four)]
    assert blocks[1] > 3.9 * blocks[0]


def test_a_pipeline_remembers_prompts():
    scenario = load_scenario(
        "mooncake_prefix_cache",
        overrides={
            "deployment.prefill": {"replicas": 2, "pp": 2, "ep": 4, "attention_dp": 4},
            "workload.requests": 150,
            "workload.measurement.warm_up_requests": 0.0,
        },
    )
    result = simulate(scenario)
    requests = result.to_frame("requests")
    check_requests(requests, n_arrived=150)
    assert (requests["state"] == "done").all()
    check_steps(result.to_frame("steps"))
    assert result.summary["prefix_hit_frac"] > 0.02
