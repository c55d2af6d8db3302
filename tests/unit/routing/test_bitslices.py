import numpy as np
import pytest

from rackmoe.routing.bitslices import (
    add_planes,
    add_rows,
    count_wide_ranks,
    group_rows,
    unpack_slots,
)

ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


def bits(words):
    """Bits of words, lowest first: shape (..., 64)."""
    return (words[..., None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)


def value(planes):
    """Counters that the bit planes hold, shape (words, 64)."""
    power = 1 << np.arange(len(planes))
    return (bits(planes).astype(np.int64) * power[:, None, None]).sum(axis=0)


@pytest.fixture
def masks(make_rng):
    words = make_rng().integers(0, 2**63, (30, 4)).astype(np.uint64)
    words[-1] = 0
    return words


def test_rows_add_up_bit_by_bit(masks, make_rng):
    rows = make_rng(1).integers(0, 30, 200)
    planes, rank_planes = np.zeros((2, 12, 4), np.uint64)
    # fields of four bits
    low, top = np.uint64(0x7777777777777777), np.uint64(0x8888888888888888)
    add_rows(masks, rows, planes, rank_planes, np.zeros((2, 4), np.uint64), low, top)
    assert (value(planes) == bits(masks[rows]).sum(axis=0)).all()
    fields = bits(masks[rows]).reshape(200, 4, 16, 4).any(axis=3).sum(axis=0)
    assert (value(rank_planes).reshape(4, 16, 4)[:, :, 3] == fields).all()
    assert value(rank_planes).sum() == fields.sum()


def test_planes_add_like_numbers(masks):
    total, planes = masks[:12].copy(), masks[12:24].copy()
    total[10:], planes[10:] = 0, 0
    expected = value(total) + value(planes)
    add_planes(total, planes)
    assert (value(total) == expected).all()


def test_unpacked_counters_are_those_of_the_words_and_bits(masks):
    planes = masks[:9]
    out = np.zeros((3, 2), np.int32)
    # two words for each slot position, one for each of two layers
    unpack_slots(planes, np.array([0, 1, 1]), np.array([5, 0, 63], np.uint64), 1, out)
    held = value(planes)
    assert out.tolist() == [
        [held[0, 5], held[1, 5]],
        [held[2, 0], held[3, 0]],
        [held[2, 63], held[3, 63]],
    ]


def test_wide_rank_is_hit_by_any_of_its_words():
    masks = np.array([[0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, ALL]], np.uint64)
    hits = np.zeros((2, 1), np.int32)
    count_wide_ranks(masks, np.array([0, 1, 2]), 2, hits)
    assert hits[:, 0].tolist() == [2, 1]


def test_rows_are_grouped_by_rank_and_nodes_are_filled_up_to_eights():
    rows, row_rank = np.array([10, 11, 12, 13]), np.array([3, 0, 3, 1], np.int32)
    ordered = np.empty(4 + 16, np.int64)
    rank_start, node_start = np.empty(5, np.int64), np.empty(3, np.int64)
    group_rows(rows, row_rank, 2, 99, ordered, rank_start, node_start)
    assert rank_start.tolist() == [0, 1, 8, 8, 10]
    assert node_start.tolist() == [0, 8, 16]
    assert ordered[:16].tolist() == [11, 13, *[99] * 6, 10, 12, *[99] * 6]
