from types import SimpleNamespace

import pytest

from rackmoe.errors import CapacityError, ConfigError
from rackmoe.scenario.resolved import load_scenario
from rackmoe.study.balance import balance_settings, study_balance

TEXT = """
schema: rackmoe/scenario/1
title: a test
hardware: {{profile: hgx_h200, nodes: 2}}
model: {{name: gpt-oss-20b}}
backend: ideal
deployment: {{aggregated: {{replicas: 2, ep: {ep}, attention_dp: 8, redundant_experts: {more}}}}}
workload:
  arrivals: {{closed_loop: 16}}
  lengths: {{input: 64, output: 8}}
  routing: {{generator: gpt_oss}}
  requests: 400
"""
SUMMARY = {"imbalance_mean": 1.5, "output_tokens_per_s_per_gpu": 10.0, "tpot_p50_s": 0.01}


@pytest.fixture
def scenario(tmp_path):
    def load(ep=8, more=8):
        path = tmp_path / "mine.yaml"
        path.write_text(TEXT.format(ep=ep, more=more))
        return load_scenario(path)

    return load


def test_settings_differ_in_placement_slots_and_width(scenario):
    settings = balance_settings(scenario())
    found = [
        (one.document.experts.placement, pool.ep, pool.redundant_experts, pool.replicas)
        for one in settings
        for pool in one.document.deployment.pools.values()
    ]
    assert found == [
        ("contiguous", 8, 8, 2),
        ("contiguous", 8, 0, 2),
        ("eplb", 8, 0, 2),
        ("eplb", 8, 8, 2),
        ("eplb", 8, 16, 2),
        ("eplb", 16, 16, 1),
        ("contiguous", 8, 8, 2),
    ]
    assert settings[-1].document.workload.routing.balanced
    assert {one.document.deployment.n_gpus for one in settings} == {16}


def test_runs_are_short_and_what_does_not_fit_is_a_row(scenario):
    asked = []

    def run(one, *, seed):
        asked.append((one.document.workload.requests, seed))
        if one.document.deployment.aggregated.redundant_experts == 16:
            raise CapacityError("rank 3 needs more than it has")
        return SimpleNamespace(summary=SUMMARY)

    told = []
    rows = study_balance(scenario(), seed=7, length_frac=0.25, run=run, progress=told.append)
    assert set(asked) == {(100, 7)}
    assert told == rows
    fits = [row for row in rows if not row.problem]
    assert {row.imbalance for row in fits} == {1.5}
    assert {row.problem for row in rows if row.problem} == {"rank 3 needs more than it has"}
    # a fifth more slots on a rank, a fifth more weights
    four, five = rows[2], rows[3]
    assert five.expert_weight_bytes_per_rank == pytest.approx(
        1.25 * four.expert_weight_bytes_per_rank
    )


def test_closed_loop_is_filled_twice_even_in_short_runs(scenario):
    asked = []

    def run(one, *, seed):
        asked.append((one.document.workload.requests, seed))
        return SimpleNamespace(summary=SUMMARY)

    study_balance(scenario(), length_frac=0.01, run=run)
    assert set(asked) == {(32, 0)}


def test_balancing_helps_a_skewed_scenario(scenario):
    rows = {row.setting: row for row in study_balance(scenario(), length_frac=0.1)}
    assert rows["EPLB"].imbalance < rows["contiguous"].imbalance
    limit = rows["exactly balanced (limit)"]
    assert limit.imbalance == pytest.approx(1.0, abs=1e-6)
    assert limit.output_tokens_per_s_per_gpu >= rows["contiguous"].output_tokens_per_s_per_gpu


def test_scenario_without_expert_parallelism_is_refused(scenario):
    with pytest.raises(ConfigError, match="no pool has ep above 1"):
        balance_settings(scenario(ep=1, more=0))
    with pytest.raises(ConfigError, match="length: 0; expected above 0"):
        study_balance(scenario(), length_frac=0)
