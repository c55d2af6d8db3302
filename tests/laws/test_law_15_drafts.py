"""LAW-15 for drafts: rejected drafts only cost time, accepted ones bring a token each."""

from dataclasses import replace

import numpy as np
import pytest

from rackmoe.backend.profile import BackendProfile
from rackmoe.scenario.document import ScenarioDocument
from rackmoe.scenario.resolved import Scenario, resolve_scenario
from rackmoe.simulation import simulate

N_DRAFTS = 3
OUTPUT = 41


def _scenario(*, drafts: int, acceptance: float, tolerance: float = 0.0) -> Scenario:
    document = ScenarioDocument.model_validate(
        {
            "schema": "rackmoe/scenario/1",
            "title": "drafts",
            "hardware": {"profile": "hgx_h200", "nodes": 1},
            "model": {"name": "deepseek-r1", "weights": "fp8"},
            "backend": "trtllm-2026h1",
            "deployment": {"aggregated": {"tp": 8, "draft_tokens": drafts}},
            "workload": {
                "arrivals": {"closed_loop": 2},
                "lengths": {"input": 64, "output": OUTPUT},
                "routing": {"uniform": True},
                "requests": 4,
                "measurement": {"step_tolerance_frac": tolerance},
            },
        }
    )
    scenario = resolve_scenario(document, name="drafts")
    return _replace_backend(scenario, acceptance)


def _replace_backend(scenario: Scenario, acceptance: float) -> Scenario:
    plain = scenario.backend.model_dump(mode="python")
    plain["speculation"]["acceptance_frac"]["value"] = (acceptance,)
    return replace(scenario, backend=BackendProfile.model_validate(plain))


def _decode_steps(scenario: Scenario):
    steps = simulate(scenario).to_frame("steps")
    return steps[steps["n_prefill_tokens"] == 0]


@pytest.mark.parametrize("tolerance", [0.0, 0.03])
def test_rejected_drafts_cost_time_and_bring_nothing(tolerance):
    plain = _decode_steps(_scenario(drafts=0, acceptance=0.0, tolerance=tolerance))
    drafted = _decode_steps(_scenario(drafts=N_DRAFTS, acceptance=0.0, tolerance=tolerance))
    assert (drafted["n_decode_tokens"] == drafted["n_sequences"]).all()
    assert len(drafted) == len(plain)
    assert drafted["duration_s"].mean() > plain["duration_s"].mean()
    assert drafted["flop"].sum() > plain["flop"].sum()


@pytest.mark.parametrize("tolerance", [0.0, 0.03])
def test_accepted_drafts_bring_one_token_each(tolerance):
    scenario = _scenario(drafts=N_DRAFTS, acceptance=1.0, tolerance=tolerance)
    drafted = _decode_steps(scenario)
    tokens = drafted["n_decode_tokens"].to_numpy()
    # prompts emit the first token, and 40 tokens are 10 full steps
    assert np.array_equal(tokens, drafted["n_sequences"].to_numpy() * (1 + N_DRAFTS))
    requests = simulate(scenario).to_frame("requests")
    assert (requests["n_output_tokens"] == OUTPUT).all()
