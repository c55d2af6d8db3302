"""The search of an operating point, against machines whose answer is known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from strategies import Case, build

import rackmoe.study.search
from rackmoe.errors import ConfigError
from rackmoe.scenario.workload import Search, Slo
from rackmoe.study.search import find_operating_point

GOAL = 50.0


@pytest.fixture
def scenario(small_files):
    """A scenario with a goal; no test lets it run."""
    one = build(Case(arrivals=("poisson", "10 /s")), small_files)
    return with_search(one)


def with_search(one, *, slo=None, start=1.0, **search):
    workload = one.document.workload
    arrivals = workload.arrivals.model_copy(update={"rate_scale": start})
    goal = Search(interactivity_tokens_per_s=GOAL, **search)
    update = {
        "workload": workload.model_copy(update={"arrivals": arrivals, "search": goal}),
        "slo": slo or Slo(),
    }
    return replace(one, document=one.document.model_copy(update=update))


@pytest.fixture
def machine(monkeypatch):
    """Return a function that replaces the simulation by a law of the rate."""

    def install(interactivity, *, ttft_s=lambda _: 0.1, done_frac=lambda _: 1.0):
        seen = []

        def simulate(scenario, *, seed, progress=None):  # noqa: ARG001  as the real one takes it
            scale = scenario.document.workload.arrivals.rate_scale
            seen.append((scale, seed))
            summary = {
                "interactivity_p50_tokens_per_s": interactivity(scale),
                "ttft_p99_s": ttft_s(scale),
                "output_tokens_per_s_per_gpu": 10 * scale,
                "n_requests": 1000,
                "n_done": 1000 * done_frac(scale),
            }
            return SimpleNamespace(summary=summary, scenario=scenario)

        monkeypatch.setattr(rackmoe.study.search, "simulate", simulate)
        return seen

    return install


@pytest.mark.parametrize("start", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("knee", [0.2, 7.0, 100.0])
def test_a_smooth_machine_is_found_from_either_side(scenario, machine, start, knee):
    seen = machine(lambda scale: 100 / (1 + scale / knee))
    found = find_operating_point(with_search(scenario, start=start, max_runs=40), seed=4)
    assert found.is_met
    assert found.result.summary["interactivity_p50_tokens_per_s"] == pytest.approx(GOAL, rel=0.02)
    # 100 / (1 + x) is 50 at the knee
    best = min(found.probes, key=lambda probe: abs(np.log(probe.headroom)))
    assert best.rate_scale == pytest.approx(knee, rel=0.05)
    assert {seed for _, seed in seen} == {4}
    assert [probe.rate_scale for probe in found.probes] == [scale for scale, _ in seen]


def test_a_machine_that_collapses_is_run_below_the_knee(scenario, machine):
    machine(lambda scale: 80.0 if scale < 3 else 1.0)
    found = find_operating_point(with_search(scenario, max_runs=40))
    assert found.is_met
    scale = found.result.scenario.document.workload.arrivals.rate_scale
    assert 3 / 1.03 <= scale < 3
    assert found.result.summary["interactivity_p50_tokens_per_s"] == 80.0


def test_slow_first_tokens_limit_the_rate_too(scenario, machine):
    machine(lambda scale: 100 / (1 + scale / 10), ttft_s=lambda scale: 0.1 * scale)
    limited = with_search(scenario, slo=Slo(ttft_s=0.4), max_runs=40)
    found = find_operating_point(limited)
    assert found.is_met
    assert found.result.summary["ttft_p99_s"] == pytest.approx(0.4, rel=0.05)
    assert {probe.limit for probe in found.probes} >= {"ttft"}


def test_users_who_are_not_served_are_slower_than_any_other(scenario, machine):
    machine(lambda _: 200.0, done_frac=lambda scale: 1.0 if scale < 5 else 0.4)
    found = find_operating_point(with_search(scenario, max_runs=40))
    assert found.result.scenario.document.workload.arrivals.rate_scale < 5
    lost = [probe for probe in found.probes if probe.rate_scale >= 5]
    assert lost
    assert {probe.interactivity_tokens_per_s for probe in lost} == {0.0}


def test_nobody_served_at_all_gives_up_after_its_runs(scenario, machine):
    machine(lambda _: float("nan"))
    seen = []
    found = find_operating_point(with_search(scenario, max_runs=5), progress=seen.append)
    assert not found.is_met
    assert len(found.probes) == len(seen) == 5
    scales = [probe.rate_scale for probe in found.probes]
    assert scales == sorted(scales, reverse=True)


def test_a_goal_that_no_traffic_reaches_says_what_came_nearest(scenario, machine):
    def slow_until_empty(scale):
        if scale < 0.3:
            raise ConfigError("workload.measurement: none of 0 requests falls into it")
        return 20.0 / scale**0.1

    machine(slow_until_empty)
    with pytest.raises(ConfigError, match=r"no rate reaches the goal; at 0.5 times.*got 21\.4"):
        find_operating_point(scenario)


def test_an_error_of_the_first_run_is_passed_on(scenario, machine):
    def refused(_):
        raise ConfigError("model: does not fit")

    machine(refused)
    with pytest.raises(ConfigError, match="does not fit"):
        find_operating_point(scenario)


def test_noise_around_the_goal_does_not_stop_the_search(scenario, machine):
    rng = np.random.Generator(np.random.PCG64(1))
    machine(lambda scale: 100 / (1 + scale) * (1 + rng.uniform(-0.05, 0.05)))
    found = find_operating_point(with_search(scenario, max_runs=40))
    assert found.is_met
    scale = found.result.scenario.document.workload.arrivals.rate_scale
    assert scale == pytest.approx(1.0, rel=0.25)


def test_a_scenario_without_a_goal_is_refused(small_files):
    with pytest.raises(ConfigError, match=r"case: workload.search: missing; write the goal"):
        find_operating_point(build(Case(), small_files))
