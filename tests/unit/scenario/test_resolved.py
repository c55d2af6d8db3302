"""Scenarios with everything that they name."""

import pytest

from rackmoe.errors import CapacityError, ConfigError
from rackmoe.scenario.resolved import load_scenario, resolve_scenario


def resolved(make_document, **changes):
    return resolve_scenario(make_document(**changes), name="case")


def test_a_scenario_knows_machine_model_and_backend(make_document):
    scenario = resolved(make_document)
    assert scenario.machine.name == "hgx_h200"
    assert scenario.arch.name == "gpt-oss-20b"
    assert scenario.backend.name == "ideal"
    assert (scenario.n_domains, scenario.n_gpus) == (2, 16)
    assert dict(scenario.variants) == {}


def test_hosts_are_those_beside_the_gpu_for_the_weights(make_document):
    scenario = resolved(make_document, backend="backend: trtllm-2026h1")
    assert scenario.host == scenario.backend.host_on("h200", weights="mxfp4")


def test_one_rack_or_node_is_meant_where_no_number_is_given(make_document):
    scenario = resolved(make_document, hardware="hardware: {profile: gb200_nvl72}")
    assert (scenario.n_domains, scenario.n_gpus) == (1, 72)


def test_overrides_change_the_machine(make_document):
    scenario = resolved(
        make_document,
        hardware="hardware: {profile: hgx_h200, overrides: {gpu.hbm_bandwidth: 2 TB/s}}",
    )
    assert scenario.machine.gpu.hbm_bandwidth_bytes_per_s == 2e12


@pytest.mark.parametrize(
    ("model", "kv", "dispatch", "combine"),
    [
        # what the weights of routed experts are multiplied with, unless the scenario says
        ("{name: deepseek-r1}", "fp8", "fp8_block", "bf16"),
        ("{name: deepseek-r1, weights: nvfp4}", "fp8", "nvfp4", "bf16"),
        ("{name: mixtral-8x7b}", "fp8", "bf16", "bf16"),
        ("{name: mixtral-8x7b, kv_cache: bf16}", "bf16", "bf16", "bf16"),
        ("{name: mixtral-8x7b, dispatch: fp8, combine: fp8}", "fp8", "fp8", "fp8"),
    ],
)
def test_formats_follow_from_weights_and_backend(make_document, model, kv, dispatch, combine):
    scenario = resolved(
        make_document, model=f"model: {model}", deployment="deployment: {aggregated: {}}"
    )
    assert scenario.kv_dtype == kv
    assert scenario.dispatch_dtype == dispatch
    assert scenario.combine_dtype == combine
    assert scenario.n_ranks(scenario.document.deployment.aggregated) == 1


def test_degrees_that_do_not_divide_are_all_reported(make_document):
    with pytest.raises(ConfigError) as caught:
        resolved(
            make_document,
            deployment=(
                "deployment: {prefill: {ep: 3, attention_dp: 3}, "
                "decode: {tp: 3, redundant_experts: 2}}"
            ),
        )
    first, second, third = caught.value.problems
    assert first == (
        "case: deployment.prefill.ep: 3 does not divide 32 physical experts; "
        "nearest valid: 2, 4; or raise redundant_experts by 1"
    )
    assert "decode.redundant_experts: 2 with ep 1; copies help only where" in second
    assert third.startswith("case: deployment.decode.")
    assert "heads" in third


def test_more_ranks_than_experts_names_the_largest_valid(make_document):
    with pytest.raises(ConfigError, match=r"40 does not divide 32 .* nearest valid: 32, 32"):
        resolved(make_document, deployment="deployment: {aggregated: {ep: 40, attention_dp: 40}}")


@pytest.mark.parametrize(
    ("hardware", "remedy"),
    [
        ("{profile: hgx_h200, nodes: 1}", "raise hardware to 2 nodes"),
        ("{profile: hgx_h200}", "raise hardware to 2 racks"),
    ],
)
def test_more_gpus_than_there_are_do_not_fit(make_document, hardware, remedy):
    with pytest.raises(
        CapacityError, match=f"case: deployment: 16 GPUs used, 8 are there; .*{remedy}"
    ):
        resolved(
            make_document,
            hardware=f"hardware: {hardware}",
            deployment="deployment: {aggregated: {tp: 8, replicas: 2}}",
        )


def test_variants_are_resolved_with_the_file(write_scenario):
    tail = "variants:\n  rack: {hardware: {profile: gb200_nvl72, racks: 1}}\n"
    scenario = load_scenario(write_scenario(tail=tail))
    assert scenario.name == "mine"
    (variant,) = scenario.variants.values()
    assert (variant.name, variant.machine.name) == ("rack", "gb200_nvl72")


def test_problems_of_all_variants_are_reported_at_once(write_scenario):
    tail = "variants:\n  a: {backend: idael}\n  b: {model.name: gpt-oss-30b}\n"
    with pytest.raises(ConfigError) as caught:
        load_scenario(write_scenario(tail=tail))
    assert len(caught.value.problems) == 2
    assert "idael" in caught.value.problems[0]
    assert "gpt-oss-30b" in caught.value.problems[1]


def test_overrides_reach_every_variant(write_scenario):
    path = write_scenario(tail="variants:\n  other: {title: another}\n")
    scenario = load_scenario(path, overrides={"model.kv_cache": "bf16"})
    assert scenario.kv_dtype == scenario.variants["other"].kv_dtype == "bf16"
