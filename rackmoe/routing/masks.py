"""Count a step's assignments with bit-sliced counters over masks compiled per placement."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.bitslices import (
    add_planes,
    add_rows,
    count_destinations,
    count_nodes,
    count_own,
    count_wide_ranks,
    fill_masks,
    group_rows,
    unpack_slots,
)
from rackmoe.routing.placement import Placement
from rackmoe.routing.replicas import ReplicaTable
from rackmoe.routing.tally import Tally

__all__ = ["MaskedTrace", "compile_masks", "mask_bytes"]

_WORD_BITS = 64
_ROWS_AT_ONCE = 8
_MIN_PLANES = 3  # ones, twos and fours are always there
_N_PLANES = 28  # steps of up to 2**28 tokens
_ALL_BITS = (1 << _WORD_BITS) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where slots, ranks and nodes are in the words of a mask.

    A rank takes a field of a word, or several words if it has over 64 slots.
    """

    n_words: int
    words_per_rank: int
    slot_word: NDArray[np.int64]
    slot_bit: NDArray[np.uint64]
    rank_word: NDArray[np.int64]
    rank_shift: NDArray[np.uint64]
    rank_top_bit: NDArray[np.uint64]
    field: np.uint64
    low: np.uint64
    top: np.uint64
    node_masks: NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedTrace:
    """A token trace compiled for one placement.

    Each row becomes, per layer, one bit for each physical slot that the token
    uses. Eight rows at a time are added with carry-save adders, so no counter is
    incremented one by one; the slots of a rank are neighboring bits, and a carry
    through them tells whether the token visits the rank at all.

    Attributes
    ----------
    masks : ndarray of shape (N + 1, n_words * L), uint64
        Slots that each token uses, word-major; the last row is empty.
    n_destinations : ndarray of shape (N + 1, L), uint8
        Distinct ranks that each token visits.
    node_bits : ndarray of shape (N + 1, L) or (1, 1), uint64
        Nodes that each token visits, where there are several.
    placement : Placement
        Where the experts are.
    layout : object
        How the words are divided.
    planes, rank_planes, total_planes : ndarray of shape (28, n_words * L), uint64
        Bit planes of the counters.
    carry : ndarray of shape (2, n_words * L), uint64
        Carries out of the lower three planes.
    """

    masks: NDArray[np.uint64]
    n_destinations: NDArray[np.uint8]
    node_bits: NDArray[np.uint64]
    placement: Placement
    layout: _Layout
    planes: NDArray[np.uint64]
    rank_planes: NDArray[np.uint64]
    total_planes: NDArray[np.uint64]
    carry: NDArray[np.uint64]

    def count(self, tally: Tally, *, rows: NDArray[np.int64], row_rank: NDArray[np.int32]) -> None:
        """Add the assignments of tokens to a tally.

        Parameters
        ----------
        tally : Tally
            Counters to add to.
        rows : ndarray of shape (n,), int64
            Row of each token.
        row_rank : ndarray of shape (n,), int32
            Rank that routes it.
        """
        place, lay = self.placement, self.layout
        n_rows = self.masks.shape[0] - 1
        ordered = np.empty(rows.size + _ROWS_AT_ONCE * place.n_nodes, np.int64)
        rank_start = np.empty(place.n_ranks + 1, np.int64)
        node_start = np.empty(place.n_nodes + 1, np.int64)
        group_rows(rows, row_rank, place.ranks_per_node, n_rows, ordered, rank_start, node_start)
        n_planes = max(_MIN_PLANES, rows.size.bit_length())
        planes, totals = self.planes[:n_planes], self.total_planes[:n_planes]
        rank_planes = self.rank_planes[:n_planes]
        totals[:] = 0
        rank_planes[:] = 0
        for node in range(place.n_nodes):
            chosen = ordered[node_start[node] : node_start[node + 1]]
            planes[:] = 0
            add_rows(self.masks, chosen, planes, rank_planes, self.carry, lay.low, lay.top)
            add_planes(totals, planes)
            if place.n_nodes > 1:
                ranks = slice(node * place.ranks_per_node, (node + 1) * place.ranks_per_node)
                first = ranks.start * place.slots_per_rank
                last = ranks.stop * place.slots_per_rank
                unpack_slots(
                    planes,
                    lay.slot_word[first:last],
                    lay.slot_bit[first:last],
                    place.slots_per_rank,
                    tally.own_node_in[ranks],
                )
        unpack_slots(totals, lay.slot_word, lay.slot_bit, 1, tally.slots)
        if lay.words_per_rank == 1:
            unpack_slots(rank_planes, lay.rank_word, lay.rank_top_bit, 1, tally.rank_hits)
        else:
            count_wide_ranks(self.masks, ordered, lay.words_per_rank, tally.rank_hits)
        count_own(
            self.masks,
            ordered,
            rank_start,
            lay.rank_word,
            lay.rank_shift,
            lay.field,
            lay.words_per_rank,
            tally.own_assignments,
            tally.own_copies,
        )
        count_destinations(self.n_destinations, ordered, rank_start, tally.destinations)
        if place.n_nodes > 1:
            count_nodes(
                self.masks,
                self.node_bits,
                ordered,
                rank_start,
                lay.node_masks,
                tally.own_node_out,
                tally.node_in,
                tally.node_out,
            )


