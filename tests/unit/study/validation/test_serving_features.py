import json
from dataclasses import asdict
from types import SimpleNamespace

import pandas as pd
import pytest

from rackmoe.records import Pool
from rackmoe.study.validation.serving_features import step_features

STEPS = pd.DataFrame(
    {
        "pool": ["aggregated"] * 4,
        "n_prefill_tokens": [100, 0, 0, 60],
        "n_decode_tokens": [0, 16, 16, 8],
        "n_sequences": [0, 8, 8, 4],
        "gpu_busy_s": [0.5, 0.01, 0.02, 0.3],
    }
)


@pytest.fixture
def features():
    tables = {"steps": STEPS, "requests": pd.DataFrame({"request_id": [0, 1]})}
    plan = SimpleNamespace(role=Pool.AGGREGATED, pool=SimpleNamespace(attention_dp=2))
    run = SimpleNamespace(records=SimpleNamespace(to_frame=tables.__getitem__), plans=[plan])
    deployment = SimpleNamespace(pools={"aggregated": plan.pool})
    scenario = SimpleNamespace(
        document=SimpleNamespace(deployment=deployment), arch=SimpleNamespace(n_layers=61)
    )
    return step_features(scenario, run=run)


def test_steps_are_told_apart_by_their_prompts(features):
    assert features.decode_busy_s == (0.01, 0.02)
    assert features.mixed_busy_s == (0.5, 0.3)
    assert features.prompt_busy_s == (0.5, 0.3)
    assert features.decode_sequences == (4.0, 4.0)  # of each of two attention groups
    assert features.mixed_sequences == (0.0, 2.0)


def test_prompts_alone_keep_the_usual_number_of_sequences_waiting(features):
    # 8 wait for the step of prompts alone, 4 for the mixed one; 16 decode without prompts
    assert features.mixed_share == pytest.approx(12 / 28)


def test_a_prompt_takes_its_tokens_over_those_of_a_group_in_a_step(features):
    # 80 tokens for each of two requests; a group takes at most 50 of them in a step
    assert features.prompt_steps == 2
    assert features.tokens_per_step == pytest.approx(40 / 20)


def test_features_come_back_from_json(features):
    again = type(features).from_json(json.loads(json.dumps(asdict(features))))
    assert again == features
