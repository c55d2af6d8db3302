"""The fabric of one run: its ports, KV transfers, faults and audits, put together."""

from collections import Counter
from collections.abc import Sequence

import simpy

from rackmoe.engine.audit import Audit
from rackmoe.engine.faults import Faults, Service
from rackmoe.engine.gpu_places import replica_places, straddles
from rackmoe.engine.interconnect import Interconnect
from rackmoe.engine.kv_links import build_kv_links
from rackmoe.engine.planned import PlannedStep
from rackmoe.engine.pool_plan import PoolPlan
from rackmoe.engine.replica import Replica
from rackmoe.engine.replica_ports import ReplicaPorts
from rackmoe.engine.shipments import Shipments
from rackmoe.engine.step_detail import StepDetail
from rackmoe.network.two_batch import TwoBatchPlan
from rackmoe.records import Table
from rackmoe.scenario.resolved import Scenario
from rackmoe.streams import Streams

__all__ = ["FabricRun"]


_MOST_NAMED = 3


class FabricRun:
    """Everything of a run that has to do with its fabric.

    Parameters
    ----------
    env : simpy.Environment
        The clock.
    scenario : Scenario
        The scenario.
    plans : sequence of PoolPlan
        Its pools.

    Attributes
    ----------
    net : Interconnect
        The ports.
    shipments : Shipments
        Moves bytes beside the exchanges: caches, experts, weights.
    kv : KvLinks or None
        The way of the KV caches; None if the pools are aggregated.
    places : tuple of int
        First GPU of each replica.
    ports : tuple of ReplicaPorts
        Ports of each replica.
    """

    def __init__(
        self, env: simpy.Environment, *, scenario: Scenario, plans: Sequence[PoolPlan]
    ) -> None:
        self._scenario = scenario
        self._plans = plans
        pools = [plan.pool for plan in plans]
        sizes = [one.n_gpus_per_stage for one in pools for _ in range(one.replicas * one.pp)]
        domain = scenario.machine.scale_up.domain_gpus
        self.places = replica_places(sizes, domain_gpus=domain, n_gpus=scenario.n_gpus)
        ends = [first + size for first, size in zip(self.places, sizes, strict=True)]
        self._straddling = tuple(
            index
            for index, (first, size) in enumerate(zip(self.places, sizes, strict=True))
            if straddles(first, size=size, domain_gpus=domain)
        )
        n_gpus = max(ends)
        self.net = Interconnect(env, machine=scenario.machine, n_gpus=n_gpus)
        self.shipments = Shipments(self.net, machine=scenario.machine)
        self.kv = build_kv_links(scenario, shipments=self.shipments)
        self.ports: tuple[ReplicaPorts, ...] = ()
        self._faults: Faults | None = None
        self._audits: dict[int, Audit] = {}
        self._validity = _Validity()

    def attach(self, replicas: Sequence[Replica], *, rack: Service, streams: Streams) -> None:
        """Couple the replicas with their ports, and put the faults on the clock.

        Parameters
        ----------
        replicas : sequence of Replica
            In the order of the pools.
        rack : Service
            Takes failed replicas out.
        streams : Streams
            Random streams of the run.
        """
        choice = self._scenario.document.simulation
        plans = [plan for plan in self._plans for _ in range(plan.pool.replicas * plan.pool.pp)]
        found: list[ReplicaPorts] = []
        for replica, plan in zip(replicas, plans, strict=True):
            replica.detail = StepDetail(
                choice.fidelity, audit_every=choice.audit, n_ranks=plan.pool.n_gpus_per_stage
            )
            found.append(self._ports_of(replica, plan))
            replica.watches.append(found[-1])
            replica.watches.append(self._validity)
            if choice.audit:
                audit = self._audits[replica.index] = Audit(replica.detail)
                replica.watches.append(audit)
        self.ports = tuple(found)
        # any shipment but a KV cache may cross the ports of any replica
        self.shipments.on_exchange_ports.extend(one.share for one in found)
        if choice.faults:
            self._faults = Faults(
                self.net,
                machine=self._scenario.machine,
                rack=rack,
                ports=self.ports,
                shipments=self.shipments,
                streams=streams,
            )
            self._faults.start(choice.faults)

    def write(self, table: Table) -> None:
        """Append the ports that carried anything to the link table.

        Parameters
        ----------
        table : Table
            The link table.
        """
        self.net.write(table)

    def notes(self) -> dict[str, str]:
        """Return what audits and faults found, by topic."""
        found: dict[str, str] = {}
        if self._validity.n_by_tier:
            steps = ", ".join(
                f"{n} steps by {tier}" for tier, n in self._validity.n_by_tier.items()
            )
            found["fidelity"] = f"{self._scenario.document.simulation.fidelity}: {steps}"
        for index, audit in self._audits.items():
            report = audit.report()
            if report is not None:
                found[f"audit.replica_{index}"] = str(report)
        if self._faults is not None:
            found["faults"] = (
                f"{self._faults.n_faults} faults; replicas out of service for "
                f"{self._faults.out_s:.6g} s in all"
            )
        return found

    def warnings(self) -> tuple[str, ...]:
        """Return where the closed forms of the run are known to fall short."""
        found = [
            f"replica {index} straddles two scale-up domains, as no one has room for it; its "
            "exchanges are priced as if it were in one"
            for index in self._straddling
        ]
        if self._scenario.document.simulation.fidelity != "auto":
            return tuple(found)
        if self._validity.n_network_bound:
            found.append(
                f"{self._validity.n_network_bound} steps of two micro-batches waited for the "
                "network; exchanges that share ports make such steps 3 to 15 % longer than planned"
            )
        found.extend(
            f"replica {one.replica.index}: transfers met at {_most_common(one.met)}, where the "
            "closed form is up to 50 % off; shares of ports were solved for those steps, and "
            "exchanges of up to 32 ranks planned by flow"
            for one in self.ports
            if one.met
        )
        return tuple(found)

    def _ports_of(self, replica: Replica, plan: PoolPlan) -> ReplicaPorts:
        n_gpus = plan.pool.n_gpus_per_stage
        gpus = range(replica.first_gpu, replica.first_gpu + n_gpus)
        self.net.own(gpus, replica=replica.index)
        # as the laws see it: a group that fits into a domain is in one
        far_mask = plan.law.far_mask
        is_up = self._scenario.kv_path == "scale_up"
        is_shared = self.kv is not None and n_gpus > 1 and (is_up or far_mask is not None)
        return ReplicaPorts(
            self.net,
            replica=replica,
            n_gpus=n_gpus,
            far_mask=far_mask,
            is_shared=is_shared,
            shipments=self.shipments,
        )


def _most_common(met: Counter[str]) -> str:
    """Say where transfers met most often."""
    named = ", ".join(f"{name} ({n} steps)" for name, n in met.most_common(_MOST_NAMED))
    more = len(met) - _MOST_NAMED
    return f"{named} and {more} other links" if more > 0 else named


class _Validity:
    """Counts steps whose plan is known to be low; watches all replicas."""

    def __init__(self) -> None:
        self.n_network_bound = 0
        self.n_by_tier: Counter[str] = Counter()

    def started(self, plan: PlannedStep) -> None:
        """Look at the plan of a step."""
        if isinstance(plan.plan, TwoBatchPlan) and plan.plan.is_network_bound:
            self.n_network_bound += 1

    def ended(self, plan: PlannedStep, *, start_ps: int, end_ps: int, n_steps: int) -> None:  # noqa: ARG002 protocol
        """Count the steps by tier. [ps]."""
        self.n_by_tier[plan.tier.value] += n_steps

    def idle(self) -> None:
        """Do nothing."""
