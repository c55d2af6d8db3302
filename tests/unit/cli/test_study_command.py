import json

from rackmoe.cli import jobs
from rackmoe.cli.jobs import Finished
from rackmoe.study import balance, rate_matching
from rackmoe.study.balance import BalanceRow
from rackmoe.study.pool_sizes import PoolSizes
from rackmoe.study.rate_matching import PoolRate, RateMatch

ROW = BalanceRow(
    setting="EPLB",
    ep=8,
    n_redundant=0,
    imbalance=1.2,
    output_tokens_per_s_per_gpu=100.0,
    tpot_p50_s=0.01,
    expert_weight_bytes_per_rank=2e9,
)


def test_balance_prints_and_draws_every_setting(run, tmp_path, monkeypatch):
    def rows(scenario, *, seed, length_frac, progress):
        assert (scenario.name, seed, length_frac) == ("deepseek_r1_ep72_replay", 3, 0.5)
        progress(ROW)
        return [ROW, ROW]

    monkeypatch.setattr(balance, "study_balance", rows)
    given = ("deepseek_r1_ep72_replay", "--seed", "3", "--length", "0.5")
    ran = run("study", "balance", *given, "-o", tmp_path / "balance.svg")
    assert ran.code == 0, ran.err
    assert "EPLB: done" in ran.err
    assert "1.2" in ran.out
    assert (tmp_path / "balance.svg").exists()
    ran = run("study", "balance", *given, "--format", "json")
    assert json.loads(ran.out)[0]["setting"] == "EPLB"


def test_unknown_keys_are_refused_before_anything_runs(run, scenario_file):
    ran = run("study", "balance", scenario_file(), "--set", "deployment.nothing=1")
    assert ran.code == 2
    assert "nothing" in ran.err


def test_rates_prints_the_proposal_and_fails_where_it_misses_the_slo(run, monkeypatch):
    one = PoolRate(requests_per_s=4.0, step_s=0.1, sequences_per_group=2)

    def match(scenario, *, seed, utilization_frac, is_checked):
        assert (scenario.name, seed, utilization_frac) == ("mooncake_prefix_cache", 3, 0.5)
        sizes = PoolSizes(
            n_prefill=5,
            n_decode=5,
            n_gpus=80,
            predicted_ttft_p99_s=1.0,
            predicted_tpot_s=0.02,
            is_met=not is_checked,
        )
        return RateMatch(
            arrival_requests_per_s=10.0,
            input_tokens_mean=1000.0,
            output_tokens_mean=100.0,
            prefill=one,
            decode=one,
            chosen=sizes,
            tried=(sizes,),
        )

    monkeypatch.setattr(rate_matching, "match_rates", match)
    given = ("mooncake_prefix_cache", "--seed", "3", "--utilization", "0.5", "--format", "json")
    ran = run("study", "rates", *given, "--no-check")
    assert ran.code == 0, ran.err
    values = {row["quantity"]: row["value"] for row in json.loads(ran.out)}
    assert values["n_gpus"] == 80
    ran = run("study", "rates", *given)
    assert ran.code == 1
    assert "none of these sizes meets the SLO" in ran.err
    ran = run("study", "rates", *given[:-2])
    assert "predicted TTFT p99" in ran.out


def test_contributions_runs_the_variants_in_order_and_draws_them(
    run, monkeypatch, make_outcome, tmp_path
):
    def finish(planned, *, n_processes, listener):
        listener.begin(planned[0].name)
        assert [job.name for job in planned][:2] == ["deepseek_r1_azure", "hgx_h200"]
        assert {(job.seed, n_processes) for job in planned} == {(3, 1)}
        return {
            job.name: Finished(outcome=make_outcome(job.name), is_met=job.name != "hgx_h200")
            for job in planned
        }

    monkeypatch.setattr(jobs, "run_jobs", finish)
    given = ("deepseek_r1_azure", "--seed", "3", "--jobs", "1")
    ran = run("study", "contributions", *given, "-o", tmp_path / "steps.svg", "--format", "csv")
    assert ran.code == 1
    assert "not at the wanted speed: hgx_h200\n" in ran.err
    assert ran.out.splitlines()[-1].startswith("all,hgx_h200,50.0,200.0,1.0")
    assert (tmp_path / "steps.svg").exists()
    ran = run("study", "contributions", *given)
    assert "output per GPU, times" in ran.out


def test_contributions_of_a_scenario_without_variants_are_refused(run, scenario_file):
    ran = run("study", "contributions", scenario_file())
    assert ran.code == 2
    assert "variants: none; expected one or more" in ran.err
