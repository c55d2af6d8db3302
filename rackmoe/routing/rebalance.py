"""What a new placement asks for: the latest loads, and the experts that have to move."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ShapeError
from rackmoe.routing.placement import Placement

__all__ = ["ExpertMoves", "LoadWindow", "find_moves", "with_layers"]

_BUCKETS = 16  # the window moves on by this part of its length


class LoadWindow:
    """The load of each expert over the latest steps.

    It keeps sums over a sixteenth of the window each, and forgets one at a time.

    Parameters
    ----------
    n_layers, n_experts : int
        MoE layers, logical experts.
    n_steps : int
        Length of the window.
    """

    def __init__(self, *, n_layers: int, n_experts: int, n_steps: int) -> None:
        n_buckets = min(_BUCKETS, n_steps)
        self._per_bucket = -(-n_steps // n_buckets)
        self._sums = np.zeros((n_buckets, n_layers, n_experts))
        self._at = 0
        self._n_in_bucket = 0

    def add(self, counts: NDArray[np.integer], *, n_steps: int = 1) -> None:
        """Add the assignments of some steps.

        Parameters
        ----------
        counts : ndarray of shape (L, E)
            Assignments per logical expert.
        n_steps : int
            Steps that they are of.
        """
        if self._n_in_bucket >= self._per_bucket:
            self._at = (self._at + 1) % len(self._sums)
            self._sums[self._at] = 0.0
            self._n_in_bucket = 0
        self._sums[self._at] += counts
        self._n_in_bucket += n_steps

    @property
    def load(self) -> NDArray[np.float64]:
        """Load of each expert over the window, shape (L, E)."""
        return np.asarray(self._sums.sum(axis=0))

    @property
    def parts(self) -> NDArray[np.float64]:
        """The same for each part of the window that holds any, shape (B, L, E)."""
        return self._sums[self._sums.any(axis=(1, 2))]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertMoves:
    """Experts that a rank has to get before a placement can be used, layer by layer.

    Attributes
    ----------
    layer, expert : ndarray of shape (n,), int64
        What moves.
    source, destination : ndarray of shape (n,), int64
        A rank that has the expert, and the rank that gets it.
    """

    layer: NDArray[np.int64]
    expert: NDArray[np.int64]
    source: NDArray[np.int64]
    destination: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.layer.size)

    def of_layers(self, first: int, *, last: int) -> "ExpertMoves":
        """Return the moves of some layers.

        Parameters
        ----------
        first, last : int
            First layer, and the one after the last.

        Returns
        -------
        ExpertMoves
            In the same order.
        """
        is_in = (self.layer >= first) & (self.layer < last)
        return ExpertMoves(
            layer=self.layer[is_in],
            expert=self.expert[is_in],
            source=self.source[is_in],
            destination=self.destination[is_in],
        )

    def pairs(self) -> dict[tuple[int, int], int]:
        """Return how many experts go from rank to rank, in the order of the first of each."""
        found: dict[tuple[int, int], int] = {}
        for pair in zip(self.source.tolist(), self.destination.tolist(), strict=True):
            found[pair] = found.get(pair, 0) + 1
        return found


def find_moves(old: Placement, *, new: Placement) -> ExpertMoves:
    """Return the experts that must travel from rank to rank for a new placement.

    A rank that has an expert of a layer already, in whichever slot, needs no transfer.
    The others fetch it from a rank of their own node if there is one, and of these
    from the one that has sent the least so far.

    Parameters
    ----------
    old, new : Placement
        Placement now and then, of the same layers, experts and ranks.

    Returns
    -------
    ExpertMoves
        By layer, then by destination.

    Raises
    ------
    ShapeError
        If the placements are not of the same group.
    """
    _check_same_group(old, new)
    per_node = old.ranks_per_node
    n_sent = np.zeros(old.n_ranks, np.int64)
    rows: list[tuple[int, int, int, int]] = []
    for layer in range(old.n_layers):
        holders: list[list[int]] = [[] for _ in range(old.n_experts)]
        held = old.slots[layer].reshape(old.n_ranks, -1).tolist()
        for rank, experts in enumerate(held):
            for expert in sorted(set(experts)):
                holders[expert].append(rank)
        for rank, experts in enumerate(new.slots[layer].reshape(old.n_ranks, -1).tolist()):
            for expert in dict.fromkeys(experts):
                if rank in holders[expert]:
                    continue
                near = [r for r in holders[expert] if r // per_node == rank // per_node]
                source = min(near or holders[expert], key=lambda r: (n_sent[r], r))
                n_sent[source] += 1
                rows.append((layer, expert, source, rank))
    table = np.array(rows, np.int64).reshape(-1, 4)
    return ExpertMoves(
        layer=table[:, 0], expert=table[:, 1], source=table[:, 2], destination=table[:, 3]
    )


def with_layers(old: Placement, *, new: Placement, first: int, last: int) -> Placement:
    """Return a placement some of whose layers are replaced.

    Parameters
    ----------
    old, new : Placement
        Where all layers come from, and where the replaced ones do.
    first, last : int
        First layer to replace, and the one after the last.

    Returns
    -------
    Placement
        The placement in between.
    """
    _check_same_group(old, new)
    slots = old.slots.copy()
    slots[first:last] = new.slots[first:last]
    return Placement.from_slots(
        slots,
        n_experts=old.n_experts,
        n_ranks=old.n_ranks,
        ranks_per_node=old.ranks_per_node,
    )


def _check_same_group(old: Placement, new: Placement) -> None:
    has = (new.slots.shape, new.n_experts, new.n_ranks)
    needs = (old.slots.shape, old.n_experts, old.n_ranks)
    if has != needs:
        raise ShapeError(
            f"placement: layers and slots {has[0]}, {has[1]} experts, {has[2]} ranks; expected "
            f"{needs[0]}, {needs[1]} and {needs[2]}; place the same group anew"
        )
