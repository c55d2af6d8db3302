"""Proposed pool sizes as a table."""

from dataclasses import replace

import numpy as np

from rackmoe.report.rates import rates_frame, sizes_frame
from rackmoe.study.pool_sizes import PoolSizes
from rackmoe.study.rate_matching import PoolRate, RateMatch

SIZES = PoolSizes(
    n_prefill=4,
    n_decode=2,
    n_gpus=24,
    predicted_ttft_p99_s=0.5,
    predicted_tpot_s=0.02,
    figures={"tpot_p50_s": 0.019, "n_done": 5.0},
)
MATCH = RateMatch(
    arrival_requests_per_s=10.0,
    input_tokens_mean=1000.0,
    output_tokens_mean=100.0,
    prefill=PoolRate(requests_per_s=4.0, step_s=0.1, sequences_per_group=2),
    decode=PoolRate(requests_per_s=8.0, step_s=0.02, sequences_per_group=64),
    chosen=SIZES,
    tried=(SIZES, replace(SIZES, figures={}, is_met=False)),
)


def test_every_quantity_has_a_row():
    frame = rates_frame(MATCH)
    values = dict(zip(frame["quantity"], frame["value"], strict=True))
    assert values["prefill.replicas"] == 4
    assert values["decode.requests_per_s_per_replica"] == 8.0
    assert values["run.tpot_p50_s"] == 0.019
    assert "run.n_done" not in values


def test_what_was_tried_stands_beside_its_prediction():
    frame = sizes_frame(MATCH)
    assert frame["prefill_replicas"].tolist() == [4, 4]
    assert frame["predicted_tpot_s"].tolist() == [0.02, 0.02]
    assert frame["tpot_p50_s"][0] == 0.019
    assert np.isnan(frame["tpot_p50_s"][1])
    assert frame["is_met"].tolist() == [True, False]
