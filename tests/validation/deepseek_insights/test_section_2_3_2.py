"""The time of a decode step that DeepSeek's own arithmetic gives for two networks."""

from functools import cache
from pathlib import Path

import pytest
import yaml

from rackmoe.network.bound import communication_bound_s
from rackmoe.scenario.resolved import load_scenario
from rackmoe.simulation import simulate

TABLE = yaml.safe_load(Path(__file__).with_name("section_2_3_2.yaml").read_text(encoding="utf-8"))


@cache
def results():
    base = load_scenario(TABLE["scenario"])
    return {one.name: simulate(one) for one in (base, *base.variants.values())}


@pytest.mark.parametrize("point", TABLE["points"], ids=lambda point: point["variant"])
def test_a_step_takes_what_the_expert_traffic_takes(point):
    result = results()[point["variant"]]
    for statistic in ("tpot_p50_s", "tpot_p99_s"):
        assert result.summary[statistic] * 1e3 == pytest.approx(
            point["tpot_ms"], rel=TABLE["tolerance"]
        )
    steps = result.to_frame("steps")
    decode = steps[steps["n_decode_tokens"] > 0]
    # two micro-batches of 32 tokens on each of 64 GPUs, nothing but traffic
    assert (decode["n_sequences"] == 64 * 64).all()
    assert decode["dispatch_s"].to_numpy() == pytest.approx(decode["duration_s"].to_numpy())


@pytest.mark.parametrize("point", TABLE["points"], ids=lambda point: point["variant"])
def test_the_simulated_step_is_the_closed_form(point):
    bound_s = communication_bound_s(
        32,
        n_layers=61,
        n_destinations=9,
        hidden=7000,
        bytes_per_element=1 + 2,
        bandwidth_bytes_per_s=point["bandwidth_gb_per_s"] * 1e9,
    )
    result = results()[point["variant"]]
    assert result.summary["tpot_p50_s"] == pytest.approx(bound_s, rel=1e-6)
