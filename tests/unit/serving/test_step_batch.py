import numpy as np

from rackmoe.serving.step_batch import BatchLimits, StepBatch


def limits():
    return BatchLimits(
        n_groups=2, max_sequences=4, max_tokens_per_step=64, kv_blocks=3, block_tokens=16
    )


def test_a_started_block_counts_whole():
    assert [limits().blocks(n) for n in (0, 1, 16, 17)] == [0, 1, 1, 2]


def test_a_context_fits_up_to_the_last_token_of_the_last_block():
    assert limits().fits(48)
    assert not limits().fits(49)


def test_a_step_decodes_if_any_group_has_a_sequence():
    zeros = np.zeros(2, dtype=np.int64)
    values = dict.fromkeys(
        ("decode_sequences", "decode_kv_tokens", "decode_window_tokens", "prefill_tokens"), zeros
    )
    empty = StepBatch(**values, chunks=(), preempted=())
    assert not empty.has_decode
    some = StepBatch(**(values | {"decode_sequences": np.array([0, 1])}), chunks=(), preempted=())
    assert some.has_decode
