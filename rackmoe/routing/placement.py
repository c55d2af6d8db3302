"""Which physical slot of which rank holds which expert."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError

__all__ = ["Placement", "check_ep", "contiguous", "load_placement", "round_robin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Physical experts of each layer, in slots; consecutive slots share a rank.

    Attributes
    ----------
    slots : ndarray of shape (L, P), int16
        Logical expert in each slot. Rank r owns the slots r*P/R to (r+1)*P/R.
    n_experts : int
        Logical experts of a layer.
    n_ranks : int
        Ranks of the expert-parallel group.
    ranks_per_node : int
        Consecutive ranks within one scale-up domain; `n_ranks` if there is one.
    """

    slots: NDArray[np.int16]
    n_experts: int
    n_ranks: int
    ranks_per_node: int

    def __post_init__(self) -> None:
        """Refuse a placement that loses an expert or does not fill the ranks."""
        if self.slots.ndim != 2:  # noqa: PLR2004 - layers and slots
            raise ConfigError(
                f"placement: an array of {self.slots.ndim} axes; "
                "expected [layers, physical experts]; give one row for each MoE layer"
            )
        check_ep(self.n_ranks, n_physical=self.slots.shape[1])
        if self.n_ranks % self.ranks_per_node:
            raise ConfigError(
                f"placement: {self.ranks_per_node} ranks per node do not divide "
                f"{self.n_ranks} ranks; expected whole nodes; change ep"
            )
        _check_ids(self.slots, n_experts=self.n_experts)
        layer, expert = np.nonzero(self.n_replicas == 0)
        if layer.size:
            raise ConfigError(
                f"placement: layer {layer[0]}: expert {expert[0]} has no slot; "
                "expected each expert at least once; add it"
            )

    @classmethod
    def from_slots(
        cls,
        slots: NDArray[np.integer],
        *,
        n_experts: int,
        n_ranks: int,
        ranks_per_node: int | None = None,
    ) -> Self:
        """Build a placement from any integer array of shape (L, P).

        Parameters
        ----------
        slots : ndarray of shape (L, P)
            Logical expert in each slot.
        n_experts, n_ranks : int
            Logical experts of a layer; ranks of the group.
        ranks_per_node : int, optional
            Ranks in one scale-up domain; all of them if not given.

        Returns
        -------
        Placement
            The same, checked, as int16.

        Raises
        ------
        ConfigError
            If an expert is missing, out of range, or the slots do not fill the ranks.
        """
        _check_ids(slots, n_experts=n_experts)
        return cls(
            slots=np.ascontiguousarray(slots, dtype=np.int16),
            n_experts=n_experts,
            n_ranks=n_ranks,
            ranks_per_node=n_ranks if ranks_per_node is None else ranks_per_node,
        )

    @property
    def n_layers(self) -> int:
        """MoE layers."""
        return int(self.slots.shape[0])

    @property
    def n_physical(self) -> int:
        """Slots of a layer."""
        return int(self.slots.shape[1])

    @property
    def n_redundant(self) -> int:
        """Slots beyond one for each expert."""
        return self.n_physical - self.n_experts

    @property
    def slots_per_rank(self) -> int:
        """Slots of a layer on one rank."""
        return self.n_physical // self.n_ranks

    @property
    def n_nodes(self) -> int:
        """Scale-up domains that the group spans."""
        return self.n_ranks // self.ranks_per_node

    @property
    def n_replicas(self) -> NDArray[np.int32]:
        """Slots that hold each expert, shape (L, E)."""
        out = np.zeros((self.n_layers, self.n_experts), np.int32)
        layers = np.arange(self.n_layers)[:, None]
        np.add.at(out, (layers, self.slots), 1)
        return out


def check_ep(n_ranks: int, *, n_physical: int, place: str = "ep") -> None:
    """Refuse a degree of expert parallelism that leaves ranks unequal.

    Parameters
    ----------
    n_ranks : int
        Ranks of the expert-parallel group.
    n_physical : int
        Physical experts of a layer, redundant ones included.
    place : str
        Key that the user wrote, for the message.

    Raises
    ------
    ConfigError
        If the physical experts do not fill the ranks evenly.
    """
    if n_ranks >= 1 and n_physical % n_ranks == 0:
        return
    divisors = [n for n in range(1, n_physical + 1) if n_physical % n == 0]
    below = [n for n in divisors if n < n_ranks][-1:]
    above = [n for n in divisors if n > n_ranks][:1]
    raise ConfigError(
        f"{place}: {n_ranks} does not divide {n_physical} physical experts; "
        f"nearest valid: {', '.join(str(n) for n in below + above)}"
    )


