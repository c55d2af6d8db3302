"""The placement that a scenario asks for, from what a balancer has seen of the routing."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError, RackmoeError
from rackmoe.routing.affinity import PairCounts, affinity_placement, count_pairs
from rackmoe.routing.eplb import eplb
from rackmoe.routing.eplb_vec import eplb_vec
from rackmoe.routing.exporters.exporting import read_exported
from rackmoe.routing.placement import Placement, contiguous, round_robin
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.traces import TokenTrace, count_experts

__all__ = ["SeenRouting", "build_placement"]

_PLACE = "experts.placement"
_STEPS = 32  # into which the seen tokens are dealt for eplb_vec: as many tokens of each request


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRouting:
    """What a balancer has seen.

    Attributes
    ----------
    load : ndarray of shape (L, E)
        Load of each expert.
    trace : TokenTrace or None
        The tokens behind the load; None where only counts are known.
    rows : ndarray of shape (n,), int64
        Rows of the trace that were seen.
    parts : ndarray of shape (S, L, E), int64, or None
        Load of each expert in each of some parts of the time, where no tokens are known.
    """

    load: NDArray[np.float64]
    trace: TokenTrace | None = None
    rows: NDArray[np.int64]
    parts: NDArray[np.int64] | None = None

    @property
    def steps(self) -> NDArray[np.int64]:
        """Load of each expert in steps that hold tokens of all requests, shape (S, L, E)."""
        if self.parts is not None:
            return self.parts
        trace, n_steps = self._tokens, min(_STEPS, self.rows.size)
        deals = [self.rows[first::n_steps] for first in range(n_steps)]
        return np.stack([count_experts(trace, rows=rows) for rows in deals])

    @property
    def pairs(self) -> PairCounts:
        """How often tokens choose two experts."""
        trace = self._tokens
        return count_pairs(trace.routed_experts, n_experts=trace.header.n_experts, rows=self.rows)

    @property
    def _tokens(self) -> TokenTrace:
        if self.trace is None:
            raise ConfigError(
                f"{_PLACE}: this routing has counts and no tokens; expected tokens for 'eplb_vec' "
                "and 'affinity'; name a trace, or write source: block beside the generator"
            )
        return self.trace


def build_placement(
    policy: str | Path,
    *,
    seen: SeenRouting,
    shape: MoeShape,
    n_ranks: int,
    n_redundant: int,
    ranks_per_node: int,
    moe_layer_ids: tuple[int, ...],
) -> Placement:
    """Return where the experts of a pool are.

    Parameters
    ----------
    policy : str or pathlib.Path
        A word of the schema, or the file of a placement.
    seen : SeenRouting
        What the balancer has seen.
    shape : MoeShape
        Layers, experts and groups of the model.
    n_ranks : int
        Ranks of the expert-parallel group; one rank holds all experts in order.
    n_redundant : int
        Slots beyond one for each expert.
    ranks_per_node : int
        Ranks in one scale-up domain.
    moe_layer_ids : tuple of int
        Number of each MoE layer, for files that number all layers.

    Returns
    -------
    Placement
        The placement.

    Raises
    ------
    ConfigError
        If the ranks do not divide the experts, the groups cannot be kept together,
        the policy needs tokens, or the file does not fit.
    """
    if isinstance(policy, Path):
        return _from_file(
            policy,
            shape=shape,
            n_ranks=n_ranks,
            n_redundant=n_redundant,
            ranks_per_node=ranks_per_node,
            moe_layer_ids=moe_layer_ids,
        )
    group = {"n_ranks": n_ranks, "n_redundant": n_redundant, "ranks_per_node": ranks_per_node}
    if n_ranks == 1 or policy in {"contiguous", "round_robin"}:
        deal = round_robin if policy == "round_robin" else contiguous
        return deal(shape.n_experts, n_layers=shape.n_layers, **group)
    if policy == "eplb_vec":
        return eplb_vec(
            seen.steps, n_ranks=n_ranks, n_redundant=n_redundant, ranks_per_node=ranks_per_node
        )
    if policy == "affinity":
        return affinity_placement(seen.pairs, **group)
    is_hierarchical = {"eplb_global": False, "eplb_hierarchical": True}.get(policy)
    try:
        return eplb(seen.load, n_groups=shape.n_groups, is_hierarchical=is_hierarchical, **group)
    except ConfigError as error:
        raise ConfigError(*(f"{_PLACE}: {one}" for one in error.problems)) from error


def _from_file(
    path: Path,
    *,
    shape: MoeShape,
    n_ranks: int,
    n_redundant: int,
    ranks_per_node: int,
    moe_layer_ids: tuple[int, ...],
) -> Placement:
    try:
        found = read_exported(
            path,
            n_experts=shape.n_experts,
            n_ranks=n_ranks,
            ranks_per_node=ranks_per_node,
            moe_layer_ids=moe_layer_ids,
        )
    except RackmoeError as error:
        raise ConfigError(f"{_PLACE}: {error}") from error
    expected = (shape.n_layers, shape.n_experts + n_redundant)
    if found.slots.shape != expected:
        raise ConfigError(
            f"{_PLACE}: {path.name}: {found.n_layers} layers of {found.n_physical} slots; "
            f"expected {expected[0]} of {expected[1]}; change redundant_experts or the file"
        )
    return found
