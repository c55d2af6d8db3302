import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.errors import CapacityError, InvariantError
from rackmoe.schema.shipped import shipped_folder
from rackmoe.serving.batching import Batcher, BatchLimits
from rackmoe.serving.kv_cache import ideal_prefix_hit_frac
from rackmoe.serving.prefix_cache import PrefixCache, replay_hit_frac
from rackmoe.serving.prefixes import PrefixBlocks
from rackmoe.serving.request_traces import load_request_trace
from rackmoe.serving.workload import RequestTable


def blocks(*prompts: list[int]) -> PrefixBlocks:
    """Return prompts in blocks of ten tokens."""
    offsets = np.cumsum([0, *(len(one) for one in prompts)])
    ids = np.array([i for one in prompts for i in one], np.int64)
    return PrefixBlocks(offsets=offsets, ids=ids, block_tokens=10)


def serve(cache: PrefixCache, request: int, *, n_tokens: int, group: int = 0) -> int:
    found = cache.enter(request, group=group, n_tokens=n_tokens)
    cache.computed(request, n_tokens=n_tokens)
    cache.leave(request)
    cache.check()
    return found


def test_the_same_beginning_is_found_up_to_the_first_difference() -> None:
    cache = PrefixCache(blocks([0, 1, 2], [0, 1, 3], [4, 1, 2]), n_groups=1)
    assert [serve(cache, request, n_tokens=30) for request in range(3)] == [0, 20, 0]
    assert (cache.n_asked_blocks, cache.n_found_blocks) == (9, 2)


def test_the_last_token_of_a_known_prompt_is_computed_again() -> None:
    cache = PrefixCache(blocks([0, 1], [0, 1]), n_groups=1)
    assert [serve(cache, request, n_tokens=17) for request in range(2)] == [0, 16]


def test_a_look_changes_nothing() -> None:
    cache = PrefixCache(blocks([0, 1], [0, 1]), n_groups=1)
    serve(cache, 0, n_tokens=20)
    assert cache.cached_tokens(1, group=0, n_tokens=20) == 19
    assert cache.n_asked_blocks == 2
    cache.check()


def test_groups_have_stores_of_their_own_unless_they_share_one() -> None:
    prompts = blocks([0, 1], [0, 1])
    own = PrefixCache(prompts, n_groups=2)
    shared = PrefixCache(prompts, n_groups=2, is_shared=True)
    for cache, expected in ((own, 0), (shared, 19)):
        serve(cache, 0, n_tokens=20, group=0)
        assert serve(cache, 1, n_tokens=20, group=1) == expected


def test_the_block_unused_for_longest_leaves_first_and_prompts_lose_their_end() -> None:
    cache = PrefixCache(
        blocks([0, 1], [2], [0, 1], [2], [3], [0, 1]), n_groups=1, capacity_blocks=3
    )
    serve(cache, 0, n_tokens=20)
    serve(cache, 1, n_tokens=10)
    assert serve(cache, 2, n_tokens=20) == 19
    assert serve(cache, 3, n_tokens=10) == 9
    serve(cache, 4, n_tokens=10)  # block 1, the end of the prompt used before the last, makes room
    assert cache.n_evicted_blocks == 1
    assert cache.cached_tokens(5, group=0, n_tokens=20) == 10


def test_blocks_in_use_never_leave() -> None:
    cache = PrefixCache(blocks([0, 1], [2], [0, 1]), n_groups=1, capacity_blocks=2)
    cache.enter(0, group=0, n_tokens=20)
    cache.computed(0, n_tokens=20)
    serve(cache, 1, n_tokens=10)
    assert cache.n_evicted_blocks == 0
    assert cache.cached_tokens(2, group=0, n_tokens=20) == 19


def test_a_block_is_stored_once_it_is_computed() -> None:
    cache = PrefixCache(blocks([0, 1, 2], [0, 1, 2]), n_groups=1)
    cache.enter(0, group=0, n_tokens=30)
    cache.computed(0, n_tokens=25, is_complete=False)
    assert cache.cached_tokens(1, group=0, n_tokens=30) == 20


def test_a_later_turn_finds_the_answer_before_it() -> None:
    cache = PrefixCache(blocks([0, 1, 2, 3], [0, 1, 2, 9]), n_groups=1)
    cache.enter(0, group=0, n_tokens=20)
    cache.computed(0, n_tokens=20)
    cache.leave(0, n_tokens=35)  # 15 tokens of answer fill block 2, not block 3
    assert cache.n_stored_blocks == 3
    assert serve(cache, 1, n_tokens=40) == 30


def test_free_memory_holds_what_fits_into_it() -> None:
    cache = PrefixCache(blocks([0, 1, 2], [5]), n_groups=2, is_in_free_memory=True)
    serve(cache, 0, n_tokens=30)
    serve(cache, 1, n_tokens=10, group=1)
    cache.shrink(np.array([29, 100]))
    assert cache.n_stored_blocks == 3
    cache.shrink(np.array([0, 9]))
    assert cache.n_stored_blocks == 0
    cache.check()


def test_a_store_of_its_own_does_not_shrink() -> None:
    cache = PrefixCache(blocks([0]), n_groups=1)
    serve(cache, 0, n_tokens=10)
    cache.shrink(np.array([0]))
    assert cache.n_stored_blocks == 1