def contiguous(
    n_experts: int,
    *,
    n_layers: int,
    n_ranks: int,
    ranks_per_node: int | None = None,
    n_redundant: int = 0,
) -> Placement:
    """Place experts in the order of their ids, the same in each layer.

    Redundant slots come last and hold experts 0, 1, 2, ... once more, which is
    how engines start before they know any load.

    Parameters
    ----------
    n_experts, n_layers, n_ranks : int
        Logical experts of a layer, MoE layers, ranks of the group.
    ranks_per_node : int, optional
        Ranks in one scale-up domain; all of them if not given.
    n_redundant : int
        Slots beyond one for each expert.

    Returns
    -------
    Placement
        The placement.

    Raises
    ------
    ConfigError
        If the ranks do not divide the slots.
    """
    check_ep(n_ranks, n_physical=n_experts + n_redundant)
    row = np.arange(n_experts + n_redundant) % n_experts
    return Placement.from_slots(
        np.tile(row, (n_layers, 1)),
        n_experts=n_experts,
        n_ranks=n_ranks,
        ranks_per_node=ranks_per_node,
    )


def round_robin(
    n_experts: int,
    *,
    n_layers: int,
    n_ranks: int,
    ranks_per_node: int | None = None,
    n_redundant: int = 0,
) -> Placement:
    """Deal experts to ranks like cards: expert e sits on rank e modulo R.

    Parameters
    ----------
    n_experts, n_layers, n_ranks : int
        Logical experts of a layer, MoE layers, ranks of the group.
    ranks_per_node : int, optional
        Ranks in one scale-up domain; all of them if not given.
    n_redundant : int
        Slots beyond one for each expert.

    Returns
    -------
    Placement
        The placement.

    Raises
    ------
    ConfigError
        If the ranks do not divide the slots.
    """
    check_ep(n_ranks, n_physical=n_experts + n_redundant)
    row = np.arange(n_experts + n_redundant) % n_experts
    dealt = row.reshape(-1, n_ranks).T.reshape(-1)
    return Placement.from_slots(
        np.tile(dealt, (n_layers, 1)),
        n_experts=n_experts,
        n_ranks=n_ranks,
        ranks_per_node=ranks_per_node,
    )


def load_placement(
    path: Path | str, *, n_experts: int, n_ranks: int, ranks_per_node: int | None = None
) -> Placement:
    """Read a placement that a serving engine wrote or can load.

    Parameters
    ----------
    path : path
        JSON with the key ``physical_to_logical_map``: one list of logical
        experts, slot by slot, for each MoE layer (as SGLang's expert location).
    n_experts, n_ranks : int
        Logical experts of a layer; ranks of the group.
    ranks_per_node : int, optional
        Ranks in one scale-up domain; all of them if not given.

    Returns
    -------
    Placement
        The placement.

    Raises
    ------
    ConfigError
        If the file is not such a map, or does not fit the model or the ranks.
    """
    place = Path(path).name
    expected = "expected 'physical_to_logical_map' with one list of expert ids for each layer"
    try:
        table = np.asarray(json.loads(Path(path).read_bytes())["physical_to_logical_map"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{place}: not a placement; {expected}; {error}") from error
    if table.dtype.kind not in "iu":
        raise ConfigError(f"{place}: not a placement; {expected}; use integers in equal rows")
    try:
        return Placement.from_slots(
            table, n_experts=n_experts, n_ranks=n_ranks, ranks_per_node=ranks_per_node
        )
    except ConfigError as error:
        raise ConfigError(*(f"{place}: {problem}" for problem in error.problems)) from error


def _check_ids(slots: NDArray[np.integer], *, n_experts: int) -> None:
    wrong = slots[(slots < 0) | (slots >= n_experts)]
    if wrong.size:
        raise ConfigError(
            f"placement: expert {int(wrong[0])} in a slot; "
            f"expected 0 to {n_experts - 1}; use the ids of logical experts"
        )
