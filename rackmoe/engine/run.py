"""One run on the clock: from requests to records."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import simpy
from numpy.typing import NDArray
from simpy.core import EmptySchedule

from rackmoe.engine.assembly import build_replicas, plan_pool
from rackmoe.engine.client import ClosedLoopClient, MeasuredRequests, OpenLoopClient
from rackmoe.engine.clock import PICOSECONDS_PER_S, now_ps, to_ps, to_s
from rackmoe.engine.domain_mix import find_domain_mix
from rackmoe.engine.fabric_run import FabricRun
from rackmoe.engine.fleet_run import FleetRun
from rackmoe.engine.interconnect import HotLink, hot_links
from rackmoe.engine.ledger import Ledger
from rackmoe.engine.pool_plan import PoolPlan
from rackmoe.engine.prefix_caches import install_prefix_caches
from rackmoe.engine.rack import Rack
from rackmoe.engine.rebalance_run import install_rebalancers
from rackmoe.engine.replica import Replica
from rackmoe.engine.request_warnings import request_warnings
from rackmoe.engine.router import Router, build_router
from rackmoe.engine.routing_drift import install_drift
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.engine.session_client import SessionClient
from rackmoe.engine.swap import build_swap
from rackmoe.errors import InvariantError
from rackmoe.records import Records
from rackmoe.scenario.resolved import Scenario
from rackmoe.serving.workload import RequestTable
from rackmoe.streams import Streams

__all__ = ["EngineRun", "Progress", "run_engine"]

Progress = Callable[[float, int], None]
"""Takes the simulated time in seconds and the measured requests that have ended."""

_PROGRESS_EVERY_S = 0.25

Client = OpenLoopClient | ClosedLoopClient | SessionClient


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRun:
    """What a run leaves behind.

    Attributes
    ----------
    records : Records
        Everything that was written down.
    plans : tuple of PoolPlan
        The pools, with the expert loads that their laws summed up.
    replica_pools : tuple of int
        Index of the pool of each replica.
    n_arrived, n_unfinished : int
        Requests that were sent, and measured ones that had not ended.
    end_s : float
        When the run ended. [s]
    warnings : tuple of str
        What a reader of the figures has to know.
    notes : mapping of str to str
        What audits and faults found.
    hot_links : tuple of HotLink
        The busiest ports, the hottest first.
    figures : mapping of str to float
        What policies did that not every deployment has.
    """

    records: Records
    plans: tuple[PoolPlan, ...]
    replica_pools: tuple[int, ...]
    n_arrived: int
    n_unfinished: int
    end_s: float
    warnings: tuple[str, ...]
    notes: Mapping[str, str] = field(default_factory=dict)
    hot_links: tuple[HotLink, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


def run_engine(
    scenario: Scenario,
    *,
    requests: RequestTable,
    is_measured: NDArray[np.bool_],
    seed: int,
    until_s: float | None = None,
    progress: Progress | None = None,
) -> EngineRun:
    """Run a scenario until every measured request has ended.

    Parameters
    ----------
    scenario : Scenario
        What is simulated.
    requests : RequestTable
        The traffic.
    is_measured : ndarray of shape (n_requests,), bool
        Requests that are followed to their end; the others only keep the machine busy.
    seed : int
        Seed of all random streams.
    until_s : float, optional
        Simulated time at which the run ends in any case. [s]
    progress : callable, optional
        Called every quarter of a simulated second.

    Returns
    -------
    EngineRun
        Records and pools.

    Raises
    ------
    InvariantError
        If measured requests wait and nothing is left to happen: a bug.
    """
    env = simpy.Environment(initial_time=0)
    streams = Streams(seed)
    names = list(scenario.document.deployment.pools)
    domains = find_domain_mix(
        scenario.document.workload,
        requests=requests,
        only_seen=scenario.document.experts.balance_on_domain,
    )
    routing = RoutingInputs(scenario, streams=streams, domains=domains)
    plans = [plan_pool(scenario, name=name, routing=routing, streams=streams) for name in names]
    ledger = Ledger(
        n_input_tokens=requests.input_tokens,
        n_output_tokens=requests.output_tokens,
        application=requests.application,
    )
    ledger.trace_row[:] = plans[-1].law.tokens.first_rows(
        len(requests), rng=streams.rng("trace rows")
    )
    records = Records(requests.application_names)
    measured = MeasuredRequests(env, is_measured=is_measured)
    fabric = FabricRun(env, scenario=scenario, plans=plans)
    router = _router(scenario, requests, streams=streams)
    rack = Rack(
        env,
        ledger=ledger,
        links=fabric.kv,
        ended=lambda ids: _ended(measured, client, ids),
        frontend_ps=_frontend_ps(scenario),
        is_prefilled=scenario.document.workload.is_prefilled,
        router=router,
    )
    replicas = build_replicas(
        env,
        plans=plans,
        ledger=ledger,
        steps=records.steps,
        hooks=rack,
        places=fabric.places,
    )
    rack.install(replicas)
    rack.swap = build_swap(scenario, shipments=fabric.shipments, plans=plans)
    fleet = FleetRun(
        env,
        rack=rack,
        replicas=replicas,
        plans=plans,
        deployment=scenario.document.deployment,
        shipments=fabric.shipments,
    )
    fabric.attach(replicas, rack=fleet.fleet, streams=streams)
    rebalancers = install_rebalancers(
        env,
        scenario=scenario,
        plans=plans,
        replicas=replicas,
        routing=routing,
        shipments=fabric.shipments,
        table=records.rebalances,
    )
    install_drift(env, scenario=scenario, replicas=replicas, routing=routing)
    cache_warnings = install_prefix_caches(
        replicas, requests=requests, choice=scenario.document.prefix_cache
    )
    rack.priorities = _set_priorities(replicas, scenario, requests)
    fleet.begin()
    client = _client(env, scenario, requests=requests, ledger=ledger, submit=rack.submit)
    if progress is not None:
        _report(env, measured, progress)
    stops = [measured.done]
    if until_s is not None:
        stops.append(env.timeout(to_ps(until_s)))
    _run_until(env, simpy.AnyOf(env, stops), measured)
    for replica in replicas:
        replica.settle()
    for rebalancer in rebalancers:
        rebalancer.close()
    ledger.write(records.requests)
    fabric.write(records.links)
    fleet.fleet.write(records.replicas)
    for plan in plans:
        plan.law.experts.write(records.experts)
    pools = tuple(names.index(r.pool.name.lower()) for r in replicas)
    return EngineRun(
        records=records,
        plans=tuple(plans),
        replica_pools=pools,
        n_arrived=len(records.requests),
        n_unfinished=measured.n_left,
        end_s=to_s(now_ps(env)),
        warnings=(
            *cache_warnings,
            *request_warnings(
                ledger,
                n_unfinished=measured.n_left,
                most_kv_tokens=min(p.limits.kv_blocks * p.limits.block_tokens for p in plans),
                max_context=scenario.arch.max_context,
            ),
            *fabric.warnings(),
        ),
        notes=fabric.notes() | fleet.notes() | _router_note(router),
        hot_links=hot_links(records.links),
        figures={} if rack.swap is None else rack.swap.figures,
    )


def _router(scenario: Scenario, requests: RequestTable, *, streams: Streams) -> Router:
    cache = scenario.document.prefix_cache
    has_shared_caches = cache is not None and cache.shared
    choice = scenario.document.deployment.router
    return build_router(
        choice,
        has_shared_caches=has_shared_caches,
        application=requests.application,
        n_applications=len(requests.application_names),
        rng=streams.rng("frontends"),
    )


def _router_note(router: Router) -> dict[str, str]:
    found = router.note()
    return {} if found is None else {"router": found}


def _frontend_ps(scenario: Scenario) -> int:
    return to_ps(scenario.host.request_s.value)


def _run_until(env: simpy.Environment, stop: simpy.Event, measured: MeasuredRequests) -> None:
    try:
        env.run(until=stop)
    except RuntimeError as error:
        if not isinstance(error.__context__, EmptySchedule):
            raise
        raise InvariantError(
            f"LAW-08 at t={to_s(now_ps(env)):.6f} s: "
            f"{measured.n_left} measured requests wait, but no event is left that could serve them"
        ) from error


def _ended(
    measured: MeasuredRequests,
    client: Client,
    requests: NDArray[np.int64],
) -> None:
    measured.ended(requests)
    client.ended(requests)


def _set_priorities(
    replicas: list[Replica], scenario: Scenario, requests: RequestTable
) -> NDArray[np.int64] | None:
    """Let replicas know which application goes first, where any does; return by request."""
    priorities = np.array([one.priority for one in scenario.document.workload.parts.values()])
    if not (priorities != priorities[0]).any():
        return None
    by_request: NDArray[np.int64] = priorities[requests.application]
    for replica in replicas:
        replica.batcher.priorities = by_request
    return by_request


def _client(
    env: simpy.Environment,
    scenario: Scenario,
    *,
    requests: RequestTable,
    ledger: Ledger,
    submit: Callable[[int], None],
) -> Client:
    parts = scenario.document.workload.parts.values()
    loops = [one.arrivals.closed_loop if one.arrivals else None for one in parts]
    if len(loops) > 1 or requests.has_sessions:
        return SessionClient(
            env, requests=requests, concurrency=loops, ledger=ledger, submit=submit
        )
    if loops[0] is not None:
        return ClosedLoopClient(env, concurrency=loops[0], ledger=ledger, submit=submit)
    return OpenLoopClient(env, arrival_s=requests.arrival_s, ledger=ledger, submit=submit)


def _report(env: simpy.Environment, measured: MeasuredRequests, progress: Progress) -> None:
    n = measured.n_left

    def tick(_: simpy.Event) -> None:
        progress(to_s(now_ps(env)), n - measured.n_left)
        # where nothing else is left to happen, a tick would keep an empty clock running
        if env.peek() != math.inf:
            schedule()

    def schedule() -> None:
        event = env.timeout(int(_PROGRESS_EVERY_S * PICOSECONDS_PER_S))
        event.callbacks.append(tick)

    schedule()
