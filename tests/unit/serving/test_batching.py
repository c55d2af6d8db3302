import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.errors import InvariantError
from rackmoe.serving.batching import Batcher, BatchLimits, BatchPolicy, GroupChoice


def limits(**changes):
    values = {
        "n_groups": 1,
        "max_sequences": 8,
        "max_tokens_per_step": 100,
        "kv_blocks": 100,
        "block_tokens": 10,
    }
    return BatchLimits(**(values | changes))


def start(batcher, request, *, group, context, remaining):
    batcher.join(request, group=group, context=context, remaining=remaining, row=0)


def test_a_long_prompt_is_cut_into_chunks_of_the_token_budget():
    batcher = Batcher(limits())
    batcher.enqueue(0, n_tokens=250)
    cuts = []
    for _ in range(3):
        (chunk,) = batcher.next_step().chunks
        cuts.append((chunk.past_tokens, chunk.n_tokens, chunk.is_first, chunk.is_last))
    assert cuts == [(0, 100, True, False), (100, 100, False, False), (200, 50, False, True)]
    assert batcher.next_step() is None


def test_short_prompts_share_a_step():
    batcher = Batcher(limits())
    for request in range(3):
        batcher.enqueue(request, n_tokens=40)
    first = batcher.next_step()
    assert [c.n_tokens for c in first.chunks] == [40, 40, 20]
    assert first.prefill_tokens.tolist() == [100]


def test_mixed_steps_give_decode_its_tokens_first():
    batcher = Batcher(limits())
    batcher.enqueue(0, n_tokens=30)
    batcher.next_step()
    start(batcher, 0, group=0, context=30, remaining=5)
    batcher.enqueue(1, n_tokens=400)
    step = batcher.next_step()
    assert step.decode_sequences.tolist() == [1]
    assert step.prefill_tokens.tolist() == [99]


def test_prefill_first_stops_decode_while_prompts_wait():
    batcher = Batcher(limits(policy=BatchPolicy.PREFILL_FIRST))
    batcher.enqueue(0, n_tokens=30)
    batcher.next_step()
    start(batcher, 0, group=0, context=30, remaining=5)
    batcher.enqueue(1, n_tokens=100)
    assert not batcher.next_step().has_decode
    assert batcher.next_step().has_decode


def test_admission_waits_for_kv_blocks_in_order_of_arrival():
    batcher = Batcher(limits(kv_blocks=10))
    batcher.enqueue(0, n_tokens=80)
    batcher.enqueue(1, n_tokens=60)
    batcher.enqueue(2, n_tokens=10)
    assert [c.request for c in batcher.next_step().chunks] == [0]
    assert batcher.next_step() is None
    batcher.release(0, n_tokens=80)
    assert [c.request for c in batcher.next_step().chunks] == [1, 2]


def test_an_urgent_request_goes_to_the_front():
    batcher = Batcher(limits())
    batcher.enqueue(0, n_tokens=10)
    batcher.enqueue(1, n_tokens=10, is_urgent=True)
    assert [c.request for c in batcher.next_step().chunks] == [1, 0]


def test_the_latest_sequence_is_preempted_when_memory_runs_out():
    batcher = Batcher(limits(kv_blocks=2))
    for request in (0, 1):
        batcher.enqueue(request, n_tokens=10)
    batcher.next_step()
    for request in (0, 1):
        start(batcher, request, group=0, context=10, remaining=50)
    step = batcher.next_step()
    (victim,) = step.preempted
    assert (victim.request, victim.context, victim.remaining) == (1, 10, 50)
    assert not victim.is_stuck
    assert step.decode_sequences.tolist() == [1]


def test_a_sequence_alone_without_memory_is_stuck():
    batcher = Batcher(limits(kv_blocks=1))
    batcher.enqueue(0, n_tokens=10)
    batcher.next_step()
    start(batcher, 0, group=0, context=10, remaining=50)
    (victim,) = batcher.next_step().preempted
    assert victim.is_stuck


def test_reserve_takes_the_emptiest_group_with_room():
    batcher = Batcher(limits(n_groups=3, kv_blocks=5))
    assert [batcher.reserve(30) for _ in range(4)] == [0, 1, 2, None]


def test_a_reserved_sequence_joins_and_frees_nothing_twice():
    batcher = Batcher(limits())
    group = batcher.reserve(25)
    start(batcher, 0, group=group, context=25, remaining=1)
    assert batcher.free_blocks.tolist() == [97]
    batcher.finish_step(batcher.next_step())
    assert batcher.free_blocks.tolist() == [100]
    with pytest.raises(InvariantError, match="LAW-03"):
        batcher.release(group, n_tokens=25)


def test_round_robin_goes_around_the_groups():
    batcher = Batcher(limits(n_groups=3, group_choice=GroupChoice.ROUND_ROBIN))
    assert [batcher.enqueue(i, n_tokens=1) for i in range(4)] == [0, 1, 2, 0]


