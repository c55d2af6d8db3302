"""Compiled kernels that set, add and read the bits of placement masks."""

import numba
import numpy as np
from numpy.typing import NDArray

from rackmoe.routing.replicas import hashed_replica

__all__ = [
    "add_planes",
    "add_rows",
    "count_destinations",
    "count_nodes",
    "count_own",
    "count_wide_ranks",
    "fill_masks",
    "group_rows",
    "unpack_slots",
]


@numba.njit(cache=True, inline="always")
def _ones(word: np.uint64) -> np.uint64:
    """Return the number of bits that are set; LLVM makes one instruction of it."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + (
        (word >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@numba.njit(cache=True)
def fill_masks(
    routed: NDArray[np.unsignedinteger],
    replica_slots: NDArray[np.int16],
    n_replicas: NDArray[np.int32],
    slot_word: NDArray[np.int64],
    slot_bit: NDArray[np.uint64],
    rank_of: NDArray[np.int32],
    node_of: NDArray[np.int32],
    masks: NDArray[np.uint64],
    n_destinations: NDArray[np.uint8],
    node_bits: NDArray[np.uint64],
) -> int:
    """Set the bits of every token; return how often an expert comes twice."""
    n_rows, n_layers, top_k = routed.shape
    several = node_bits.shape[0] > 1
    last_seen = np.full(replica_slots.shape[1] * replica_slots.shape[2], -1, np.int64)
    stamp = 0
    n_twice = 0
    one = np.uint64(1)
    for row in range(n_rows):
        for layer in range(n_layers):
            stamp += 1
            distinct = 0
            twice = False
            for k in range(top_k):
                expert = routed[row, layer, k]
                copies = n_replicas[layer, expert]
                slot = replica_slots[layer, expert, 0]
                if copies > 1:
                    slot = replica_slots[layer, expert, hashed_replica(row, slot, copies)]
                at = slot_word[slot] * n_layers + layer
                bit = one << slot_bit[slot]
                twice |= (masks[row, at] & bit) != 0
                masks[row, at] |= bit
                rank = rank_of[slot]
                if last_seen[rank] != stamp:
                    last_seen[rank] = stamp
                    distinct += 1
                if several:
                    node_bits[row, layer] |= one << np.uint64(node_of[rank])
            n_twice += twice
            n_destinations[row, layer] = distinct
    return n_twice


@numba.njit(cache=True)
def group_rows(
    rows: NDArray[np.int64],
    row_rank: NDArray[np.int32],
    ranks_per_node: int,
    empty_row: int,
    ordered: NDArray[np.int64],
    rank_start: NDArray[np.int64],
    node_start: NDArray[np.int64],
) -> None:
    """Sort rows by sending rank; fill each node up to a multiple of eight with empty rows."""
    n_ranks = rank_start.size - 1
    n_of = np.zeros(n_ranks, np.int64)
    for index in range(rows.size):
        n_of[row_rank[index]] += 1
    ordered[:] = empty_row
    at = 0
    for rank in range(n_ranks):
        if rank % ranks_per_node == 0:
            at = (at + 7) & ~7
            node_start[rank // ranks_per_node] = at
        rank_start[rank] = at
        at += n_of[rank]
    node_start[n_ranks // ranks_per_node] = (at + 7) & ~7
    rank_start[n_ranks] = at
    n_of[:] = rank_start[:n_ranks]
    for index in range(rows.size):
        rank = row_rank[index]
        ordered[n_of[rank]] = rows[index]
        n_of[rank] += 1


@numba.njit(cache=True)
def add_rows(
    masks: NDArray[np.uint64],
    rows: NDArray[np.int64],
    planes: NDArray[np.uint64],
    rank_planes: NDArray[np.uint64],
    carry: NDArray[np.uint64],
    low: np.uint64,
    top: np.uint64,
) -> None:
    """Add rows, eight at a time, to the bit planes of slots and of ranks.

    A rank counts once for each row: adding `low`, all bits of its field but the
    top one, carries into the top bit if any lower bit is set. `top` is zero
    where a rank takes several words; its planes then stay empty.
    """
    width = masks.shape[1]
    plane_0, plane_1, plane_2 = planes[0], planes[1], planes[2]
    rank_0, rank_1, rank_2 = rank_planes[0], rank_planes[1], rank_planes[2]
    eight, rank_eight = carry[0], carry[1]
    for group in range(rows.size // 8):
        a, b = masks[rows[8 * group]], masks[rows[8 * group + 1]]
        c, d = masks[rows[8 * group + 2]], masks[rows[8 * group + 3]]
        e, f = masks[rows[8 * group + 4]], masks[rows[8 * group + 5]]
        g, h = masks[rows[8 * group + 6]], masks[rows[8 * group + 7]]
        for j in range(width):
            eight[j], plane_2[j], plane_1[j], plane_0[j] = _add_eight(
                (a[j], b[j], c[j], d[j], e[j], f[j], g[j], h[j]),
                plane_2[j],
                plane_1[j],
                plane_0[j],
            )
        _ripple(planes, eight)
        if top == 0:
            continue
        for j in range(width):
            rank_eight[j], rank_2[j], rank_1[j], rank_0[j] = _add_eight(
                (
                    ((a[j] & low) + low | a[j]) & top,
                    ((b[j] & low) + low | b[j]) & top,
                    ((c[j] & low) + low | c[j]) & top,
                    ((d[j] & low) + low | d[j]) & top,
                    ((e[j] & low) + low | e[j]) & top,
                    ((f[j] & low) + low | f[j]) & top,
                    ((g[j] & low) + low | g[j]) & top,
                    ((h[j] & low) + low | h[j]) & top,
                ),
                rank_2[j],
                rank_1[j],
                rank_0[j],
            )
        _ripple(rank_planes, rank_eight)


@numba.njit(cache=True, inline="always")
def _add_eight(words, fours, twos, ones):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return eights, fours, twos and ones of eight words added to the running sums.

    The carry-save tree of H. S. Warren, Hacker's Delight, 2nd ed., 2012, section 5-1.
    """
    a, b, c, d, e, f, g, h = words
    u = ones ^ a
    two_a = (ones & a) | (u & b)
    ones = u ^ b
    u = ones ^ c
    two_b = (ones & c) | (u & d)
    ones = u ^ d
    u = twos ^ two_a
    four_a = (twos & two_a) | (u & two_b)
    twos = u ^ two_b
    u = ones ^ e
    two_a = (ones & e) | (u & f)
    ones = u ^ f
    u = ones ^ g
    two_b = (ones & g) | (u & h)
    ones = u ^ h
    u = twos ^ two_a
    four_b = (twos & two_a) | (u & two_b)
    twos = u ^ two_b
    u = fours ^ four_a
    return (fours & four_a) | (u & four_b), u ^ four_b, twos, ones


