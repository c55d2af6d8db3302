"""One run: traffic, engine, then metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rackmoe.engine.run import EngineRun, Progress, run_engine
from rackmoe.hardware.profile import assumed_leaves, load_profile
from rackmoe.metrics.applications import application_figures, joint_goodput
from rackmoe.metrics.checks import check_power, check_requests, check_steps
from rackmoe.metrics.cost import cost_figures
from rackmoe.metrics.energy import energy_figures
from rackmoe.metrics.fleet import fleet_figures, released_gpus
from rackmoe.metrics.goodput import Slo
from rackmoe.metrics.rack_power import MachinePower, machine_power
from rackmoe.metrics.stability import check_little_law, stability_warnings
from rackmoe.metrics.steady import settled_window
from rackmoe.metrics.summary import summarize
from rackmoe.metrics.throughput import Fleet
from rackmoe.metrics.window import Window, WindowRule, measurement_window
from rackmoe.scenario.resolved import Scenario
from rackmoe.scenario.traffic import Traffic, build_traffic
from rackmoe.streams import Streams

__all__ = ["Result", "simulate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run reached, and everything that it depends on.

    Attributes
    ----------
    scenario : Scenario
        What was simulated.
    seed : int
        Seed of all random streams.
    summary : mapping of str to float
        Figures of merit; `rackmoe define NAME` explains each.
    warnings : tuple of str
        What a reader of the figures has to know.
    provenance : mapping of str to str
        Where traffic and routing come from, and which inputs are assumed.
    window : Window
        The measured part of the run.
    run : EngineRun
        The records.
    applications : mapping of str to mapping
        Figures of each of several applications; empty for a single one.
    """

    scenario: Scenario
    seed: int
    summary: Mapping[str, float]
    warnings: tuple[str, ...]
    provenance: Mapping[str, str]
    window: Window
    run: EngineRun
    applications: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def to_frame(self, name: str) -> pd.DataFrame:
        """Return a table of the run.

        Parameters
        ----------
        name : str
            ``requests``, ``steps``, ``links``, ``experts``, ``power`` or ``replicas``.

        Returns
        -------
        DataFrame
            One row for each thing that was written down.
        """
        return self.run.records.to_frame(name)

    def _repr_html_(self) -> str:
        """Return the figures of merit as a table for a notebook."""
        figures = pd.Series(dict(self.summary), name=f"{self.scenario.name}, seed {self.seed}")
        return str(figures.to_frame().to_html(float_format="{:.5g}".format))


def simulate(scenario: Scenario, *, seed: int = 0, progress: Progress | None = None) -> Result:
    """Run a scenario and return what it reached.

    Parameters
    ----------
    scenario : Scenario
        From `load_scenario`. Its variants are scenarios of their own.
    seed : int
        Seed of all random streams.
    progress : callable, optional
        Takes the simulated time and the measured requests that ended.

    Returns
    -------
    Result
        Figures, tables, and the resolved scenario.

    Raises
    ------
    CapacityError
        If the model does not fit.
    InvariantError
        If a law broke: a bug.
    """
    traffic = build_traffic(scenario.document, streams=Streams(seed))
    run = run_engine(
        scenario,
        requests=traffic.requests,
        is_measured=traffic.is_measured,
        seed=seed,
        until_s=traffic.until_s,
        progress=progress,
    )
    requests, steps = run.records.to_frame("requests"), run.records.to_frame("steps")
    check_requests(requests, n_arrived=run.n_arrived)
    check_steps(steps)
    if requests["state"].isin(("done", "rejected")).all():
        check_little_law(requests)
    window = _settled(_window(traffic, requests), requests, scenario)
    slo = scenario.document.slo
    summary = summarize(
        requests,
        steps=steps,
        window=window,
        fleet=_fleet(scenario),
        slo=_limits(slo.ttft_s, slo.tpot_s, slo.e2e_s),
    )
    applications = _applications(scenario, requests, window)
    summary |= joint_goodput(applications) if applications else {}
    summary |= {**run.figures, **_fleet_figures(scenario, run, window)}
    power = _power(scenario, run, steps, window)
    power.write(run.records.power, window=window)
    check_power(run.records.to_frame("power"))
    summary |= energy_figures(
        summary,
        it_power_w=power.it_power_w,
        pue=scenario.machine.power.facility.pue,
        window=window,
        provisioned_power_w=scenario.machine.power.nameplate_power_w * scenario.n_domains,
    )
    summary |= cost_figures(
        summary,
        n_gpus=scenario.n_gpus - _released_gpus(scenario, run, window),
        usd_per_gpu_hour=scenario.machine.prices.rental_usd_per_h,
    )
    return Result(
        scenario=scenario,
        seed=seed,
        summary=summary,
        warnings=(
            *traffic.warnings,
            *run.warnings,
            *stability_warnings(requests, window=window),
        ),
        provenance=_provenance(scenario, run, traffic),
        window=window,
        run=run,
        applications=applications,
    )


