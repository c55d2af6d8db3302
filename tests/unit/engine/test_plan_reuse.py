"""When a plan stands for another step, and how many steps may run as one."""

from types import SimpleNamespace

import numpy as np
import pytest

from rackmoe.engine.expert_counts import ExpertCounts
from rackmoe.engine.plan_reuse import StepMemory
from rackmoe.routing.placement import contiguous
from rackmoe.serving.batching import Batcher, BatchLimits, StepBatch
from rackmoe.serving.prompt_gate import PromptGate


def batch_of(sequences, kv_tokens, chunks=()):
    zeros = np.zeros(1, np.int64)
    return StepBatch(
        decode_sequences=np.array([sequences]),
        decode_kv_tokens=np.array([kv_tokens]),
        decode_window_tokens=zeros,
        prefill_tokens=zeros,
        chunks=chunks,
        preempted=(),
    )


def remembered(tolerance, batch):
    memory = StepMemory(tolerance)
    memory.keep(SimpleNamespace(batch=batch))
    return memory


def decoding(*sequences, kv_blocks=1000, block_tokens=1):
    """Return a batcher that decodes sequences of (context, remaining), and its next step."""
    batcher = Batcher(
        BatchLimits(
            n_groups=1,
            max_sequences=8,
            max_tokens_per_step=64,
            kv_blocks=kv_blocks,
            block_tokens=block_tokens,
        )
    )
    for request, (context, remaining) in enumerate(sequences):
        group = batcher.reserve(context)
        batcher.join(request, group=group, context=context, remaining=remaining, row=0)
    return batcher, batcher.next_step()


@pytest.mark.parametrize(
    ("sequences", "kv_tokens", "is_alike"),
    [(10, 1000, True), (10, 1100, True), (9, 900, True), (10, 1101, False), (8, 1000, False)],
)
def test_loads_within_the_tolerance_are_alike(sequences, kv_tokens, is_alike):
    memory = remembered(0.1, batch_of(10, 1000))
    assert (memory.recall(batch_of(sequences, kv_tokens)) is not None) == is_alike


def test_without_a_tolerance_every_step_is_planned():
    memory = remembered(0.0, batch_of(10, 1000))
    assert memory.recall(batch_of(10, 1000)) is None
    batcher, step = decoding((100, 50))
    assert memory.n_repeats(step, batcher=batcher) == 1


def test_steps_with_prompts_neither_stand_nor_are_stood_for():
    prompts = (object(),)
    assert remembered(0.1, batch_of(10, 1000, prompts)).recall(batch_of(10, 1000)) is None
    memory = remembered(0.1, batch_of(10, 1000))
    assert memory.recall(batch_of(10, 1000, prompts)) is None


def test_a_plan_wears_out():
    memory = remembered(0.1, batch_of(10, 1000))
    recalled = [memory.recall(batch_of(10, 1000)) is not None for _ in range(20)]
    assert recalled == [True] * 16 + [False] * 4
    memory.keep(SimpleNamespace(batch=batch_of(10, 1000)))
    assert memory.recall(batch_of(10, 1000)) is not None


@pytest.mark.parametrize(
    ("sequences", "limits", "expected"),
    [
        # the shorter output has 3 tokens left
        ([(500, 3), (500, 90)], {}, 3),
        # 110 tokens may be added to 1000 planned and 1000 held, 2 in each step, the first one free
        ([(500, 90), (500, 90)], {}, 16),
        ([(540, 90), (550, 90)], {}, 1 + 10 // 2),
        # 9 blocks are free for 2 sequences: 4 for each, one kept
        ([(500, 90), (500, 90)], {"kv_blocks": 1009}, 3),
        ([(500, 90), (500, 90)], {"kv_blocks": 1002}, 1),
    ],
)
def test_rows_of_steps_end_where_something_would_change(sequences, limits, expected):
    memory = remembered(0.1, batch_of(2, 1000))
    batcher, step = decoding(*sequences, **{"kv_blocks": 5000} | limits)
    assert memory.n_repeats(step, batcher=batcher) == expected


def test_waiting_prompts_are_not_kept_waiting():
    memory = remembered(0.1, batch_of(1, 500))
    batcher, step = decoding((500, 90))
    assert memory.n_repeats(step, batcher=batcher) > 1
    batcher.enqueue(9, n_tokens=10)
    # memory refused it, and gives way only when a sequence ends
    assert memory.n_repeats(step, batcher=batcher) > 1
    # a gate opens by itself
    batcher.gate = PromptGate(poll_steps=2, balance_steps=0)
    assert memory.n_repeats(step, batcher=batcher) == 1


def test_a_forgotten_plan_stands_for_nothing():
    memory = remembered(0.1, batch_of(10, 1000))
    memory.forget()
    assert memory.recall(batch_of(10, 1000)) is None


def test_steps_that_reuse_a_plan_count_its_assignments_again():
    experts = ExpertCounts(contiguous(4, n_layers=1, n_ranks=1), layer_ids=(0,))
    experts.add(np.array([[9, 9, 9, 9]], np.int32))
    memory = StepMemory(0.1, experts=experts)
    memory.begin()
    experts.add(np.array([[1, 2, 3, 4]], np.int32))
    memory.keep(SimpleNamespace(batch=batch_of(10, 1000)))
    assert memory.recall(batch_of(10, 1001)) is not None
    assert experts.total.tolist() == [[11, 13, 15, 17]]
    memory.count(2)
    assert experts.total.tolist() == [[13, 17, 21, 25]]


def test_without_a_tolerance_nothing_is_counted_again():
    experts = ExpertCounts(contiguous(4, n_layers=1, n_ranks=1), layer_ids=(0,))
    memory = StepMemory(0.0, experts=experts)
    memory.begin()
    experts.add(np.array([[1, 2, 3, 4]], np.int32))
    memory.keep(SimpleNamespace(batch=batch_of(10, 1000)))
    memory.count(0)
    assert experts.total.tolist() == [[1, 2, 3, 4]]
