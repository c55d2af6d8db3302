import json
from dataclasses import replace

import pandas as pd
import pytest

from rackmoe.cli import jobs, run_command
from rackmoe.cli.jobs import Finished
from rackmoe.errors import CapacityError

VARIANTS = "variants: {h100: {hardware.profile: hgx_h100}}\n"


@pytest.fixture
def ran_jobs(monkeypatch, make_outcome):
    """Replace the runs; returns the jobs, and what decides how they end."""
    seen = {"jobs": [], "n_processes": None, "is_met": True, "figures": {}}

    def run_jobs(planned, *, n_processes, listener):
        seen["jobs"] += planned
        seen["n_processes"] = n_processes
        for job in planned:
            listener.begin(job.name)
            if job.folder is not None:
                (job.folder / "result.json").write_text(job.name)
        return {
            job.name: Finished(
                outcome=make_outcome(
                    job.name, machine=f"hgx_{job.name}", seed=job.seed, **seen["figures"]
                ),
                n_probes=3,
                is_met=seen["is_met"],
            )
            for job in planned
        }

    monkeypatch.setattr(jobs, "run_jobs", run_jobs)
    monkeypatch.setattr(run_command, "_say_if_cold", lambda: None)
    return seen


def test_one_run_prints_one_table_and_warns_on_standard_error(run, ran_jobs, scenario_file):
    ran = run("run", scenario_file(), "--seed", "4")
    assert ran.code == 0
    assert "output per GPU" in ran.out
    assert "/" not in ran.out.splitlines()[2].replace("tokens/s", "")
    assert "warning: tiny: warning of tiny" in ran.err
    assert [job.seed for job in ran_jobs["jobs"]] == [4]
    assert ran_jobs["jobs"][0].folder is None


def test_variants_stand_side_by_side_with_ratios(run, ran_jobs, scenario_file):
    ran = run("run", scenario_file(extra=VARIANTS), "--jobs", "2")
    assert "hgx_tiny / hgx_h100" in ran.out
    assert ran_jobs["n_processes"] == 2


def test_chosen_variants_run_alone_in_the_order_of_the_file(run, ran_jobs, scenario_file):
    path = scenario_file(extra=VARIANTS)
    run("run", path, "--variant", "h100", "--variant", "tiny")
    assert [job.name for job in ran_jobs["jobs"]] == ["tiny", "h100"]
    run("run", path, "--variant", "h100")
    assert [job.name for job in ran_jobs["jobs"]][2:] == ["h100"]


def test_unknown_variant_is_refused_with_a_suggestion(run, ran_jobs, scenario_file):
    ran = run("run", scenario_file(extra=VARIANTS), "--variant", "h10")
    assert ran.code == 2
    assert "--variant h10: did you mean 'h100'?" in ran.err
    assert ran_jobs["jobs"] == []


def test_json_has_the_results_by_name_and_nothing_else_on_standard_output(
    run, ran_jobs, scenario_file
):
    data = json.loads(run("run", scenario_file(extra=VARIANTS), "--format", "json").out)
    assert list(data["results"]) == ["tiny", "h100"]
    assert list(data["ratios"]) == ["h100"]
    assert len(ran_jobs["jobs"]) == 2


def test_folder_has_the_base_on_top_variants_below_and_figures(
    run, ran_jobs, scenario_file, tmp_path
):
    out = tmp_path / "out"
    ran = run("run", scenario_file(extra=VARIANTS), "-o", out, "--figures")
    assert ran.code == 0
    assert (out / "result.json").read_text() == "tiny"
    assert (out / "variants" / "h100" / "result.json").read_text() == "h100"
    assert {path.name for path in out.glob("comparison.*")} == {
        *("comparison.csv", "comparison.json", "comparison.md")
    }
    assert {path.stem for path in (out / "figures").iterdir()} == {
        *("comparison", "latencies", "breakdown", "expert_load")
    }
    assert len(ran_jobs["jobs"]) == 2


def test_single_result_has_no_comparison(run, ran_jobs, scenario_file, tmp_path):
    run("run", scenario_file(), "-o", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"result.json"}
    assert len(ran_jobs["jobs"]) == 1


