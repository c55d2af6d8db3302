"""How much each rank of an expert-parallel group sends and receives."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rackmoe.backend.collectives import Spread
from rackmoe.errors import ConfigError

__all__ = ["BalancedTraffic", "ExpertGroup", "PortTimes", "Traffic", "balanced_traffic"]

Floats = NDArray[np.float64]

# Node-limited routing of DeepSeek-V3 and R1 (arXiv 2412.19437, section 2.1.2): 8 groups, 4 chosen.
_N_EXPERT_GROUPS = 8
_N_CHOSEN_GROUPS = 4
_GROUPED_EXPERTS = 256


class Traffic(Protocol):
    """Per-rank sums of one step's routing; `rackmoe.routing.step.StepRouting` is one.

    All arrays have the shape (n_layers, n_ranks) and count copies of tokens. What
    stays on the own rank (or node) is not counted, except in `rank_assignments`.
    """

    @property
    def rank_assignments(self) -> Floats:
        """Assignments that a rank computes."""

    @property
    def copies_in(self) -> Floats:
        """Received copies when a token goes to a rank once."""

    @property
    def copies_out(self) -> Floats:
        """Sent copies when a token goes to a rank once."""

    @property
    def assignments_in(self) -> Floats:
        """Received copies when a token goes to each of its experts."""

    @property
    def assignments_out(self) -> Floats:
        """Sent copies when a token goes to each of its experts."""

    @property
    def node_copies_in(self) -> Floats:
        """Received copies when a token goes to a remote domain once."""

    @property
    def node_copies_out(self) -> Floats:
        """Sent copies when a token goes to a remote domain once."""

    @property
    def remote_assignments_in(self) -> Floats:
        """The part of `assignments_in` that comes from other domains."""

    @property
    def remote_assignments_out(self) -> Floats:
        """The part of `assignments_out` that goes to other domains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortTimes:
    """How long the busiest port of each rank sends and receives in one collective.

    The collective of ranks that start together ends ``latency_s + max(egress_s,
    ingress_s)`` after its start, over all ranks of a layer.

    Attributes
    ----------
    egress_s, ingress_s : ndarray of shape (n_layers, n_ranks)
        Start-up time apart. [s]
    latency_s : float
        Start-up time, paid once. [s]
    """

    egress_s: Floats
    ingress_s: Floats
    latency_s: float

    def total_s(self) -> Floats:
        """Return how long each layer's collective takes when all ranks start together.

        Returns
        -------
        ndarray of shape (n_layers,)
            Start to end. [s]
        """
        busiest: Floats = np.maximum(self.egress_s, self.ingress_s).max(axis=-1)
        return busiest + self.latency_s


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertGroup:
    """The ranks that share the experts of a layer, and the experts of a token.

    Attributes
    ----------
    n_ranks : int
        Ranks of the group.
    ranks_per_domain : int
        Ranks that reach each other through the scale-up fabric; at least 1.
    top_k : int
        Routed experts of a token.
    n_experts : int
        Routed experts of a layer.
    """

    n_ranks: int
    ranks_per_domain: int
    top_k: int
    n_experts: int

    def __post_init__(self) -> None:
        if self.n_ranks < 1 or self.ranks_per_domain < 1 or not 1 <= self.top_k <= self.n_experts:
            raise ConfigError(
                f"{self}: expected at least one rank, and top_k from 1 to the number of experts; "
                "correct the numbers"
            )

    @property
    def n_domains(self) -> int:
        """Scale-up domains that the group covers."""
        return -(-self.n_ranks // self.ranks_per_domain)


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancedTraffic:
    """The expected traffic of a group whose ranks are all alike: one rank stands for all.

    Attributes
    ----------
    rank_assignments, copies_in, copies_out, assignments_in, assignments_out, node_copies_in,
    node_copies_out, remote_assignments_in, remote_assignments_out : ndarray of shape (n, 1)
        As in `Traffic`, for n numbers of tokens.
    tokens : ndarray of shape (n, 1)
        Tokens of a rank.
    """

    rank_assignments: Floats
    copies_in: Floats
    copies_out: Floats
    assignments_in: Floats
    assignments_out: Floats
    node_copies_in: Floats
    node_copies_out: Floats
    remote_assignments_in: Floats
    remote_assignments_out: Floats
    tokens: Floats


def balanced_traffic(
    tokens_per_rank: Floats | float, *, group: ExpertGroup, spread: Spread
) -> BalancedTraffic:
    r"""Return the expected traffic when tokens choose experts without preference.

    Parameters
    ----------
    tokens_per_rank : float or ndarray of shape (n,)
        Tokens of each rank.
    group : ExpertGroup
        Ranks and experts.
    spread : Spread
        How a token's experts are drawn.

    Returns
    -------
    BalancedTraffic
        Expected numbers of copies.

    Notes
    -----
    A token has an expert among the :math:`m` of a rank with the probability of the
    hypergeometric law, :math:`p = 1 - \binom{E-m}{k} / \binom{E}{k}`; it then sends
    :math:`p (R - 1)` copies to other ranks, and :math:`k (R - 1) / R` assignments.
    """
    tokens = np.atleast_1d(np.asarray(tokens_per_rank, np.float64))[:, None]
    n_ranks, n_domains = group.n_ranks, group.n_domains
    copies = tokens * (n_ranks - 1) * _hit_probability(group, n_parts=n_ranks, spread=spread)
    node_copies = (
        tokens * (n_domains - 1) * _hit_probability(group, n_parts=n_domains, spread=spread)
    )
    load = tokens * group.top_k
    assignments = load * (n_ranks - 1) / n_ranks
    remote = load * (n_domains - 1) / n_domains
    return BalancedTraffic(
        rank_assignments=load,
        copies_in=copies,
        copies_out=copies,
        assignments_in=assignments,
        assignments_out=assignments,
        node_copies_in=node_copies,
        node_copies_out=node_copies,
        remote_assignments_in=remote,
        remote_assignments_out=remote,
        tokens=tokens,
    )


def _hit_probability(group: ExpertGroup, *, n_parts: int, spread: Spread) -> float:
    """Return how likely a token has an expert in one of the equal parts of the group."""
    n_experts, top_k = group.n_experts, group.top_k
    if spread is Spread.EVEN:
        return min(top_k, n_parts) / n_parts
    if spread is Spread.GROUPED and n_experts == _GROUPED_EXPERTS:
        return _grouped_probability(top_k, n_parts=n_parts)
    return _draw_probability(n_experts / n_parts, n_experts=n_experts, top_k=top_k)


def _grouped_probability(top_k: int, *, n_parts: int) -> float:
    """Return the same under node-limited routing, with equal chances for all groups."""
    per_group = _GROUPED_EXPERTS // _N_EXPERT_GROUPS
    n_open = _N_CHOSEN_GROUPS * per_group
    if n_parts > _N_EXPERT_GROUPS:
        in_part = _GROUPED_EXPERTS / n_parts
        chance = _draw_probability(in_part, n_experts=n_open, top_k=top_k)
        return chance * _N_CHOSEN_GROUPS / _N_EXPERT_GROUPS
    mine = _N_EXPERT_GROUPS // n_parts
    others = _N_EXPERT_GROUPS - mine
    total = 0.0
    for chosen in range(1, min(mine, _N_CHOSEN_GROUPS) + 1):
        ways = math.comb(mine, chosen) * math.comb(others, _N_CHOSEN_GROUPS - chosen)
        chance = _draw_probability(chosen * per_group, n_experts=n_open, top_k=top_k)
        total += chance * ways / math.comb(_N_EXPERT_GROUPS, _N_CHOSEN_GROUPS)
    return total


def _draw_probability(in_part: float, *, n_experts: int, top_k: int) -> float:
    """Return the chance that one of the drawn experts is in a part, even a fractional one."""
    missed = 1.0
    for drawn in range(top_k):
        missed *= max(0.0, n_experts - in_part - drawn) / (n_experts - drawn)
    return 1.0 - missed
