"""Prompts that are divided over ranks."""

import numpy as np
import pytest

from rackmoe.engine.context_parallel import Ring, divided_batch
from rackmoe.serving.batching import PrefillChunk, StepBatch

NOTHING = np.zeros(1, dtype=np.int64)


def prompt(n_tokens, past_tokens=0):
    chunk = PrefillChunk(
        request=7,
        group=0,
        n_tokens=n_tokens,
        past_tokens=past_tokens,
        is_first=True,
        is_last=True,
    )
    return StepBatch(
        decode_sequences=NOTHING,
        decode_kv_tokens=NOTHING,
        decode_window_tokens=NOTHING,
        prefill_tokens=np.array([n_tokens]),
        chunks=(chunk,),
        preempted=(),
    )


def pairs(chunk):
    """Count the causal scores of a piece, without the diagonal."""
    return chunk.n_tokens * (chunk.past_tokens + chunk.n_tokens / 2)


@pytest.mark.parametrize(("n_tokens", "past"), [(131072, 0), (8192, 65536)])
@pytest.mark.parametrize("n_ranks", [2, 4, 8])
def test_all_ranks_have_the_same_part_of_tokens_and_scores(n_tokens, past, n_ranks):
    divided = divided_batch(prompt(n_tokens, past), n_ranks=n_ranks)
    assert divided.prefill_tokens.tolist() == [n_tokens // n_ranks] * n_ranks
    whole = pairs(prompt(n_tokens, past).chunks[0])
    for chunk in divided.chunks:
        assert pairs(chunk) == pytest.approx(whole / n_ranks, rel=1e-3)
    assert [chunk.is_last for chunk in divided.chunks] == [True] + [False] * (n_ranks - 1)


def test_no_token_is_lost_where_they_do_not_divide():
    assert divided_batch(prompt(10), n_ranks=4).prefill_tokens.tolist() == [3, 3, 2, 2]
    divided = divided_batch(prompt(2), n_ranks=4)
    assert divided.prefill_tokens.tolist() == [1, 1, 0, 0]
    assert len(divided.chunks) == 2


def test_keys_and_values_go_around_once_for_each_other_rank():
    ring = Ring(
        n_ranks=4, token_bytes=100.0, n_layers=10, bandwidth_bytes_per_s=1e6, latency_s=1e-3
    )
    # 3 turns of 1000 tokens x 100 B / 4, and 10 layers x 1 ms
    assert ring.time_s(1000.0) == pytest.approx(3 * (0.025 + 0.010))
