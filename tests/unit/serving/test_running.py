import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.model.architecture import Window
from rackmoe.serving.running import RunningSequences, advance_reference


def three_sequences():
    running = RunningSequences(n_groups=2, block_tokens=4, window=Window(n_tokens=6))
    running.add(10, group=0, context=3, remaining=2, row=100)
    running.add(11, group=1, context=8, remaining=1, row=200)
    running.add(12, group=0, context=9, remaining=5, row=300)
    return running


def test_sums_follow_the_sequences_by_hand():
    running = three_sequences()
    assert running.n_sequences.tolist() == [2, 1]
    assert running.kv_tokens.tolist() == [12, 8]
    assert running.kv_blocks.tolist() == [1 + 3, 2]
    assert running.window_kv_tokens.tolist() == [3 + 6, 6]


def test_a_sequence_leaves_with_its_last_token():
    running = three_sequences()
    finished = running.advance()
    assert finished.requests.tolist() == [11]
    assert finished.groups.tolist() == [1]
    assert finished.contexts.tolist() == [9]
    assert running.requests.tolist() == [10, 12]
    assert running.contexts.tolist() == [4, 10]
    assert running.trace_rows.tolist() == [101, 301]
    assert running.kv_tokens.tolist() == [14, 0]


def test_speculation_emits_no_more_than_what_is_left():
    running = three_sequences()
    finished = running.advance(np.array([3, 3, 3]))
    assert finished.requests.tolist() == [10, 11]
    assert finished.contexts.tolist() == [5, 9]
    assert running.remaining.tolist() == [2]


def test_blocks_are_wanted_by_contexts_that_fill_their_last_block():
    running = three_sequences()
    assert running.blocks_wanted().tolist() == [0, 1]


def test_the_latest_sequence_of_a_group_is_popped_first():
    running = three_sequences()
    assert running.pop_latest(0) == (12, 9, 5)
    assert running.requests.tolist() == [10, 11]
    assert running.kv_blocks.tolist() == [1, 2]


def test_the_table_grows_beyond_its_first_size():
    running = RunningSequences(n_groups=1, block_tokens=4)
    for request in range(200):
        running.add(request, group=0, context=1, remaining=1 + request % 2, row=0)
    assert len(running.advance().requests) == 100
    assert len(running) == 100


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 40), st.integers(1, 6), st.integers(1, 4)),
        min_size=1,
        max_size=90,
    ),
    st.booleans(),
)
def test_kernel_equals_its_numpy_twin(rows, is_chunked):
    running = RunningSequences(
        n_groups=3, block_tokens=4, window=Window(n_tokens=16, is_chunked=is_chunked)
    )
    for request, (group, context, remaining, _) in enumerate(rows):
        running.add(request, group=group, context=context, remaining=remaining, row=request)
    table = np.array([(i, g, c, r, i) for i, (g, c, r, _) in enumerate(rows)], dtype=np.int64)
    emitted = np.array([row[3] for row in rows], dtype=np.int64)
    kept, gone, sums = advance_reference(
        table, block_tokens=4, window_tokens=16, is_chunked=is_chunked, emitted=emitted, n_groups=3
    )
    finished = running.advance(emitted)
    assert finished.requests.tolist() == gone[:, 0].tolist()
    assert finished.contexts.tolist() == gone[:, 2].tolist()
    assert running.contexts.tolist() == kept[:, 2].tolist()
    assert running.trace_rows.tolist() == kept[:, 4].tolist()
    assert running.n_sequences.tolist() == sums[0].tolist()
    assert running.kv_tokens.tolist() == sums[1].tolist()
    assert running.kv_blocks.tolist() == sums[2].tolist()
    assert running.window_kv_tokens.tolist() == sums[3].tolist()


def test_popping_from_an_empty_group_is_an_index_error():
    with pytest.raises(IndexError):
        three_sequences().pop_latest(1) and three_sequences().pop_latest(5)
