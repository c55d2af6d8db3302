"""A scenario with everything it names looked up and checked against each other."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from rackmoe.backend.profile import BackendProfile, HostTimes, load_backend
from rackmoe.errors import CapacityError, ConfigError
from rackmoe.hardware.machine import Machine
from rackmoe.hardware.profile import load_machine
from rackmoe.model.architecture import ModelArchitecture
from rackmoe.model.config import load_model
from rackmoe.model.costs import shard_heads
from rackmoe.model.dtypes import stored_format
from rackmoe.scenario.deployment import Pool
from rackmoe.scenario.document import ScenarioDocument, load_documents
from rackmoe.scenario.parallelism import parallelism_problems

__all__ = ["Scenario", "load_scenario", "resolve_scenario"]

# What expert products of each weight format read their tokens in, and so what a dispatch sends
# unless a scenario says otherwise (TensorRT-LLM and DeepEP quantize before they send).
_DISPATCH_OF = {
    "nvfp4": "nvfp4",
    "fp8_block": "fp8_block",
    "fp8": "fp8",
    "w4a8_mxfp4": "fp8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What `simulate` takes.

    Attributes
    ----------
    name : str
        Stem of the file, or name of the variant.
    document : ScenarioDocument
        What the file says.
    machine : Machine
        One rack or node of the hardware.
    arch : ModelArchitecture
        The model, its weights in the chosen format.
    backend : BackendProfile
        The serving engine.
    variants : mapping of str to Scenario
        The variants of the file, by name.
    """

    name: str
    document: ScenarioDocument
    machine: Machine
    arch: ModelArchitecture
    backend: BackendProfile
    variants: Mapping[str, "Scenario"] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def n_domains(self) -> int:
        """Scale-up domains: racks of an NVL72 machine, nodes of an HGX machine."""
        hardware = self.document.hardware
        return hardware.racks or hardware.nodes or 1

    @property
    def n_gpus(self) -> int:
        """GPUs of the machine, used or not."""
        return self.n_domains * self.machine.scale_up.domain_gpus

    @property
    def host(self) -> HostTimes:
        """What the backend adds to steps of this model beside these GPUs."""
        weights = stored_format(self.arch.dtypes.routed_expert)
        return self.backend.host_on(self.machine.gpu.name, weights=weights)

    @property
    def kv_dtype(self) -> str:
        """Format of the KV cache."""
        return self.document.model.kv_cache or self.backend.kv.dtype

    @property
    def dispatch_dtype(self) -> str:
        """Format of tokens on their way to experts."""
        chosen = self.document.model.dispatch
        return chosen or _DISPATCH_OF.get(self.arch.dtypes.routed_expert, "bf16")

    @property
    def combine_dtype(self) -> str:
        """Format of expert outputs on their way back."""
        return self.document.model.combine

    @property
    def kv_path(self) -> str:
        """How KV caches travel from prefill to decode."""
        return self.document.simulation.kv_path or self.backend.kv.path

    def n_ranks(self, pool: Pool) -> int:
        """Return the ranks over which a pool spreads whole experts.

        Parameters
        ----------
        pool : Pool
            A pool of the deployment.

        Returns
        -------
        int
            1 where every expert is split over all GPUs of a replica.
        """
        return pool.ep


def load_scenario(
    name: str | os.PathLike[str], *, overrides: Mapping[str, object] | None = None
) -> Scenario:
    """Read a scenario and everything that it names.

    Parameters
    ----------
    name : str or path-like
        A shipped scenario or a file.
    overrides : mapping, optional
        Values to replace in the base and in every variant, by dotted path.

    Returns
    -------
    Scenario
        With its variants.

    Raises
    ------
    ConfigError
        With every problem of the file.
    """
    documents = load_documents(name, overrides=overrides)
    resolved: dict[str, Scenario] = {}
    problems: dict[str, None] = {}
    for key, document in documents.items():
        try:
            resolved[key] = resolve_scenario(document, name=key)
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise ConfigError(*problems)
    (base_name, base), *others = resolved.items()
    return Scenario(
        name=base_name,
        document=base.document,
        machine=base.machine,
        arch=base.arch,
        backend=base.backend,
        variants=MappingProxyType(dict(others)),
    )


def resolve_scenario(document: ScenarioDocument, *, name: str) -> Scenario:
    """Look up what a scenario names, and check that its parts agree.

    Parameters
    ----------
    document : ScenarioDocument
        What the file says.
    name : str
        Name of the scenario, for messages and results.

    Returns
    -------
    Scenario
        Without variants.

    Raises
    ------
    ConfigError
        If a name is unknown or a degree of parallelism does not divide.
    CapacityError
        If the deployment needs more GPUs than there are.
    """
    scenario = Scenario(
        name=name,
        document=document,
        machine=load_machine(
            document.hardware.profile,
            overrides=document.hardware.overrides or None,
            place=f"{name}: hardware.overrides",
        ),
        arch=load_model(document.model.name, weights=document.model.weights),
        backend=load_backend(document.backend),
    )
    problems = [
        problem
        for role, pool in document.deployment.pools.items()
        for problem in (
            *_pool_problems(scenario, pool, place=f"{name}: deployment.{role}"),
            *parallelism_problems(
                document, role=role, arch=scenario.arch, place=f"{name}: deployment.{role}"
            ),
        )
    ]
    if document.experts.rebalance and all(p.ep == 1 for p in document.deployment.pools.values()):
        problems.append(
            f"{name}: experts.rebalance: no pool has ep above 1; expected experts spread over "
            "ranks; remove it, or write ep: the GPUs of a replica"
        )
    if problems:
        raise ConfigError(*problems)
    used, there = document.deployment.n_gpus, scenario.n_gpus
    if used > there:
        raise CapacityError(
            f"{name}: deployment: {used} GPUs used, {there} are there; "
            f"lower replicas, or raise hardware to {-(-used // (there // scenario.n_domains))} "
            f"{'racks' if document.hardware.nodes is None else 'nodes'}"
        )
    return scenario


def _pool_problems(scenario: Scenario, pool: Pool, *, place: str) -> list[str]:
    problems = []
    n_routed = scenario.arch.moe.n_routed_experts
    n_physical = n_routed + pool.redundant_experts
    if n_physical % pool.ep:
        valid = [ep for ep in range(1, n_physical + 1) if n_physical % ep == 0]
        below = max(ep for ep in valid if ep <= pool.ep)
        above = min((ep for ep in valid if ep >= pool.ep), default=n_physical)
        more = -n_physical % pool.ep
        problems.append(
            f"{place}.ep: {pool.ep} does not divide {n_physical} physical experts; "
            f"nearest valid: {below}, {above}; or raise redundant_experts by {more}"
        )
    if pool.draft_tokens and not scenario.arch.n_mtp_layers:
        problems.append(
            f"{place}.draft_tokens: {pool.draft_tokens}; {scenario.arch.name} has no layer for "
            "multi-token prediction; expected 0; remove it"
        )
    if pool.redundant_experts and pool.ep == 1:
        problems.append(
            f"{place}.redundant_experts: {pool.redundant_experts} with ep 1; "
            "copies help only where experts are spread; remove it or raise ep"
        )
    try:
        shard_heads(scenario.arch.attention, tp=pool.tp)
    except ConfigError as error:
        problems.extend(f"{place}.{problem}" for problem in error.problems)
    return problems
