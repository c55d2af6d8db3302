import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.errors import ShapeError
from rackmoe.serving.prefixes import PrefixBlocks, join_prefixes


def blocks(*prompts: list[int], block_tokens: int = 16) -> PrefixBlocks:
    offsets = np.cumsum([0, *(len(one) for one in prompts)])
    ids = np.array([i for one in prompts for i in one], np.int64)
    return PrefixBlocks(offsets=offsets, ids=ids, block_tokens=block_tokens)


def lists(prefixes: PrefixBlocks) -> list[list[int]]:
    return [prefixes.of(request).tolist() for request in range(len(prefixes))]


def test_rows_are_taken_in_any_order_and_number() -> None:
    assert lists(blocks([0], [0, 1], [], [2, 3]).take(np.array([3, 2, 1, 1]))) == [
        [2, 3],
        [],
        [0, 1],
        [0, 1],
    ]


def test_copies_share_nothing() -> None:
    taken = blocks([0], [0, 1]).take(np.array([1, 0, 1]), copy=np.array([0, 1, 1]))
    assert lists(taken) == [[0, 1], [2], [2, 3]]


def test_smaller_blocks_tell_the_same_story() -> None:
    fine = blocks([0, 2], [], [2]).split(8)
    assert lists(fine) == [[0, 1, 4, 5], [], [4, 5]]
    assert fine.block_tokens == 8


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"block_tokens: 5 does not divide 16"):
        blocks([0]).split(5)


def test_tables_are_joined_without_sharing_and_at_their_common_size() -> None:
    joined = join_prefixes(
        [blocks([0], [0, 1], block_tokens=24), None, blocks([0], block_tokens=16)],
        n_requests=[2, 2, 1],
    )
    assert joined is not None
    assert joined.block_tokens == 8
    assert lists(joined) == [[0, 1, 2], [0, 1, 2, 3, 4, 5], [], [], [6, 7]]


def test_tables_without_blocks_have_none_together() -> None:
    assert join_prefixes([None, None], n_requests=[3, 1]) is None


@given(st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=6), st.randoms())
def test_taking_every_row_changes_nothing(prompts: list[list[int]], random) -> None:
    order = list(range(len(prompts)))
    random.shuffle(order)
    taken = blocks(*prompts).take(np.array(order, np.int64))
    assert lists(taken) == [prompts[row] for row in order]


@pytest.mark.parametrize("offsets", [[], [1, 2], [0, 1], [0, 2, 1, 2]])
def test_offsets_must_cover_the_ids(offsets: list[int]) -> None:
    with pytest.raises(ShapeError, match=r"offsets: .*; expected ascending values"):
        PrefixBlocks(offsets=np.array(offsets, int), ids=np.array([1, 2]), block_tokens=4)


def test_a_block_has_tokens() -> None:
    with pytest.raises(ShapeError, match=r"block_tokens: 0"):
        blocks([1], block_tokens=0)
