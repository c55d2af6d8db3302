"""Steps that pass through pipeline stages, which other steps want too."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rackmoe.engine.clock import to_ps, to_s
from rackmoe.engine.planned import PlannedStep
from rackmoe.hardware.machine import Machine
from rackmoe.network.pipeline import pipeline_ends_s

__all__ = ["Hop", "Member", "StageShape", "Stages", "hops_between", "join_stages", "stage_times_s"]

_HIDDEN_BYTES = 2.0
"""Residual stream between stages, in bf16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """The way from one stage to the next.

    Attributes
    ----------
    bandwidth_bytes_per_s : float
        Of one rank to its counterpart. [B/s]
    latency_s : float
        Before the first byte arrives. [s]
    is_scale_up : bool
        Whether it stays inside a scale-up domain.
    """

    bandwidth_bytes_per_s: float
    latency_s: float
    is_scale_up: bool


def hops_between(machine: Machine, *, first_gpus: Sequence[int]) -> tuple[Hop, ...]:
    """Return the ways between stages.

    Parameters
    ----------
    machine : Machine
        Where they are.
    first_gpus : sequence of int
        First GPU of each stage.

    Returns
    -------
    tuple of Hop
        One less than stages.
    """
    up, out = machine.scale_up, machine.scale_out
    scale_up = Hop(
        bandwidth_bytes_per_s=up.gpu_bandwidth_bytes_per_s * up.copy_frac,
        latency_s=up.latency_s,
        is_scale_up=True,
    )
    nics = out.nic_bandwidth_bytes_per_s * out.nics_per_gpu * out.copy_frac
    scale_out = Hop(
        bandwidth_bytes_per_s=nics,
        latency_s=2 * out.endpoint_latency_s + out.switch_latency_s,
        is_scale_up=False,
    )
    domains = [gpu // up.domain_gpus for gpu in first_gpus]
    return tuple(
        scale_up if one == other else scale_out for one, other in itertools.pairwise(domains)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageShape:
    """What the pipelines of a pool are made of.

    Attributes
    ----------
    machine : Machine
        Where they are.
    hidden : int
        Width of the residual stream.
    """

    machine: Machine
    hidden: int


class Stages:
    """The stages of one replica, shared by as many schedulers as there are stages.

    Each scheduler has sequences of its own, and one step on its way at a time: while that
    is in one stage, the steps of the others are in other stages. Stages take steps in the
    order in which they came.

    Parameters
    ----------
    first_gpus : sequence of int
        First GPU of each stage.
    hops : sequence of Hop
        Ways from stage to stage.
    hidden : int
        Width of the residual stream.
    tp : int
        GPUs of an attention group; each sends its copy.

    Attributes
    ----------
    first_gpus : tuple of int
        First GPU of each stage.
    """

    def __init__(
        self, first_gpus: Sequence[int], *, hops: Sequence[Hop], hidden: int, tp: int
    ) -> None:
        self.first_gpus = tuple(first_gpus)
        self._hops = tuple(hops)
        self._row_bytes = hidden * _HIDDEN_BYTES
        self._tp = tp
        self._free_ps = [0] * len(self.first_gpus)

    def enter(self, plan: PlannedStep, *, now_ps: int) -> PlannedStep:
        """Return a step as it passes the stages from now on; they are taken for it.

        Parameters
        ----------
        plan : PlannedStep
            What all stages compute, one after the other and alone.
        now_ps : int
            Time. [ps]

        Returns
        -------
        PlannedStep
            With the time for transfers and for steps that came before.
        """
        rows = plan.batch.decode_tokens + plan.batch.prefill_tokens
        send_bytes = float(rows.max()) * self._row_bytes
        stage_s = stage_times_s(plan, n_stages=len(self.first_gpus))
        send_s = [hop.latency_s + send_bytes / hop.bandwidth_bytes_per_s for hop in self._hops]
        free_s = [to_s(max(free - now_ps, 0)) for free in self._free_ps]
        ends_s = pipeline_ends_s(stage_s, free_s=np.array(free_s), send_s=np.array(send_s))
        self._free_ps = [now_ps + to_ps(end_s) for end_s in ends_s.tolist()]
        alone_s = plan.duration_s - plan.host_gap_s
        moved = float(rows.sum()) * self._row_bytes * self._tp
        n_up = sum(hop.is_scale_up for hop in self._hops)
        totals = replace(
            plan.totals,
            scale_up_bytes=plan.totals.scale_up_bytes + n_up * moved,
            scale_out_bytes=plan.totals.scale_out_bytes + (len(self._hops) - n_up) * moved,
        )
        return replace(plan, totals=totals, extra_s=max(float(ends_s[-1]) - alone_s, 0.0))


class Member(Protocol):
    """A scheduler of a pipeline; the GPUs of one stage are booked for it."""

    first_gpu: int
    tp: int
    stages: Stages | None


def join_stages(members: Sequence[Member], *, shape: StageShape) -> None:
    """Let schedulers share the stages of one replica.

    Parameters
    ----------
    members : sequence of Member
        As many as stages.
    shape : StageShape
        What the stages are made of.
    """
    first_gpus = [one.first_gpu for one in members]
    stages = Stages(
        first_gpus,
        hops=hops_between(shape.machine, first_gpus=first_gpus),
        hidden=shape.hidden,
        tp=members[0].tp,
    )
    for one in members:
        one.stages = stages


def stage_times_s(plan: PlannedStep, *, n_stages: int) -> NDArray[np.float64]:
    """Return how long a step takes in each stage.

    Parameters
    ----------
    plan : PlannedStep
        A step of one batch.
    n_stages : int
        Stages; each has as many layers as the others, or one more or less.

    Returns
    -------
    ndarray of shape (n_stages,)
        The slowest rank of each; the last one with the head. The host prepares a stage
        while the GPUs compute, and may take longer. [s]
    """
    ends = plan.plan.layer_end_s
    n_layers = len(ends)
    last = [n_layers * (stage + 1) // n_stages - 1 for stage in range(n_stages)]
    bounds = np.concatenate(([0.0], ends[last]))
    bounds[-1] = float(np.max(plan.plan.end_s))
    return np.maximum(np.diff(bounds), plan.host_step_s / n_stages)
