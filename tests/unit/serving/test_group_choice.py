"""Which group a request goes to: by hand, and the compiled kernels against their NumPy twins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rackmoe.serving.group_choice import (
    NO_GROUP,
    choose_roomy_group,
    choose_roomy_group_plain,
    least_sum_group,
    least_sum_group_plain,
)


def loads(n_rows):
    return st.integers(1, 9).flatmap(
        lambda n: arrays(np.int64, (n_rows, n), elements=st.integers(0, 12))
    )


def test_first_of_equal_groups_is_chosen():
    none = np.zeros(3, np.int64)
    assert least_sum_group(np.array([2, 1, 0]), np.array([0, 0, 1]), none) == 1


@given(loads(3))
def test_least_sum_is_that_of_the_twin(load):
    assert least_sum_group(*load) == least_sum_group_plain(*load)


@pytest.mark.parametrize(
    ("max_sequences", "max_blocks", "kept_blocks", "by_blocks", "group"),
    [
        (4, 9, 0, False, 1),  # fewest sequences
        (4, 9, 0, True, 0),  # fewest blocks
        (1, 9, 0, False, NO_GROUP),  # no slot is left
        (4, 5, 0, False, 0),  # the group with the fewest sequences is full
        (4, 5, 2, False, NO_GROUP),  # those with sequences keep blocks to grow
    ],
)
def test_group_needs_a_slot_and_room(max_sequences, max_blocks, kept_blocks, by_blocks, group):
    sequences = np.array([1, 1]), np.array([1, 0])
    blocks = np.array([3, 6]), np.array([1, 0])
    chosen = choose_roomy_group(
        sequences, blocks, max_sequences, max_blocks, kept_blocks, by_blocks
    )
    assert chosen == group


def test_idle_group_keeps_no_blocks_for_others_to_grow():
    none = np.zeros(1, np.int64)
    limits = {"max_sequences": 4, "max_blocks": 0, "kept_blocks": 5, "by_blocks": False}
    assert choose_roomy_group((none, none), (none, none), **limits) == 0


@given(loads(4), st.integers(0, 14), st.integers(0, 25), st.integers(0, 4), st.booleans())
def test_roomy_group_is_that_of_the_twin(load, max_sequences, max_blocks, kept_blocks, by_blocks):
    sequences, blocks = (load[0], load[1]), (load[2], load[3])
    expected = choose_roomy_group_plain(
        sequences,
        blocks,
        max_sequences=max_sequences,
        max_blocks=max_blocks,
        kept_blocks=kept_blocks,
        by_blocks=by_blocks,
    )
    chosen = choose_roomy_group(
        sequences, blocks, max_sequences, max_blocks, kept_blocks, by_blocks
    )
    assert chosen == expected
