"""Sizes of a prefill and a decode pool: what they are thought to give, and what a run gave."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from rackmoe.engine.pool_plan import PoolPlan
from rackmoe.scenario.applications import Slo
from rackmoe.scenario.resolved import Scenario, resolve_scenario
from rackmoe.simulation import simulate
from rackmoe.study.pool_latency import DecodePace, PromptTraffic, decode_tpot_s, ttft_p99_s

__all__ = ["Candidates", "PoolSizes"]

_MOST_REPLICAS = 4096
"""As many as a scenario can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSizes:
    """Sizes of both pools, and the latencies that they are thought to give and gave.

    Attributes
    ----------
    n_prefill, n_decode : int
        Replicas.
    n_gpus : int
        GPUs of both.
    predicted_ttft_p99_s, predicted_tpot_s : float
        From waiting times and planned steps; the bytes of caches take no time. [s]
    figures : mapping of str to float
        Summary of one run; empty where none was asked for.
    is_met : bool
        Whether that run met every limit, at the statistics that `match_rates` names; without
        a run, whether the prediction does.
    """

    n_prefill: int
    n_decode: int
    n_gpus: int
    predicted_ttft_p99_s: float
    predicted_tpot_s: float
    figures: Mapping[str, float] = field(default_factory=dict)
    is_met: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Predicts and runs pool sizes.

    Attributes
    ----------
    scenario : Scenario
        A split deployment.
    plans : mapping of str to PoolPlan
        Its pools.
    prefill_requests_per_s : float
        What a prefill replica can take. [1/s]
    prompts : PromptTraffic
        What comes to the prefill pool.
    pace : DecodePace
        What is asked of the decode pool.
    """

    scenario: Scenario
    plans: Mapping[str, PoolPlan]
    prefill_requests_per_s: float
    prompts: PromptTraffic
    pace: DecodePace

    def propose(self, *, n_prefill: int, n_decode: int) -> PoolSizes:
        """Return the fewest prefill replicas, from so many on, whose prediction meets the SLO.

        Parameters
        ----------
        n_prefill, n_decode : int
            Replicas that capacity asks for.
        """
        sizes = self._predicted(n_prefill, n_decode)
        limit_s = self.scenario.document.slo.ttft_s
        if limit_s is None or self._alone_p99_s > limit_s:
            return sizes  # replicas do not make a prompt faster than it is alone
        while sizes.predicted_ttft_p99_s > limit_s and n_prefill < _MOST_REPLICAS:
            n_prefill += 1
            sizes = self._predicted(n_prefill, n_decode)
        return sizes

    @property
    def _alone_p99_s(self) -> float:
        return self.prompts.request_s + float(np.percentile(self.prompts.alone_s, 99))

    def _predicted(self, n_prefill: int, n_decode: int) -> PoolSizes:
        plan, slo = self.plans["prefill"], self.scenario.document.slo
        n_groups = plan.limits.n_groups * plan.pool.pp
        ttft_s = ttft_p99_s(
            self.prompts,
            limits=plan.limits,
            n_servers=n_prefill * n_groups,
            n_replicas=n_prefill,
            service_s=n_groups / self.prefill_requests_per_s,
        )
        tpot_s = decode_tpot_s(self.plans["decode"], pace=self.pace, n_replicas=n_decode)
        deployment = _with_sizes(self.scenario, n_prefill, n_decode).document.deployment
        return PoolSizes(
            n_prefill=n_prefill,
            n_decode=n_decode,
            n_gpus=deployment.n_gpus,
            predicted_ttft_p99_s=ttft_s,
            predicted_tpot_s=tpot_s,
            is_met=_meets(slo, ttft_s=ttft_s, tpot_s=tpot_s),
        )

    def _run(self, sizes: PoolSizes, *, seed: int) -> PoolSizes:
        """Return the sizes with the figures of a run."""
        scenario = _with_sizes(self.scenario, sizes.n_prefill, sizes.n_decode)
        figures = simulate(scenario, seed=seed).summary
        is_met = _meets(
            scenario.document.slo, ttft_s=figures["ttft_p99_s"], tpot_s=figures["tpot_p50_s"]
        )
        return replace(sizes, figures=figures, is_met=is_met)

    def run_around(
        self, proposed: PoolSizes, *, least: tuple[int, int], seed: int
    ) -> list[PoolSizes]:
        """Return the proposal and its neighbors with the figures of their runs.

        Parameters
        ----------
        proposed : PoolSizes
            From `propose`.
        least : tuple of int
            Prefill and decode replicas that capacity asks for.
        seed : int
            Seed of the runs.
        """
        first = self._run(proposed, seed=seed)
        step = -1 if first.is_met else 1
        n_prefill, n_decode = proposed.n_prefill, proposed.n_decode
        around = ((n_prefill + step, n_decode), (n_prefill, n_decode + step))
        return [
            first,
            *(
                self._run(self._predicted(*sizes), seed=seed)
                for sizes in around
                if sizes[0] >= least[0] and sizes[1] >= least[1]
            ),
        ]


def _meets(slo: Slo, *, ttft_s: float, tpot_s: float) -> bool:
    is_fast = slo.tpot_s is None or tpot_s <= slo.tpot_s
    return bool(is_fast and (slo.ttft_s is None or ttft_s <= slo.ttft_s))


def _with_sizes(scenario: Scenario, n_prefill: int, n_decode: int) -> Scenario:
    """Return the scenario with other pool sizes, on as much of its hardware as they need."""
    document = scenario.document
    sizes = {"prefill": n_prefill, "decode": n_decode}
    pools = {
        name: document.deployment.pools[name].model_copy(update={"replicas": n})
        for name, n in sizes.items()
    }
    deployment = document.deployment.model_copy(update=pools)
    n_domains = -(-deployment.n_gpus // scenario.machine.scale_up.domain_gpus)
    unit = "racks" if document.hardware.nodes is None else "nodes"
    hardware = document.hardware.model_copy(update={unit: n_domains})
    update = {"deployment": deployment, "hardware": hardware}
    return resolve_scenario(document.model_copy(update=update), name=scenario.name)
