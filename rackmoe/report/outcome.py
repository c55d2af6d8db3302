"""What tables and figures need of a run, small enough to hand from process to process."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rackmoe.metrics.breakdown import step_breakdown
from rackmoe.metrics.latency import LATENCIES, request_latencies
from rackmoe.metrics.window import arrived_within
from rackmoe.simulation import Result
from rackmoe.study.validation.validity import run_validity

__all__ = ["Outcome", "outcome_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A result without its records.

    Attributes
    ----------
    name, title : str
        Name of the scenario or variant, and what it is, for people.
    seed : int
        Seed of the run.
    machine, machine_title : str
        The machine's name, which decides its color, and what people call it.
    n_gpus : int
        GPUs of the machine.
    summary : mapping of str to float
        Figures of merit.
    warnings : tuple of str
        What a reader of the figures has to know.
    provenance : mapping of str to str
        Where traffic and routing come from, and under ``validity`` how the nearest measured
        points compare.
    breakdown : DataFrame
        Time of each part of the steps by pool (`step_breakdown`).
    latencies : DataFrame
        Latencies of the requests that count (`request_latencies`).
    expert_loads : DataFrame
        Load of each logical expert (column) in each MoE layer (row) over the mean of
        its layer; without rows where none was written down.
    """

    name: str
    title: str
    seed: int
    machine: str
    machine_title: str
    n_gpus: int
    summary: Mapping[str, float]
    warnings: tuple[str, ...]
    provenance: Mapping[str, str]
    breakdown: pd.DataFrame
    latencies: pd.DataFrame
    expert_loads: pd.DataFrame


def outcome_of(result: Result) -> Outcome:
    """Return what tables and figures need of a result.

    Parameters
    ----------
    result : Result
        From `simulate`.

    Returns
    -------
    Outcome
        Without the records of the run.
    """
    scenario = result.scenario
    arrived = arrived_within(result.to_frame("requests"), window=result.window)
    latencies = request_latencies(arrived)[[*LATENCIES, "interactivity_tokens_per_s"]]
    return Outcome(
        name=scenario.name,
        title=scenario.document.title,
        seed=result.seed,
        machine=scenario.machine.name,
        machine_title=scenario.machine.title,
        n_gpus=scenario.n_gpus,
        summary=dict(result.summary),
        warnings=tuple(result.warnings),
        provenance={**result.provenance, "validity": run_validity(result).statement},
        breakdown=step_breakdown(result.to_frame("steps"), window=result.window),
        latencies=latencies.reset_index(drop=True),
        expert_loads=_expert_loads(result.to_frame("experts")),
    )


def _expert_loads(experts: pd.DataFrame) -> pd.DataFrame:
    """Return the load of each expert over the mean of its layer, over all pools and copies."""
    counts = experts.pivot_table(
        index="layer", columns="logical_expert", values="n_assignments", aggfunc="sum"
    )
    counts = counts.fillna(0.0).astype(np.float64)
    mean = counts.mean(axis=1)
    return counts.div(mean.where(mean > 0, np.nan), axis=0)