def test_least_kv_prefers_the_group_with_fewer_tokens():
    batcher = Batcher(limits(n_groups=2, group_choice=GroupChoice.LEAST_KV))
    batcher.enqueue(0, n_tokens=50)
    batcher.enqueue(1, n_tokens=5)
    assert batcher.enqueue(2, n_tokens=5) == 1


def test_a_context_larger_than_the_memory_never_fits():
    batcher = Batcher(limits(kv_blocks=3))
    assert batcher.limits.fits(30)
    assert not batcher.limits.fits(31)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 12)), min_size=1, max_size=25),
    st.sampled_from(list(BatchPolicy)),
    st.sampled_from(list(GroupChoice)),
    st.integers(8, 30),
)
def test_every_request_ends_and_every_block_comes_back(requests, policy, choice, kv_blocks):
    batcher = Batcher(
        limits(
            n_groups=2,
            kv_blocks=kv_blocks,
            max_tokens_per_step=32,
            policy=policy,
            group_choice=choice,
            max_sequences=4,
        )
    )
    remaining = {}
    for request, (prompt, output) in enumerate(requests):
        remaining[request] = output
        batcher.enqueue(request, n_tokens=prompt)
    ended = 0
    for _ in range(5000):
        step = batcher.next_step()
        if step is None:
            break
        for victim in step.preempted:
            assert not victim.is_stuck
            remaining[victim.request] = victim.remaining
            batcher.enqueue(victim.request, n_tokens=victim.context + 1, is_urgent=True)
        finished = batcher.finish_step(step)
        ended += 0 if finished is None else len(finished.requests)
        for chunk in step.chunks:
            if not chunk.is_last:
                continue
            n_tokens = chunk.past_tokens + chunk.n_tokens
            remaining[chunk.request] -= 1
            if remaining[chunk.request] == 0:
                batcher.release(chunk.group, n_tokens=n_tokens)
                ended += 1
            else:
                start(
                    batcher,
                    chunk.request,
                    group=chunk.group,
                    context=n_tokens,
                    remaining=remaining[chunk.request],
                )
        assert (batcher.free_blocks >= 0).all()
    assert ended == len(requests)
    assert np.all(batcher.free_blocks == kv_blocks)


def test_higher_priority_is_computed_first_and_equals_keep_their_order():
    batcher = Batcher(limits(max_tokens_per_step=10))
    batcher.priorities = np.array([0, 1, 0, 1, 2])
    for request in range(5):
        batcher.enqueue(request, n_tokens=10)
    order = [batcher.next_step().chunks[0].request for _ in range(5)]
    assert order == [4, 1, 3, 0, 2]


def test_an_urgent_request_goes_before_its_own_priority_only():
    batcher = Batcher(limits(max_tokens_per_step=10))
    batcher.priorities = np.array([0, 1, 0])
    for request in range(2):
        batcher.enqueue(request, n_tokens=10)
    batcher.enqueue(2, n_tokens=10, is_urgent=True)
    assert [batcher.next_step().chunks[0].request for _ in range(3)] == [1, 2, 0]


def test_a_context_comes_back_to_its_group_if_it_can_stay_for_a_step():
    batcher = Batcher(limits(n_groups=2, kv_blocks=5, max_sequences=2))
    assert not batcher.reserve_in(1, n_tokens=51)
    assert batcher.reserve_in(1, n_tokens=21)
    assert batcher.free_blocks.tolist() == [5, 2]
    # beside another one a block has to be left
    assert not batcher.reserve_in(1, n_tokens=11)
    assert batcher.reserve_in(1, n_tokens=10)
    assert not batcher.reserve_in(1, n_tokens=1)
    start(batcher, 0, group=1, context=21, remaining=5)
    assert batcher.running.n_sequences.tolist() == [0, 1]


def test_prompts_wait_while_contexts_come_back():
    batcher = Batcher(limits())
    batcher.enqueue(0, n_tokens=150)
    assert batcher.next_step().chunks[0].n_tokens == 100
    batcher.enqueue(1, n_tokens=10)
    batcher.holds_prompts = True
    # what was begun is finished
    assert [chunk.request for chunk in batcher.next_step().chunks] == [0]
    assert batcher.next_step() is None
    batcher.holds_prompts = False
    assert [chunk.request for chunk in batcher.next_step().chunks] == [1]


def test_the_group_that_a_router_chose_is_taken():
    batcher = Batcher(limits(n_groups=3))
    assert batcher.enqueue(0, n_tokens=10, group=2) == 2
    assert [chunk.group for chunk in batcher.next_step().chunks] == [2]


def test_a_prompt_that_leaves_for_another_pool_takes_its_promise_along():
    batcher = Batcher(limits(max_tokens_per_step=300, declared_output_tokens=400))
    for request in range(3):
        batcher.enqueue(request, n_tokens=100)
    # 50 blocks promised to each, of 100
    assert [chunk.request for chunk in batcher.next_step().chunks] == [0, 1]
    assert batcher.next_step() is None
    for request in (0, 1):
        batcher.release(0, n_tokens=100, request=request)
    batcher.enqueue(3, n_tokens=100)
    assert [chunk.request for chunk in batcher.next_step().chunks] == [2, 3]