def mask_bytes(placement: Placement, *, n_rows: int) -> int:
    """Return the memory that a compiled trace takes.

    Parameters
    ----------
    placement : Placement
        Where the experts are.
    n_rows : int
        Rows of the trace.

    Returns
    -------
    int
        Masks, destinations and nodes together. [B]
    """
    words = _layout(placement).n_words + (1 if placement.n_nodes > 1 else 0)
    return (n_rows + 1) * placement.n_layers * (words * 8 + 1)


def compile_masks(
    routed_experts: NDArray[np.unsignedinteger], *, placement: Placement, table: ReplicaTable
) -> MaskedTrace:
    """Compile a token trace for one placement, replicas chosen at random.

    Parameters
    ----------
    routed_experts : ndarray of shape (N, L, K)
        Logical experts of each token.
    placement : Placement
        Where the experts are; at most 64 nodes.
    table : ReplicaTable
        Slots of each expert.

    Returns
    -------
    MaskedTrace
        The compiled trace and its counters.

    Raises
    ------
    TraceError
        If a token names an expert twice in a layer.
    """
    lay = _layout(placement)
    n_rows, n_layers, _ = routed_experts.shape
    width = lay.n_words * n_layers
    masks = np.zeros((n_rows + 1, width), np.uint64)
    n_destinations = np.zeros((n_rows + 1, n_layers), np.uint8)
    several = placement.n_nodes > 1
    node_bits = np.zeros((n_rows + 1, n_layers) if several else (1, 1), np.uint64)
    n_twice = fill_masks(
        routed_experts,
        table.slots,
        table.n_replicas,
        lay.slot_word,
        lay.slot_bit,
        (np.arange(placement.n_physical) // placement.slots_per_rank).astype(np.int32),
        (np.arange(placement.n_ranks) // placement.ranks_per_node).astype(np.int32),
        masks,
        n_destinations,
        node_bits,
    )
    if n_twice:
        raise TraceError(
            f"routed_experts: {n_twice} (token, layer) pairs name an expert twice; "
            "expected distinct experts; remove padding and fused shared experts"
        )
    planes = np.zeros((3, _N_PLANES, width), np.uint64)
    return MaskedTrace(
        masks=masks,
        n_destinations=n_destinations,
        node_bits=node_bits,
        placement=placement,
        layout=lay,
        planes=planes[0],
        rank_planes=planes[1],
        total_planes=planes[2],
        carry=np.zeros((2, width), np.uint64),
    )


def _layout(placement: Placement) -> _Layout:
    """Divide words among ranks so that no rank's field straddles a word."""
    per_rank = placement.slots_per_rank
    words_per_rank = -(-per_rank // _WORD_BITS)
    width = min(per_rank, _WORD_BITS)
    fields = 1 if words_per_rank > 1 else _WORD_BITS // per_rank
    rank = np.arange(placement.n_ranks)
    rank_word = rank * words_per_rank if words_per_rank > 1 else rank // fields
    rank_shift = (rank % fields) * width
    slot = np.arange(placement.n_physical)
    local = slot % per_rank
    slot_word = rank_word[slot // per_rank] + local // _WORD_BITS
    slot_bit = rank_shift[slot // per_rank] + local % _WORD_BITS
    n_words = int(slot_word.max()) + 1
    node_masks = np.zeros((placement.n_nodes, n_words), np.uint64)
    node = slot // per_rank // placement.ranks_per_node
    bits = np.uint64(1) << slot_bit.astype(np.uint64)
    np.bitwise_or.at(node_masks, (node, slot_word), bits)
    starts = [1 << (field * width) for field in range(fields)]
    top = sum(start << (width - 1) for start in starts)
    all_fields = sum(start * ((1 << width) - 1) for start in starts)
    return _Layout(
        n_words=n_words,
        words_per_rank=words_per_rank,
        slot_word=slot_word,
        slot_bit=slot_bit.astype(np.uint64),
        rank_word=rank_word,
        rank_shift=rank_shift.astype(np.uint64),
        rank_top_bit=(rank_shift + width - 1).astype(np.uint64),
        field=np.uint64((1 << width) - 1),
        low=np.uint64(all_fields ^ top),
        top=np.uint64(top),
        node_masks=node_masks,
    )
