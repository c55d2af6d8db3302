"""What `measurement.step_tolerance` may change, as its documentation says."""

import pytest

from rackmoe.scenario.document import ScenarioDocument
from rackmoe.scenario.resolved import resolve_scenario
from rackmoe.simulation import simulate


def summary(tolerance_frac):
    """Return the figures of 64 users of gpt-oss-120b on one H200."""
    document = ScenarioDocument.model_validate(
        {
            "schema": "rackmoe/scenario/1",
            "title": "steps that take the time of steps like them",
            "hardware": {"profile": "hgx_h200", "nodes": 1},
            "model": {"name": "gpt-oss-120b", "weights": "mxfp4"},
            "backend": "trtllm-2026h1",
            "deployment": {"aggregated": {}},
            "workload": {
                "arrivals": {"closed_loop": 64},
                "lengths": {"trace": "azure_conv_2023"},
                "routing": {"generator": "deepseek_chat", "source": "sampled"},
                "requests": 600,
                "measurement": {"step_tolerance": tolerance_frac},
            },
        }
    )
    return simulate(resolve_scenario(document, name="tolerance")).summary


def test_tolerance_moves_the_figures_by_no_more_than_documented():
    exact, near, far = (summary(tolerance_frac) for tolerance_frac in (0.0, 0.02, 0.05))
    bounds = {
        "tpot_mean_s": (1e-3, 1e-3),
        "output_tokens_per_s": (1e-3, 5e-3),
        "ttft_mean_s": (3e-3, 3.5e-2),
        "tpot_p99_s": (6e-3, 1e-2),
        "ttft_p99_s": (1.2e-2, 3.2e-2),
    }
    for figure, (near_frac, far_frac) in bounds.items():
        assert near[figure] == pytest.approx(exact[figure], rel=near_frac), figure
        assert far[figure] == pytest.approx(exact[figure], rel=far_frac), figure
    # the tolerance is used at all
    assert far["tpot_mean_s"] != exact["tpot_mean_s"]
