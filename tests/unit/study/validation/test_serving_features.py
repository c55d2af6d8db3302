import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from rackmoe.records import Pool
from rackmoe.study.validation.serving_features import row_features

# One replica with two attention groups: a prompt alone, two decode steps, a prompt beside
# decoding, and 10 ms of idle time before the last.
STEPS = pd.DataFrame(
    {
        "replica": [0] * 4,
        "pool": ["aggregated"] * 4,
        "start_s": [0.0, 0.5, 0.51, 0.54],
        "duration_s": [0.5, 0.01, 0.02, 0.3],
        "n_prefill_tokens": [100, 0, 0, 60],
        "n_sequences": [0, 8, 8, 4],
        "gpu_busy_s": [0.5, 0.01, 0.02, 0.3],
        "dispatch_s": [0.1, 0.0, 0.0, 0.0],
        "combine_s": [0.1, 0.0, 0.01, 0.0],
    }
)
REQUESTS = pd.DataFrame(
    {
        "request_id": [0, 1, 2],
        "arrival_s": [0.0, 0.5, 0.6],
        "first_token_s": [0.5, 0.84, np.nan],
        "prefill_end_s": [0.5, 0.84, np.nan],
        "last_token_s": [0.53, 0.84, np.nan],
        "prefill_replica": [0, 0, 0],
        "decode_replica": [0, 0, -1],
        "n_output_tokens": [3, 1, 0],
    }
)


def build(requests=REQUESTS):
    tables = {"steps": STEPS, "requests": requests}
    plan = SimpleNamespace(role=Pool.AGGREGATED, pool=SimpleNamespace(attention_dp=2))
    run = SimpleNamespace(records=SimpleNamespace(to_frame=tables.__getitem__), plans=[plan])
    host = SimpleNamespace(request_s=SimpleNamespace(value=0.0))
    scenario = SimpleNamespace(
        host=host,
        arch=SimpleNamespace(n_layers=61, dtypes=SimpleNamespace(routed_expert="nvfp4")),
    )
    n_ended = int(requests["last_token_s"].notna().sum())
    return row_features(scenario, run=run, weights=np.array([1.0, 9.0])[:n_ended], n_burst=1)


@pytest.fixture
def features():
    return build()


def test_steps_are_told_apart_by_prompts_and_duration(features):
    assert features.has_prompts == (True, True, False, False)
    assert features.busy_s == (0.3, 0.5, 0.01, 0.02)
    assert features.n_steps == (1.0, 1.0, 1.0, 1.0)
    assert features.sequences == (2.0, 0.0, 4.0, 4.0)  # of each of two attention groups
    assert features.compute_frac == (1.0, 0.6, 1.0, 0.5)


def test_requests_wait_for_the_steps_between_their_times(features):
    assert features.first.counts == ((0.0, 1.0, 0.0, 0.0), (1.0, 0.0, 1.0, 1.0))
    assert features.first.rest_s == pytest.approx((0.0, 0.01))  # nothing ran for 10 ms
    assert features.output.counts[0] == (0.0, 0.0, 1.0, 1.0)
    assert features.n_steps_out == (2.0, 1.0)


def test_a_step_that_runs_counts_in_part():
    late = REQUESTS.assign(arrival_s=[0.25, 0.5, 0.6])
    assert build(late).first.counts[0] == (0.0, 0.5, 0.0, 0.0)


def test_requests_that_did_not_end_tell_nothing(features):
    assert features.weights == (1.0, 9.0)
    assert build(REQUESTS.assign(last_token_s=np.nan)) is None


def test_features_come_back_from_json(features):
    again = type(features).from_json(json.loads(json.dumps(asdict(features))))
    assert again == features
