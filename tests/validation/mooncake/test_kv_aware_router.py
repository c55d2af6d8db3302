"""Mooncake's conversations on several prefill replicas: what a router that knows the caches gains.

The trace's own paper routes by cache and load (R. Qin et al., "Mooncake: trading more storage for
less computation," FAST 2025, section 6); the test asks for the direction, not for its numbers.
"""

import pytest

from rackmoe.scenario.resolved import load_scenario
from rackmoe.simulation import simulate


@pytest.fixture(scope="module")
def results():
    found = {}
    for policy in ("round_robin", "least_loaded", "kv_aware"):
        scenario = load_scenario(
            "mooncake_prefix_cache",
            overrides={
                "deployment.prefill.replicas": 4,
                "deployment.prefill.ep": 8,
                "deployment.prefill.attention_dp": 8,
                "deployment.router.policy": policy,
                "workload.requests": 400,
            },
        )
        found[policy] = simulate(scenario)
    return found


def test_a_router_that_knows_the_caches_finds_more_of_the_prompts(results):
    hit_frac = {name: one.summary["prefix_hit_frac"] for name, one in results.items()}
    assert hit_frac["kv_aware"] > 1.3 * hit_frac["least_loaded"]
    assert hit_frac["kv_aware"] > 1.3 * hit_frac["round_robin"]


def test_and_so_the_first_token_comes_earlier(results):
    ttft_s = {name: one.summary["ttft_mean_s"] for name, one in results.items()}
    assert ttft_s["kv_aware"] < ttft_s["least_loaded"] < ttft_s["round_robin"]


def test_the_result_says_what_the_router_expected(results):
    assert "kv_aware, overlap weight 1" in results["kv_aware"].provenance["router"]
    assert "router" not in results["least_loaded"].provenance
