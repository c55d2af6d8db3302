from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.errors import CapacityError, InvariantError
from rackmoe.serving.arrivals import batch_arrivals_s
from rackmoe.serving.kv_cache import KvPool, ideal_prefix_hit_frac
from rackmoe.serving.lengths import FixedLengths
from rackmoe.serving.request_traces import load_request_trace
from rackmoe.serving.workload import build_requests, replay_requests

SHIPPED = Path(__file__).parents[3] / "scenarios" / "traces" / "requests"


def pool() -> KvPool:
    """Two ranks of 4 blocks of 10 tokens, 6 slots."""
    return KvPool(n_ranks=2, blocks_per_rank=4, block_tokens=10, n_slots=6)


def test_a_context_takes_whole_blocks() -> None:
    kv = pool()
    assert kv.allocate(0, rank=0, n_tokens=11)
    assert kv.allocate(1, rank=0, n_tokens=10)
    assert kv.free_blocks.tolist() == [1, 4]
    assert kv.used_tokens.tolist() == [21, 0]


def test_a_context_that_does_not_fit_changes_nothing() -> None:
    kv = pool()
    assert not kv.allocate(0, rank=1, n_tokens=41)
    assert kv.free_blocks.tolist() == [4, 4]
    assert kv.allocate(0, rank=1, n_tokens=40)


def test_a_block_is_added_when_the_last_one_is_full() -> None:
    kv = pool()
    kv.allocate(0, rank=0, n_tokens=9)
    kv.allocate(1, rank=1, n_tokens=10)
    slots = np.array([0, 1])
    assert kv.extend(slots).tolist() == [0, 0]
    assert kv.free_blocks.tolist() == [3, 2]
    assert kv.extend(slots, n_tokens=np.array([1, 15])).tolist() == [0, 0]
    assert kv.free_blocks.tolist() == [2, 1]
    assert kv.used_tokens.tolist() == [11, 26]


def test_growth_is_all_or_nothing_and_says_what_lacks() -> None:
    kv = pool()
    kv.allocate(0, rank=0, n_tokens=20)
    kv.allocate(1, rank=0, n_tokens=20)
    kv.allocate(2, rank=1, n_tokens=5)
    assert kv.extend(np.array([0, 1, 2])).tolist() == [2, 0]
    assert kv.used_tokens.tolist() == [40, 5]
    assert kv.free_blocks.tolist() == [0, 3]
    kv.free(np.array([1]))
    assert kv.extend(np.array([0, 2])).tolist() == [0, 0]
    kv.check()


def test_freed_blocks_come_back() -> None:
    kv = pool()
    for slot in range(4):
        kv.allocate(slot, rank=slot % 2, n_tokens=15)
    kv.free(np.array([0, 1, 3]))
    assert kv.free_blocks.tolist() == [2, 4]
    assert kv.used_tokens.tolist() == [15, 0]


def test_a_taken_slot_is_refused() -> None:
    kv = pool()
    kv.allocate(0, rank=0, n_tokens=15)
    with pytest.raises(InvariantError, match=r"LAW-03: slot 0 already holds 2 blocks of rank 0"):
        kv.allocate(0, rank=1, n_tokens=1)


def test_an_empty_slot_neither_grows_nor_frees() -> None:
    kv = pool()
    with pytest.raises(InvariantError, match=r"LAW-03: slot 3 grows without a sequence"):
        kv.extend(np.array([3]))
    with pytest.raises(InvariantError, match=r"LAW-03: slot 3 is freed without a sequence"):
        kv.free(np.array([3]))


def test_a_lost_block_is_noticed() -> None:
    kv = pool()
    kv.allocate(0, rank=1, n_tokens=15)
    kv.free_blocks[1] -= 1
    with pytest.raises(InvariantError, match=r"LAW-03 at rank 1: 2 blocks allocated, 1 free, 4"):
        kv.check()


def test_a_sequence_with_too_many_blocks_is_noticed() -> None:
    kv = pool()
    kv.allocate(0, rank=1, n_tokens=15)
    kv._blocks[0] += 1
    kv.free_blocks[1] -= 1
    with pytest.raises(InvariantError, match=r"LAW-03 at slot 0: 3 blocks of 10 tokens for 15"):
        kv.check()


def test_a_pool_without_blocks_does_not_fit() -> None:
    with pytest.raises(CapacityError, match=r"4 ranks of 0 blocks of 64 tokens"):
        KvPool(n_ranks=4, blocks_per_rank=0, block_tokens=64, n_slots=8)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(1, 30)), max_size=60))
def test_blocks_are_conserved_whatever_happens(events: list[tuple[int, int, int]]) -> None:
    kv = pool()
    held: dict[int, tuple[int, int]] = {}
    for slot, what, n_tokens in events:
        if slot not in held:
            if kv.allocate(slot, rank=what % 2, n_tokens=n_tokens):
                held[slot] = (what % 2, n_tokens)
        elif what == 0:
            kv.free(np.array([slot]))
            del held[slot]
        else:
            slots = np.array(sorted(held))
            if not kv.extend(slots, n_tokens=what).any():
                held = {s: (rank, tokens + what) for s, (rank, tokens) in held.items()}
        kv.check()
        free = [4 - sum(-(-t // 10) for r, t in held.values() if r == rank) for rank in (0, 1)]
        assert kv.free_blocks.tolist() == free


# share of blocks that the publishers of the traces report as reusable
@pytest.mark.parametrize(
    ("name", "expected"),
    [("mooncake_conversation.jsonl.gz", 0.366), ("mooncake_synthetic.jsonl.gz", 0.64)],
)
def test_an_endless_cache_finds_the_published_share(name: str, expected: float) -> None:
    trace = load_request_trace(SHIPPED / name)
    assert ideal_prefix_hit_frac(trace) == pytest.approx(expected, abs=0.0005)
    twice = replay_requests(trace, n_requests=2 * len(trace))
    assert ideal_prefix_hit_frac(twice) == pytest.approx(ideal_prefix_hit_frac(trace), rel=1e-12)


def test_requests_without_prefixes_have_no_hit_rate() -> None:
    requests = build_requests(
        batch_arrivals_s(3),
        lengths=FixedLengths(input_tokens=7, output_tokens=5),
        rng=np.random.default_rng(0),
    )
    assert np.isnan(ideal_prefix_hit_frac(requests))
