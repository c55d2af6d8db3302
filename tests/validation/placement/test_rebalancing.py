"""When moving experts during a run pays: DeepSeek-R1 decoding over 16 GPUs of a rack."""

import pytest

from rackmoe.scenario.document import ScenarioDocument
from rackmoe.scenario.resolved import resolve_scenario
from rackmoe.simulation import simulate

RATE = "output_tokens_per_s_per_gpu"


def ran(*, placement, rebalance=None, domain_sd=None, n_output=60):
    routing = {"generator": "deepseek_narrow"}
    if domain_sd is not None:
        routing["drift"] = {"domains": 4, "domain_sd": domain_sd, "mix_sd": 2.0, "memory_s": 4.0}
    pool = {"ep": 16, "attention_dp": 16, "redundant_experts": 16, "max_batch_per_rank": 256}
    document = {
        "schema": "rackmoe/scenario/1",
        "title": "decode of one batch",
        "hardware": {"profile": "gb200_nvl72", "racks": 1},
        "model": {"name": "deepseek-r1", "weights": "nvfp4"},
        "backend": "trtllm-2026h1",
        "deployment": {"aggregated": pool},
        "experts": {"placement": placement, "rebalance": rebalance},
        "workload": {
            "arrivals": {"batch": True},
            "lengths": {"input": 64, "output": n_output, "spread": (1.0, 1.0)},
            "routing": routing,
            "requests": 16 * 256,
            "is_prefilled": True,
        },
    }
    return simulate(resolve_scenario(ScenarioDocument(**document), name="decode"))


@pytest.fixture(scope="module")
def balanced():
    return ran(placement="eplb")


def test_one_rebalance_brings_contiguous_experts_to_about_eplb(balanced):
    once = {"every_steps": 10, "window_steps": 10, "least_imbalance": 1.1}
    result = ran(placement="contiguous", rebalance=once)
    assert len(result.to_frame("rebalances")) == 1
    imbalance = result.to_frame("steps")["imbalance"]
    assert imbalance.iloc[:10].mean() > 1.6
    end = balanced.to_frame("steps")["imbalance"].iloc[-30:].mean()
    assert imbalance.iloc[-30:].mean() == pytest.approx(end, rel=0.02)
    never = ran(placement="contiguous")
    assert never.summary[RATE] < result.summary[RATE] < balanced.summary[RATE]


def test_with_drift_rebalancing_beats_a_balance_that_was_right_once():
    follow = {"every_steps": 5, "window_steps": 5, "path": "host", "least_imbalance": 1.1}
    static = ran(placement="eplb", domain_sd=1.0, n_output=120)
    moving = ran(placement="eplb", domain_sd=1.0, n_output=120, rebalance=follow)
    assert moving.summary["imbalance_mean"] < 0.93 * static.summary["imbalance_mean"]
    assert moving.summary[RATE] > 1.01 * static.summary[RATE]


def test_without_much_drift_moves_cost_more_than_they_gain():
    always = {"every_steps": 10, "window_steps": 10, "path": "host", "blocks_steps": True}
    static = ran(placement="eplb", domain_sd=0.02)
    moving = ran(placement="eplb", domain_sd=0.02, rebalance=always)
    stall_s = moving.to_frame("rebalances")["stall_s"].sum()
    assert moving.summary[RATE] < 0.9 * static.summary[RATE]
    # every second that is lost is a second of stall
    assert moving.run.end_s - static.run.end_s == pytest.approx(stall_s, rel=0.02)