@numba.njit(cache=True)
def _ripple(planes: NDArray[np.uint64], carry: NDArray[np.uint64]) -> None:
    """Carry the eights upward until nothing is left."""
    for p in range(3, planes.shape[0]):
        plane = planes[p]
        left = np.uint64(0)
        for j in range(plane.size):
            old = plane[j]
            plane[j] = old ^ carry[j]
            carry[j] = old & carry[j]
            left |= carry[j]
        if left == 0:
            return


@numba.njit(cache=True)
def add_planes(total: NDArray[np.uint64], planes: NDArray[np.uint64]) -> None:
    """Add one set of bit planes to another."""
    n_planes, width = planes.shape
    carry = np.zeros(width, np.uint64)
    for p in range(n_planes):
        for j in range(width):
            a, b, c = total[p, j], planes[p, j], carry[j]
            total[p, j] = a ^ b ^ c
            carry[j] = (a & b) | (c & (a ^ b))


@numba.njit(cache=True)
def unpack_slots(
    planes: NDArray[np.uint64],
    word: NDArray[np.int64],
    bit: NDArray[np.uint64],
    per_row: int,
    out: NDArray[np.int32],
) -> None:
    """Add the counters at given words and bits to rows of `out`, `per_row` to each row."""
    n_layers = out.shape[1]
    for index in range(word.size):
        first = word[index] * n_layers
        target = out[index // per_row]
        for p in range(planes.shape[0]):
            plane = planes[p, first : first + n_layers]
            for layer in range(n_layers):
                target[layer] += np.int32(((plane[layer] >> bit[index]) & np.uint64(1)) << p)


@numba.njit(cache=True)
def count_wide_ranks(
    masks: NDArray[np.uint64],
    rows: NDArray[np.int64],
    words_per_rank: int,
    hits: NDArray[np.int32],
) -> None:
    """Count the tokens that visit each rank, where a rank takes several words."""
    n_ranks, n_layers = hits.shape
    seen = np.empty(n_layers, np.uint64)
    for row in rows:
        for rank in range(n_ranks):
            seen[:] = 0
            for part in range(words_per_rank):
                at = (rank * words_per_rank + part) * n_layers
                for layer in range(n_layers):
                    seen[layer] |= masks[row, at + layer]
            for layer in range(n_layers):
                hits[rank, layer] += np.int32(seen[layer] != 0)


@numba.njit(cache=True)
def count_own(
    masks: NDArray[np.uint64],
    rows: NDArray[np.int64],
    rank_start: NDArray[np.int64],
    rank_word: NDArray[np.int64],
    rank_shift: NDArray[np.uint64],
    field: np.uint64,
    words_per_rank: int,
    own_assignments: NDArray[np.int32],
    own_copies: NDArray[np.int32],
) -> None:
    """Count what each sender keeps for itself."""
    n_ranks, n_layers = own_copies.shape
    zero = np.uint64(0)
    last_bit = np.uint64(63)
    kept, visited = np.empty(n_layers, np.uint64), np.empty(n_layers, np.uint64)
    for rank in range(n_ranks):
        kept[:] = 0
        visited[:] = 0
        shift = rank_shift[rank]
        for index in range(rank_start[rank], rank_start[rank + 1]):
            first = rank_word[rank] * n_layers
            words = masks[rows[index], first : first + words_per_rank * n_layers]
            for layer in range(n_layers):
                own = (words[layer] >> shift) & field
                kept[layer] += _ones(own)
                for part in range(1, words_per_rank):
                    kept[layer] += _ones(words[part * n_layers + layer])
                    own |= words[part * n_layers + layer]
                # the top bit of x | -x tells whether x has any
                visited[layer] += (own | (zero - own)) >> last_bit
        for layer in range(n_layers):
            own_assignments[rank, layer] += kept[layer]
            own_copies[rank, layer] += visited[layer]


@numba.njit(cache=True)
def count_destinations(
    n_destinations: NDArray[np.uint8],
    rows: NDArray[np.int64],
    rank_start: NDArray[np.int64],
    destinations: NDArray[np.int32],
) -> None:
    """Add up how many ranks the tokens of each sender visit."""
    n_ranks, n_layers = destinations.shape
    sent = np.empty(n_layers, np.int32)
    for rank in range(n_ranks):
        sent[:] = 0
        for index in range(rank_start[rank], rank_start[rank + 1]):
            distinct = n_destinations[rows[index]]
            for layer in range(n_layers):
                sent[layer] += distinct[layer]
        for layer in range(n_layers):
            destinations[rank, layer] += sent[layer]


@numba.njit(cache=True)
def count_nodes(
    masks: NDArray[np.uint64],
    node_bits: NDArray[np.uint64],
    rows: NDArray[np.int64],
    rank_start: NDArray[np.int64],
    node_masks: NDArray[np.uint64],
    own_node_out: NDArray[np.int32],
    node_in: NDArray[np.int32],
    node_out: NDArray[np.int32],
) -> None:
    """Count what senders keep within their node, and the copies to each other node."""
    n_ranks, n_layers = own_node_out.shape
    n_nodes, n_words = node_masks.shape
    per_node = n_ranks // n_nodes
    one = np.uint64(1)
    for rank in range(n_ranks):
        node = rank // per_node
        others = ~(one << np.uint64(node))
        kept, sent = own_node_out[rank], node_out[rank]
        for index in range(rank_start[rank], rank_start[rank + 1]):
            row = rows[index]
            for word in range(n_words):
                if node_masks[node, word] != 0:
                    words = masks[row, word * n_layers : (word + 1) * n_layers]
                    for layer in range(n_layers):
                        kept[layer] += np.int32(_ones(words[layer] & node_masks[node, word]))
            visited = node_bits[row]
            for layer in range(n_layers):
                sent[layer] += np.int32(_ones(visited[layer] & others))
            for other in range(n_nodes):
                if other != node:
                    arrived = node_in[other * per_node + rank % per_node]
                    for layer in range(n_layers):
                        arrived[layer] += np.int32((visited[layer] >> np.uint64(other)) & one)
