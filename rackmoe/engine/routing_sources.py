"""The routing sources and placements that a scenario asks for."""

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rackmoe.engine.domain_mix import DomainMix
from rackmoe.engine.domain_routing import labeled_parts, traced_source
from rackmoe.engine.drawn_popularity import domain_deviates, domain_sample, drawn_popularity
from rackmoe.engine.placements import SeenRouting, build_placement
from rackmoe.errors import ConfigError
from rackmoe.routing.domains import DomainSource, domain_popularity
from rackmoe.routing.drift import PopularityDrift
from rackmoe.routing.families import RoutingStatistics
from rackmoe.routing.family_files import find_statistics
from rackmoe.routing.generator import CountNoise, inclusion
from rackmoe.routing.placement import Placement
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.sources import (
    BalancedSource,
    block_source,
    replay_source,
    sampled_source,
    sampled_trace_source,
)
from rackmoe.routing.step import RoutingSource
from rackmoe.routing.step_source import StepSource
from rackmoe.routing.tokens import generate_token_trace
from rackmoe.routing.trace_files import load_token_trace
from rackmoe.routing.traces import TokenTrace, count_experts, join_domains
from rackmoe.scenario.deployment import Pool
from rackmoe.scenario.domains import Domains
from rackmoe.scenario.resolved import Scenario
from rackmoe.schema.shipped import shipped_path
from rackmoe.streams import Streams

__all__ = ["RoutingInputs", "find_routing_trace"]

_TRACES = "scenarios/traces/routing"
# Tokens of one request of a generated trace: between the mean outputs of the shipped request
# traces (Azure conversation 211, Mooncake conversation 343).
_TOKENS_PER_REQUEST = 256
_NO_DOMAIN = ""


