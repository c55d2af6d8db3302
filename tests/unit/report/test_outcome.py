import pytest

from rackmoe.report.outcome import outcome_of
from rackmoe.study.validation.validity import run_validity


def test_outcome_holds_figures_latencies_breakdown_and_loads(make_result):
    outcome = outcome_of(make_result(seed=3))
    assert (outcome.name, outcome.machine, outcome.n_gpus) == ("tiny", "hgx_h200", 8)
    assert outcome.seed == 3
    assert outcome.summary["ttft_p50_s"] == 0.5
    assert outcome.warnings == ("a warning",)


def test_latencies_are_those_of_requests_that_are_done(make_result):
    latencies = outcome_of(make_result()).latencies
    assert latencies["ttft_s"].tolist() == [0.5]
    assert latencies["tpot_s"].tolist() == [pytest.approx(0.1, rel=1e-12)]


def test_expert_loads_are_over_the_mean_of_their_layer(make_result):
    loads = outcome_of(make_result()).expert_loads
    assert loads.index.tolist() == [3]
    assert loads.loc[3].tolist() == [1.5, 0.5]


def test_breakdown_is_by_pool_and_per_step(make_result):
    breakdown = outcome_of(make_result()).breakdown.set_index(["pool", "part"])
    assert breakdown.loc[("decode", "expert"), "time_per_step_s"] == pytest.approx(0.03, rel=1e-12)
    assert set(breakdown.index.get_level_values("pool")) == {"prefill", "decode"}


def test_an_outcome_says_how_far_it_can_be_trusted(make_result):
    result = make_result()
    told = outcome_of(result).provenance
    assert told["validity"] == run_validity(result).statement
    assert told["traffic"] == "closed loop of 2 requests"