def _window(traffic: Traffic, requests: pd.DataFrame) -> Window:
    if traffic.window_s is not None:
        return Window(start_s=traffic.window_s[0], end_s=traffic.window_s[1])
    # sessions and applications do not arrive in the order of their rows
    is_measured = traffic.is_measured[requests["request_id"].to_numpy(np.int64)]
    first_s = requests["arrival_s"][is_measured].min()
    n_warmup = int((requests["arrival_s"] < first_s).sum())
    is_steady = traffic.requests.is_closed_loop and not traffic.is_measured.all()
    rule = WindowRule.STEADY if is_steady else WindowRule.RUN
    return measurement_window(requests, n_warmup=n_warmup, rule=rule)


def _settled(window: Window, requests: pd.DataFrame, scenario: Scenario) -> Window:
    """Return the window without its own warm-up, where the scenario asks for that."""
    if not scenario.document.workload.measurement.detect_warm_up:
        return window
    return settled_window(requests, window=window) or window


def _applications(
    scenario: Scenario, requests: pd.DataFrame, window: Window
) -> dict[str, dict[str, float]]:
    """Return the figures of several applications; limits they leave open, the scenario says."""
    if not scenario.document.workload.applications:
        return {}
    common = scenario.document.slo
    slos = {
        name: _limits(
            common.ttft_s if one.slo.ttft_s is None else one.slo.ttft_s,
            common.tpot_s if one.slo.tpot_s is None else one.slo.tpot_s,
            common.e2e_s if one.slo.e2e_s is None else one.slo.e2e_s,
        )
        for name, one in scenario.document.workload.parts.items()
    }
    return application_figures(requests, window=window, slos=slos)


def _fleet(scenario: Scenario) -> Fleet:
    deployment = scenario.document.deployment
    if deployment.prefill is None or deployment.decode is None:
        return Fleet(n_gpus=scenario.document.deployment.n_gpus)
    return Fleet(
        n_gpus=deployment.n_gpus,
        n_prefill_gpus=deployment.prefill.n_gpus,
        n_decode_gpus=deployment.decode.n_gpus,
    )


def _fleet_figures(scenario: Scenario, run: EngineRun, window: Window) -> dict[str, float]:
    """Return what replicas did, where they come and go."""
    deployment = scenario.document.deployment
    if not deployment.autoscaling and deployment.start_up is None:
        return {}
    replicas = run.records.to_frame("replicas")
    return fleet_figures(replicas, gpus_of_replica=_gpus_of_replica(run), window=window)


def _released_gpus(scenario: Scenario, run: EngineRun, window: Window) -> float:
    """Return the GPUs of inactive replicas that are not paid for, on average."""
    choices = scenario.document.deployment.autoscaling
    pools = frozenset(role for role, one in choices.items() if one.inactive == "released")
    if not pools:
        return 0
    replicas = run.records.to_frame("replicas")
    gpus = _gpus_of_replica(run)
    return released_gpus(replicas, gpus_of_replica=gpus, window=window, pools=pools)


def _gpus_of_replica(run: EngineRun) -> NDArray[np.int64]:
    gpus = [run.plans[pool].pool.n_gpus_per_stage for pool in run.replica_pools]
    return np.array(gpus, dtype=np.int64)


def _limits(ttft_s: float | None, tpot_s: float | None, e2e_s: float | None) -> Slo | None:
    if ttft_s is None and tpot_s is None and e2e_s is None:
        return None
    limits = [np.inf if limit is None else limit for limit in (ttft_s, tpot_s, e2e_s)]
    return Slo(ttft_s=limits[0], tpot_s=limits[1], e2e_s=limits[2])


def _power(
    scenario: Scenario, run: EngineRun, steps: pd.DataFrame, window: Window
) -> MachinePower:
    return machine_power(
        steps,
        machine=scenario.machine,
        gpus_of_replica=_gpus_of_replica(run),
        n_gpus=scenario.n_gpus,
        window=window,
    )


def _provenance(scenario: Scenario, run: EngineRun, traffic: Traffic) -> dict[str, str]:
    hardware = scenario.document.hardware
    profile = load_profile(hardware.profile, overrides=hardware.overrides or None)
    assumed = assumed_leaves(profile)
    return {
        "traffic": traffic.origin,
        **{f"routing.{plan.role.name.lower()}": plan.law.routing.provenance for plan in run.plans},
        **run.notes,
        **_hot(run),
        "assumed_hardware_inputs": ", ".join(sorted(assumed)),
    }


def _hot(run: EngineRun) -> dict[str, str]:
    """Return the busiest ports in one line."""
    hot = ", ".join(
        f"{link.name} {link.mean_utilization_frac:.3g} (p99 {link.p99_utilization_frac:.3g})"
        for link in run.hot_links
    )
    return {"hot_links": hot} if hot else {}
