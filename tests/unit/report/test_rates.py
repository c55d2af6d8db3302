"""Proposed pool sizes as a table."""

from rackmoe.report.rates import rates_frame
from rackmoe.study.rate_matching import PoolRate, RateMatch

MATCH = RateMatch(
    arrival_requests_per_s=10.0,
    input_tokens_mean=1000.0,
    output_tokens_mean=100.0,
    prefill=PoolRate(requests_per_s=4.0, step_s=0.1, sequences_per_group=2),
    decode=PoolRate(requests_per_s=8.0, step_s=0.02, sequences_per_group=64),
    n_prefill=4,
    n_decode=2,
    n_gpus=24,
    figures={"tpot_p50_s": 0.019, "n_done": 5.0},
)


def test_every_quantity_has_a_row():
    frame = rates_frame(MATCH)
    values = dict(zip(frame["quantity"], frame["value"], strict=True))
    assert values["prefill.replicas"] == 4
    assert values["decode.requests_per_s_per_replica"] == 8.0
    assert values["run.tpot_p50_s"] == 0.019
    assert "run.n_done" not in values
