"""What each expert and each slot computed over a run, while the placement may change."""

import numpy as np
from numpy.typing import NDArray

from rackmoe.engine.step_arrays import add_counts
from rackmoe.records import Table
from rackmoe.routing.placement import Placement
from rackmoe.routing.replicas import split_counts

__all__ = ["ExpertCounts"]


class ExpertCounts:
    """Sums up assignments by expert, and by slot at the end.

    Parameters
    ----------
    placement : Placement
        Where the experts are at first.
    layer_ids : tuple of int
        Number of each MoE layer in the model.

    Attributes
    ----------
    total : ndarray of shape (L, E), int64
        Assignments of each logical expert since the start.
    """

    def __init__(self, placement: Placement, *, layer_ids: tuple[int, ...]) -> None:
        self._placement = placement
        self._layer_ids = np.array(layer_ids)
        self.total = np.zeros((placement.n_layers, placement.n_experts), np.int64)
        self._booked = self.total.copy()
        # assignments by layer, slot and logical expert, of the placements before
        self._before: dict[tuple[int, int, int], float] = {}

    def add(self, counts: NDArray[np.int32]) -> None:
        """Add the assignments of a step.

        Parameters
        ----------
        counts : ndarray of shape (L, E)
            By logical expert.
        """
        add_counts(self.total, counts)

    def place(self, placement: Placement) -> None:
        """Go on with another placement.

        Parameters
        ----------
        placement : Placement
            Where the experts are from now on.
        """
        split = self._split()
        changed = (placement.slots != self._placement.slots).any(axis=1)
        for layer in np.flatnonzero(changed).tolist():
            for slot, expert in enumerate(self._placement.slots[layer].tolist()):
                key = (layer, slot, expert)
                self._before[key] = self._before.get(key, 0.0) + float(split[layer, slot])
            self._booked[layer] = self.total[layer]
        self._placement = placement

    def write(self, table: Table) -> None:
        """Append what each physical expert computed over the run.

        A slot that held several experts one after the other has a row for each.

        Parameters
        ----------
        table : Table
            The expert table.
        """
        place, split = self._placement, self._split()
        n_layers, n_slots = place.slots.shape
        for layer, slot, expert in list(self._before):
            if place.slots[layer, slot] == expert:
                split[layer, slot] += self._before.pop((layer, slot, expert))
        self._append(
            table,
            layer=np.repeat(np.arange(n_layers), n_slots),
            slot=np.tile(np.arange(n_slots), n_layers),
            expert=place.slots.reshape(-1),
            n_assignments=split.reshape(-1),
        )
        if self._before:
            keys = np.array(list(self._before), np.int64)
            self._append(
                table,
                layer=keys[:, 0],
                slot=keys[:, 1],
                expert=keys[:, 2],
                n_assignments=np.array(list(self._before.values())),
            )

    def _append(
        self,
        table: Table,
        *,
        layer: NDArray[np.int64],
        slot: NDArray[np.int64],
        expert: NDArray[np.integer],
        n_assignments: NDArray[np.float64],
    ) -> None:
        table.append_columns(
            {
                "layer": self._layer_ids[layer],
                "physical_expert": slot,
                "logical_expert": expert,
                "rank": slot // self._placement.slots_per_rank,
                "n_assignments": n_assignments,
            }
        )

    def _split(self) -> NDArray[np.float64]:
        """Return what each slot computed since it got its expert, shape (L, P)."""
        counts = (self.total - self._booked).astype(np.float64)
        return split_counts(counts, placement=self._placement, choice="round_robin")
