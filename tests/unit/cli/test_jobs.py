import pickle
from dataclasses import replace

import pytest

from rackmoe.cli import jobs
from rackmoe.cli.jobs import Finished, Job, load_runs, run_job, run_jobs
from rackmoe.errors import CapacityError, ConfigError
from rackmoe.study.search import OperatingPoint, Probe


class Heard:
    """A listener that remembers what it was told."""

    def __init__(self):
        self.told = []

    def begin(self, name):
        self.told.append(("begin", name))

    def advance(self, name, *, done_frac, text):
        self.told.append(("advance", name, done_frac, text))

    def finish(self, name, *, text):
        self.told.append(("finish", name, text))


@pytest.fixture
def job(scenario_file):
    return Job(source=str(scenario_file()), settings=(), name="tiny", seed=3)


@pytest.fixture
def simulated(monkeypatch, make_result):
    """Replace the simulation; returns the calls that it got."""
    calls = []

    def simulate(scenario, *, seed, progress):
        calls.append((scenario, seed))
        progress(1.5, 2)
        return make_result(seed=seed)

    monkeypatch.setattr(jobs, "simulate", simulate)
    return calls


def test_base_comes_first_and_settings_reach_every_variant(scenario_file):
    path = scenario_file(extra="variants: {h100: {hardware.profile: hgx_h100}}\n")
    runs = load_runs(str(path), settings=["workload.requests=9"])
    assert list(runs) == ["tiny", "h100"]
    assert [one.document.workload.requests for one in runs.values()] == [9, 9]


def test_variant_that_changes_nothing_gives_the_base_its_name(scenario_file):
    path = scenario_file(extra="variants: {h200: {}, h100: {hardware.profile: hgx_h100}}\n")
    assert list(load_runs(str(path), settings=[])) == ["h200", "h100"]


def test_setting_that_is_none_is_refused(scenario_file):
    with pytest.raises(ConfigError, match="expected PATH=VALUE"):
        load_runs(str(scenario_file()), settings=["workload.requests"])


def test_run_tells_how_far_it_is_and_what_it_reached(job, simulated):
    heard = Heard()
    finished = run_job(job, listener=heard)
    assert simulated[0][1] == 3
    assert heard.told == [
        ("begin", "tiny"),
        ("advance", "tiny", 0.5, "1.5 s simulated, 2 requests done"),
        ("finish", "tiny", "1 of 2 measured requests done"),
    ]
    assert (finished.n_probes, finished.is_met) == (0, True)
    assert finished.outcome.seed == 3


def test_progress_of_a_measured_window_is_a_share_of_its_time(scenario_file, simulated):
    closed = "  arrivals: {closed_loop: 2}"
    window = "  arrivals: {poisson: 2 /s}\n  measurement: {warm_up: 1 s, window: 2 s}"
    path = scenario_file(change=(closed, window))
    heard = Heard()
    run_job(Job(source=str(path), settings=(), name="tiny", seed=0), listener=heard)
    assert heard.told[1][2] == 0.5  # 1.5 s of 1 s + 2 s
    assert len(simulated) == 1


def test_run_writes_its_files_where_asked(job, simulated, tmp_path):
    folder = tmp_path / "stage"
    folder.mkdir()
    placed = Job(source=job.source, settings=(), name="tiny", seed=3, folder=folder)
    run_job(placed, listener=Heard())
    assert (folder / "result.json").is_file()
    assert len(simulated) == 1


def test_search_tells_about_every_run_and_whether_it_met_its_goal(
    scenario_file, monkeypatch, make_result
):
    probe = Probe(
        rate_scale=2.0,
        interactivity_tokens_per_s=48.0,
        ttft_p99_s=1.0,
        output_tokens_per_s_per_gpu=100.0,
        headroom=0.96,
        limit="interactivity",
    )

    def search(_scenario, *, seed, progress, run_progress):
        run_progress(1.5, 3)
        progress(probe)
        return OperatingPoint(result=make_result(seed=seed), probes=(probe,), is_met=False)

    monkeypatch.setattr(jobs, "find_operating_point", search)
    open_loop = (
        "  arrivals: {closed_loop: 2}",
        "  arrivals: {poisson: 2 /s}\n  search: {interactivity: 50 /s, max_runs: 4}",
    )
    path = scenario_file(change=open_loop)
    heard = Heard()
    finished = run_job(Job(source=str(path), settings=(), name="tiny", seed=0), listener=heard)
    assert heard.told[1][0::3] == ("advance", "run 1 of at most 4: 1.5 s simulated")
    assert heard.told[2][:3] == ("advance", "tiny", 0.25)
    assert "run 2 of at most 4" in heard.told[2][3]
    assert "rate x 2, 48 tokens/s for the median user" in heard.told[2][3]
    assert heard.told[3][2].endswith("1 runs, goal not met")
    assert (finished.n_probes, finished.is_met) == (1, False)


def test_jobs_run_one_after_the_other_in_this_process(job, simulated):
    other = Job(source=job.source, settings=("workload.requests=2",), name="tiny", seed=5)
    finished = run_jobs([job], n_processes=4, listener=Heard())
    assert list(finished) == ["tiny"]
    assert run_jobs([other], n_processes=1, listener=Heard())["tiny"].outcome.seed == 5
    assert len(simulated) == 2


def test_what_processes_hand_over_can_be_handed_over(job, make_outcome):
    finished = Finished(outcome=make_outcome(), n_probes=2)
    assert pickle.loads(pickle.dumps(job)) == job  # noqa: S301  our own bytes
    assert pickle.loads(pickle.dumps(finished)).n_probes == 2  # noqa: S301  our own bytes


@pytest.mark.parametrize("error", [ConfigError("a", "b"), CapacityError("c")])
def test_errors_can_be_handed_over_with_their_message(error):
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert (type(again), str(again)) == (type(error), str(error))


def test_error_in_a_process_ends_the_runs_and_keeps_its_message(scenario_file):
    path = scenario_file()
    planned = [
        Job(source=str(path), settings=("nothing=1",), name=name, seed=0) for name in ("a", "b")
    ]
    with pytest.raises(ConfigError, match="no key 'nothing'"):
        run_jobs(planned, n_processes=2, listener=Heard())


@pytest.mark.usefixtures("simulated")
def test_figures_of_one_run_lie_beside_its_tables(job, tmp_path):
    placed = replace(job, folder=tmp_path, has_figures=True)
    finished = run_job(placed, listener=Heard())
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "links.svg",
        "topology.svg",
    }
    assert finished.hot_links["link"].tolist() == ["scale_up 0"]