def test_folder_in_use_is_refused_before_anything_runs(run, ran_jobs, scenario_file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("x")
    ran = run("run", scenario_file(), "-o", tmp_path / "out")
    assert ran.code == 2
    assert "--overwrite" in ran.err
    assert ran_jobs["jobs"] == []
    assert run("run", scenario_file(), "-o", tmp_path / "out", "--overwrite").code == 0


def test_failed_run_leaves_no_folder(run, monkeypatch, scenario_file, tmp_path):
    def fail(*_planned, **_options):
        raise CapacityError("rank 0 needs more")

    monkeypatch.setattr(jobs, "run_jobs", fail)
    path = scenario_file()
    ran = run("run", path, "-o", tmp_path / "a" / "out")
    assert ran.code == 3
    assert "CapacityError: rank 0 needs more" in ran.err
    assert list(tmp_path.iterdir()) == [path]


def test_name_of_a_variant_that_leaves_the_folder_is_refused(
    run, ran_jobs, scenario_file, tmp_path
):
    extra = "variants: {../h100: {hardware.profile: hgx_h100}}\n"
    ran = run("run", scenario_file(extra=extra), "-o", tmp_path / "out")
    assert ran.code == 2
    assert "cannot name a folder" in ran.err
    assert ran_jobs["jobs"] == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--overwrite", "--figures", "--parquet"])
def test_options_about_files_need_a_folder(option, run, scenario_file):
    ran = run("run", scenario_file(), option)
    assert ran.code == 2
    assert "-o DIR" in ran.err


def test_missed_slo_is_a_negative_verdict_only_when_asked(run, ran_jobs, scenario_file):
    ran_jobs["figures"] = {"slo_met_frac": 0.98}
    assert run("run", scenario_file()).code == 0
    ran = run("run", scenario_file(), "--require-slo")
    assert ran.code == 1
    assert "tiny: slo: 98.0% of the requests meet it; expected 99%" in ran.err
    assert "output per GPU" in ran.out


def test_met_slo_is_a_positive_verdict(run, ran_jobs, scenario_file):
    ran_jobs["figures"] = {"slo_met_frac": 0.99}
    assert run("run", scenario_file(), "--require-slo").code == 0


def test_scenario_without_slo_cannot_be_held_to_it(run, ran_jobs, scenario_file):
    ran = run("run", scenario_file(change=("slo: {tpot: 20 ms}\n", "")), "--require-slo")
    assert ran.code == 2
    assert "the scenario has no limits" in ran.err
    assert ran_jobs["jobs"] == []


def test_search_that_misses_its_goal_is_a_negative_verdict(run, ran_jobs, scenario_file):
    ran_jobs["is_met"] = False
    ran = run("run", scenario_file())
    assert ran.code == 1
    assert "tiny: workload.search: not met in 3 runs" in ran.err
    assert "output per GPU" in ran.out


def test_settings_reach_the_jobs_and_wrong_ones_are_refused(run, ran_jobs, scenario_file):
    path = scenario_file()
    assert run("run", path, "--set", "workload.requests=9").code == 0
    assert ran_jobs["jobs"][0].settings == ("workload.requests=9",)
    ran = run("run", path, "--set", "workload.request=9")
    assert ran.code == 2
    assert "did you mean 'requests'" in ran.err


def test_cold_kernels_are_announced(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "none"))
    run_command._say_if_cold()
    assert "compiling kernels" in capsys.readouterr().err


@pytest.mark.usefixtures("ran_jobs")
def test_hottest_links_of_each_run_follow_the_tables(run, scenario_file, monkeypatch):
    hot = pd.DataFrame({"link": ["scale_out 7"], "mean_utilization_frac": [0.25]})
    make = jobs.run_jobs

    def run_jobs(planned, **options):
        return {
            name: replace(one, hot_links=hot) for name, one in make(planned, **options).items()
        }

    monkeypatch.setattr(jobs, "run_jobs", run_jobs)
    ran = run("run", scenario_file())
    assert "Links that tiny used most" in ran.out
    assert ran.out.splitlines()[-1].split() == ["scale_out", "7", "25"]
    assert "scale_out 7" not in run("run", scenario_file(), "--format", "json").out