class RoutingInputs:
    """Popularity and traces of a run, drawn once and shared by its pools.

    Parameters
    ----------
    scenario : Scenario
        The scenario.
    streams : Streams
        Random streams of the run.
    domains : DomainMix, optional
        What requests are about, where that decides their experts; all alike by default.
    """

    def __init__(
        self, scenario: Scenario, *, streams: Streams, domains: DomainMix | None = None
    ) -> None:
        self.domains = domains
        self._choice = scenario.document.workload.routing
        self._domain_choice = scenario.document.workload.domains or Domains()
        self._experts = scenario.document.experts
        self._streams = streams
        self._rngs: dict[str, np.random.Generator] = {}
        # of a pool, for each domain
        self._noises: dict[str, list[CountNoise]] = {}
        self._model = scenario.arch.name
        self._moe_layer_ids = scenario.arch.moe_layers
        self._domain_gpus = scenario.machine.scale_up.domain_gpus
        moe = scenario.arch.moe
        self._shape = MoeShape(
            n_layers=len(scenario.arch.moe_layers),
            n_experts=moe.n_routed_experts,
            top_k=moe.top_k,
            n_groups=moe.n_groups,
            top_groups=moe.top_k_groups,
        )

    def source(self, pool: Pool, *, role: str) -> RoutingSource:
        """Return the source of a pool's steps.

        Parameters
        ----------
        pool : Pool
            The pool.
        role : str
            Its name; each pool draws from a stream of its own.

        Returns
        -------
        RoutingSource
            With the placement that the scenario asks for.

        Raises
        ------
        ConfigError
            If a name is unknown, or the ranks do not divide the experts.
        TraceError
            If the trace is damaged or belongs to another model.
        """
        self._rngs[role] = self._streams.rng(f"routing {role}")
        self._noises.pop(role, None)
        return self.moved(role=role, placement=self._placement(pool))

    def moved(self, *, role: str, placement: Placement) -> RoutingSource:
        """Return the source of a pool's steps under another placement.

        Parameters
        ----------
        role : str
            A pool that has got a source; the new one goes on in its stream.
        placement : Placement
            Where the experts are.

        Returns
        -------
        RoutingSource
            Of the same tokens.
        """
        choice, rng = self._choice, self._rngs[role]
        replicas = self._experts.replica_choice
        if choice.balanced:
            return BalancedSource(placement, top_k=self._shape.top_k)
        if choice.source == "sampled" and choice.trace is None:
            sources = self._sampled(role, placement=placement)
            return sources[0] if self.domains is None else DomainSource(sources)
        build = {
            "replay": replay_source,
            "block": block_source,
            "sampled": sampled_trace_source,
        }[choice.source]
        if self.domains is None:
            return build(self._trace, placement=placement, rng=rng, replica_choice=replicas)
        return traced_source(
            build,
            trace=self._trace,
            names=self._labels,
            parts=self._parts,
            placement=placement,
            rng=rng,
            choice=replicas,
        )

    def _sampled(self, role: str, *, placement: Placement) -> list[StepSource]:
        """Return the sources of each domain that draw their counts."""
        shape, seed = self._shape, self._streams.seed
        specific_frac = self._domain_choice.specific_frac
        samples = [
            drawn_popularity(self._statistics, shape=shape, seed=seed)[1]
            if name is None
            else domain_sample(
                self._statistics, shape=shape, seed=seed, domain=name, specific_frac=specific_frac
            )
            for name in self._names
        ]
        return [
            sampled_source(
                self._statistics,
                placement=placement,
                shape=self._shape,
                rng=self._rngs[role],
                replica_choice=self._experts.replica_choice,
                share=share,
                sample=sample,
                noise=noise,
            )
            for share, sample, noise in zip(self._shares, samples, self._noise(role), strict=True)
        ]

    def drift(self, time_s: float) -> None:
        """Let the popularity of the experts change, where the scenario says so.

        Parameters
        ----------
        time_s : float
            Time that went by. [s]
        """
        if self._drift is None:
            return
        self._drift.advance(time_s)
        chances = [
            inclusion(share, top_k=self._shape.top_k)
            for share in self._by_domain(self._drift.share)
        ]
        for noises in self._noises.values():
            for noise, chance in zip(noises, chances, strict=True):
                noise.set_chance(chance)

    def place(
        self, pool: Pool, *, policy: str, load: NDArray[np.float64], parts: NDArray[np.float64]
    ) -> Placement:
        """Return a placement for loads that were seen in the run.

        Parameters
        ----------
        pool : Pool
            Whose experts to place.
        policy : str
            How, as ``experts.placement``.
        load : ndarray of shape (L, E)
            Load of each expert.
        parts : ndarray of shape (S, L, E)
            The same in each of some parts of the time.

        Returns
        -------
        Placement
            For the ranks of the pool.
        """
        none = np.empty(0, np.int64)
        seen = SeenRouting(load=load, rows=none, parts=parts.astype(np.int64))
        return self._placement(pool, policy=policy, seen=seen)

    def _noise(self, role: str) -> list[CountNoise]:
        """Return what draws the counts of a pool, the same under each placement."""
        if role not in self._noises:
            self._noises[role] = [
                CountNoise(
                    inclusion(share, top_k=self._shape.top_k),
                    top_k=self._shape.top_k,
                    step_jitter=self._statistics.step_jitter,
                    rng=self._rngs[role],
                )
                for share in self._shares
            ]
        return self._noises[role]

    @property
    def _names(self) -> tuple[str | None, ...]:
        return (None,) if self.domains is None else self.domains.names

    def _by_domain(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a popularity in each domain, shape (n_domains, L, E)."""
        seed, specific_frac = self._streams.seed, self._domain_choice.specific_frac
        parts = [
            share
            if name is None
            else domain_popularity(
                share,
                deviates=domain_deviates(self._shape, seed=seed, domain=name),
                specific_frac=specific_frac,
            )
            for name in self._names
        ]
        return np.stack(parts)

    @cached_property
    def _statistics(self) -> RoutingStatistics:
        return find_statistics(self._choice.generator or "uniform")

    @cached_property
    def _share(self) -> NDArray[np.float64]:
        """Long-run share of each expert in the assignments of its layer, shape (L, E)."""
        if self._drift is not None:
            return self._drift.share
        return drawn_popularity(self._statistics, shape=self._shape, seed=self._streams.seed)[0]

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        """The same in each domain, shape (n_domains, L, E)."""
        return self._by_domain(self._share)

    @cached_property
    def _drift(self) -> PopularityDrift | None:
        choice = self._choice.drift
        if choice is None:
            return None
        return PopularityDrift(
            drawn_popularity(self._statistics, shape=self._shape, seed=self._streams.seed)[0],
            n_domains=choice.domains,
            domain_sd=choice.domain_sd,
            mix_sd=choice.mix_sd,
            memory_s=choice.memory_s,
            rng=self._streams.rng("routing drift"),
        )

    @cached_property
    def _trace(self) -> TokenTrace:
        if self._choice.trace is not None:
            return load_token_trace(find_routing_trace(self._choice.trace), shape=self._shape)
        n_tokens, rng = self._choice.tokens // len(self._names), self._streams.rng("routing trace")
        parts = [
            generate_token_trace(
                self._statistics,
                shape=self._shape,
                n_tokens=n_tokens,
                n_requests=max(1, n_tokens // _TOKENS_PER_REQUEST),
                rng=rng,
                model=self._model,
                share=share,
            )
            for share in self._shares
        ]
        if self.domains is None:
            return parts[0]
        return join_domains(parts, names=[name or _NO_DOMAIN for name in self._names])

    @cached_property
    def _parts(self) -> tuple[TokenTrace, ...]:
        """What the trace holds about each domain."""
        return labeled_parts(self._trace, names=self._labels)

    @property
    def _labels(self) -> tuple[str | None, ...]:
        """Names in the trace: what has none is drawn by itself, or takes all of a recorded one."""
        is_recorded = self._choice.trace is not None
        return self._names if is_recorded else tuple(name or _NO_DOMAIN for name in self._names)

    def _placement(
        self, pool: Pool, *, policy: str | None = None, seen: SeenRouting | None = None
    ) -> Placement:
        chosen = self._experts.placement if policy is None else policy
        return build_placement(
            chosen if isinstance(chosen, str) else Path(chosen.file),
            seen=self._seen if seen is None else seen,
            shape=self._shape,
            n_ranks=pool.ep,
            n_redundant=pool.redundant_experts,
            ranks_per_node=min(pool.ep, self._domain_gpus),
            moe_layer_ids=self._moe_layer_ids,
        )

    @cached_property
    def _seen(self) -> SeenRouting:
        """What a balancer has seen: popularity, or the tokens from the start of the trace."""
        choice, none = self._choice, np.empty(0, np.int64)
        if choice.balanced:
            size = (self._shape.n_layers, self._shape.n_experts)
            return SeenRouting(load=np.ones(size), rows=none)
        if choice.trace is None and choice.source == "sampled":
            load = self._share
            if self.domains is not None:
                weights = self.domains.weights(self._experts.balance_on_domain)
                load = np.tensordot(weights, self._shares, axes=1)
            return SeenRouting(load=load, rows=none)
        trace, only = self._trace, self._experts.balance_on_domain
        if self.domains is not None and only is not None:
            trace = self._parts[self.domains.names.index(only)]
        rows = self._first_rows(trace)
        load = count_experts(trace, rows=rows).astype(np.float64)
        if self.domains is not None and only is None:
            counts = [count_experts(part, rows=self._first_rows(part)) for part in self._parts]
            loads = np.stack([one / one.sum(axis=1, keepdims=True) for one in counts])
            load = np.tensordot(self.domains.share_frac, loads, axes=1)
        return SeenRouting(load=load, trace=trace, rows=rows)

    def _first_rows(self, trace: TokenTrace) -> NDArray[np.int64]:
        """Return the rows of a trace that a balancer may look at."""
        rows = trace.phase_rows("decode")
        rows = rows if rows.size else trace.phase_rows("prefill")
        return rows[: max(1, int(self._experts.balance_on_frac * len(rows)))]


def find_routing_trace(name: str) -> Path:
    """Return the file of a routing trace.

    Parameters
    ----------
    name : str
        Name of a shipped trace, or path of a file or folder.

    Returns
    -------
    Path
        The trace.

    Raises
    ------
    ConfigError
        If there is no such trace.
    """
    given = Path(name)
    if given.exists():
        return given
    try:
        return shipped_path(_TRACES, name=name, suffix=".npz")
    except ConfigError as error:
        raise ConfigError(f"workload.routing.trace: {error}") from error