def test_a_request_enters_once() -> None:
    cache = PrefixCache(blocks([0]), n_groups=1)
    cache.enter(0, group=0, n_tokens=10)
    with pytest.raises(InvariantError, match=r"request 0 entered twice"):
        cache.enter(0, group=0, n_tokens=10)


def test_a_wrong_count_is_a_bug() -> None:
    cache = PrefixCache(blocks([0]), n_groups=1)
    cache.enter(0, group=0, n_tokens=10)
    cache.computed(0, n_tokens=10)
    cache._stores[0].users[0] = 3
    with pytest.raises(InvariantError, match=r"users of blocks differ"):
        cache.check()


def test_a_store_that_is_too_full_is_a_bug() -> None:
    cache = PrefixCache(blocks([0, 1]), n_groups=1)
    serve(cache, 0, n_tokens=20)
    cache._capacity_blocks = 1
    with pytest.raises(InvariantError, match=r"2 blocks in a store of 1"):
        cache.check()


def test_a_negative_capacity_is_refused() -> None:
    with pytest.raises(CapacityError, match=r"prefix cache: -1 blocks"):
        PrefixCache(blocks([0]), n_groups=1, capacity_blocks=-1)


@given(
    prompts=st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=1, max_size=12),
    capacity=st.none() | st.integers(0, 6),
    ends=st.lists(st.integers(0, 11), max_size=20),
)
def test_every_block_is_counted_and_no_store_overflows(prompts, capacity, ends) -> None:
    chains = [[hash(tuple(one[: i + 1])) % 10**9 for i in range(len(one))] for one in prompts]
    cache = PrefixCache(blocks(*chains), n_groups=1, capacity_blocks=capacity)
    for request, end in enumerate(ends[: len(prompts)]):
        n_tokens = max(1, 10 * len(chains[request]))
        assert 0 <= cache.enter(request, group=0, n_tokens=n_tokens) < n_tokens
        cache.computed(request, n_tokens=n_tokens)
        cache.leave(min(end, request))
        cache.check()


@pytest.mark.parametrize(
    ("name", "expected"), [("mooncake_conversation", 0.366), ("mooncake_synthetic", 0.640)]
)
def test_an_unlimited_cache_finds_the_ideal_share_of_mooncake(name: str, expected: float) -> None:
    folder = shipped_folder("scenarios/traces/requests")
    trace = load_request_trace(folder / f"{name}.jsonl.gz")
    found = replay_hit_frac(trace)
    assert found == pytest.approx(expected, abs=0.0005)
    assert found == pytest.approx(ideal_prefix_hit_frac(trace), rel=1e-12)
    assert replay_hit_frac(trace, capacity_blocks=1000) < 0.1


def test_requests_without_blocks_have_no_hit_rate() -> None:
    ones = np.ones(2, int)
    requests = RequestTable(arrival_s=np.zeros(2), input_tokens=ones, output_tokens=ones)
    assert np.isnan(replay_hit_frac(requests))


def test_a_batcher_skips_what_is_cached() -> None:
    cache = PrefixCache(blocks([0, 1, 2], [0, 1, 3], [0, 1, 2]), n_groups=1)
    limits = BatchLimits(
        n_groups=1, max_sequences=8, max_tokens_per_step=100, kv_blocks=100, block_tokens=10
    )
    batcher = Batcher(limits, cache=cache)
    cuts = []
    for request in range(3):
        batcher.enqueue(request, n_tokens=30)
        step = batcher.next_step()
        (chunk,) = step.chunks
        assert chunk.is_first
        assert chunk.is_last
        cuts.append((chunk.past_tokens, chunk.n_tokens))
        batcher.finish_step(step)
        assert batcher.load_tokens == 0
        batcher.release(0, n_tokens=30, request=request)
    assert cuts == [(0, 30), (20, 10), (29, 1)]
    assert batcher.free_blocks.tolist() == [100]
    cache.check()


def test_a_preempted_sequence_finds_its_own_prompt_again() -> None:
    cache = PrefixCache(blocks([0, 1]), n_groups=1)
    limits = BatchLimits(
        n_groups=1, max_sequences=8, max_tokens_per_step=100, kv_blocks=2, block_tokens=10
    )
    batcher = Batcher(limits, cache=cache)
    batcher.enqueue(0, n_tokens=20)
    batcher.finish_step(batcher.next_step())
    batcher.join(0, group=0, context=20, remaining=5, row=0)
    (victim,) = batcher.next_step().preempted
    cache.check()
    assert victim.is_stuck
    assert cache.cached_tokens(0, group=0, n_tokens=victim.context) == 19


def test_free_memory_shrinks_as_sequences_come() -> None:
    cache = PrefixCache(blocks([0, 1, 2, 3], [4, 5, 6]), n_groups=1, is_in_free_memory=True)
    limits = BatchLimits(
        n_groups=1, max_sequences=8, max_tokens_per_step=100, kv_blocks=5, block_tokens=10
    )
    batcher = Batcher(limits, cache=cache)
    batcher.enqueue(0, n_tokens=40)
    batcher.finish_step(batcher.next_step())
    batcher.release(0, n_tokens=40, request=0)
    assert cache.n_stored_blocks == 4
    batcher.enqueue(1, n_tokens=30)
    batcher.next_step()
    batcher.next_step()
    assert cache.n_stored_blocks == 2  # two of five blocks are left beside the second prompt
