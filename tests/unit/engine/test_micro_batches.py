"""How a step is divided in two."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.engine.micro_batches import split_batch, whole_batch
from rackmoe.model.architecture import Window
from rackmoe.serving.batching import PrefillChunk, StepBatch
from rackmoe.serving.running import RunningSequences


def step_of(sequences, prompts=(), *, n_groups=2, has_decode=True):
    """Return the step and the running sequences of (group, context) and (group, past, new)."""
    running = RunningSequences(n_groups=n_groups, block_tokens=1, window=Window(n_tokens=4))
    for request, (group, context) in enumerate(sequences):
        running.add(request, group=group, context=context, remaining=5, row=10 * request)
    tokens = np.zeros(n_groups, np.int64)
    chunks = []
    for request, (group, past, new) in enumerate(prompts):
        tokens[group] += new
        chunks.append(
            PrefillChunk(
                request=100 + request,
                group=group,
                n_tokens=new,
                past_tokens=past,
                is_first=past == 0,
                is_last=True,
            )
        )
    zeros = np.zeros(n_groups, np.int64)
    batch = StepBatch(
        decode_sequences=running.n_sequences.copy() if has_decode else zeros,
        decode_kv_tokens=running.kv_tokens.copy() if has_decode else zeros,
        decode_window_tokens=running.window_kv_tokens.copy() if has_decode else zeros,
        prefill_tokens=tokens,
        chunks=tuple(chunks),
        preempted=(),
    )
    return batch, running


def test_every_second_sequence_of_each_group_goes_to_the_second_half():
    # admitted in turn to two groups: every second one overall would put a group in each half
    batch, running = step_of([(0, 10), (1, 20), (0, 30), (1, 40)])
    first, second = split_batch(batch, running=running)
    assert first.batch.decode_sequences.tolist() == [1, 1]
    assert second.batch.decode_sequences.tolist() == [1, 1]
    assert first.batch.decode_kv_tokens.tolist() == [10, 20]
    assert second.batch.decode_kv_tokens.tolist() == [30, 40]
    assert first.batch.decode_window_tokens.tolist() == [4, 4]
    assert first.trace_rows.tolist() == [0, 10]
    assert second.trace_rows.tolist() == [20, 30]
    assert second.groups.tolist() == [0, 1]


def test_prompts_are_cut_in_the_middle():
    batch, running = step_of([], [(0, 0, 5), (1, 8, 1)])
    first, second = split_batch(batch, running=running)
    (cut,) = first.batch.chunks
    assert (cut.n_tokens, cut.past_tokens, cut.is_first, cut.is_last) == (2, 0, True, False)
    rest, single = second.batch.chunks
    assert (rest.n_tokens, rest.past_tokens, rest.is_first, rest.is_last) == (3, 2, False, True)
    assert (single.n_tokens, single.past_tokens) == (1, 8)
    assert first.batch.prefill_tokens.tolist() == [2, 0]
    assert second.batch.prefill_tokens.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("sequences", "prompts"), [([(0, 10)], []), ([(0, 10), (1, 20)], []), ([], [(0, 0, 1)])]
)
def test_a_step_that_leaves_a_half_empty_is_not_split(sequences, prompts):
    batch, running = step_of(sequences, prompts)
    (only,) = split_batch(batch, running=running)
    assert only.batch is batch


def test_a_step_of_prompts_alone_takes_no_sequences_along():
    batch, running = step_of([(0, 10), (0, 20)], [(0, 0, 4)], has_decode=False)
    for half in split_batch(batch, running=running):
        assert not half.batch.has_decode
        assert half.groups.size == half.trace_rows.size == 0


def test_the_whole_batch_is_the_step():
    batch, running = step_of([(1, 3), (0, 4)])
    (only,) = whole_batch(batch, running=running)
    assert only.batch is batch
    assert only.groups.tolist() == [1, 0]


@given(
    sequences=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 50)), max_size=20),
    prompts=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(1, 9)), max_size=4
    ),
)
def test_both_halves_are_the_whole_and_about_equal(sequences, prompts):
    batch, running = step_of(sequences, prompts, n_groups=3, has_decode=bool(sequences))
    parts = split_batch(batch, running=running)
    for name in (
        "decode_sequences",
        "decode_kv_tokens",
        "decode_window_tokens",
        "prefill_tokens",
    ):
        total = sum(getattr(part.batch, name) for part in parts)
        assert total.tolist() == getattr(batch, name).tolist(), name
    if len(parts) > 1:
        first, second = (part.batch.decode_sequences for part in parts)
        assert ((first - second >= 0) & (first - second <= 1)).all()
