import numpy as np

from rackmoe.serving.preemption import evict_latest
from rackmoe.serving.running import RunningSequences


def two_full_sequences():
    running = RunningSequences(n_groups=1, block_tokens=10)
    for request in (0, 1):
        running.add(request, group=0, context=10, remaining=5, row=0)
    return running


def test_the_latest_sequence_makes_room_for_the_others():
    running = two_full_sequences()
    (victim,) = evict_latest(running, growth_tokens=1, held_blocks=np.array([0]), kv_blocks=2)
    assert (victim.request, victim.context, victim.remaining, victim.is_stuck) == (1, 10, 5, False)
    assert running.requests.tolist() == [0]


def test_blocks_that_others_hold_are_no_room():
    running = two_full_sequences()
    evicted = evict_latest(running, growth_tokens=1, held_blocks=np.array([2]), kv_blocks=3)
    assert [victim.request for victim in evicted] == [1, 0]
    assert not evicted[-1].is_stuck


def test_a_sequence_alone_without_room_is_stuck():
    running = RunningSequences(n_groups=1, block_tokens=10)
    running.add(7, group=0, context=10, remaining=5, row=0)
    (victim,) = evict_latest(running, growth_tokens=1, held_blocks=np.array([0]), kv_blocks=1)
    assert victim.is_stuck


def test_nothing_is_evicted_where_all_can_grow():
    running = two_full_sequences()
    assert evict_latest(running, growth_tokens=1, held_blocks=np.array([0]), kv_blocks=4) == ()


def test_low_priority_gives_way_before_the_latest():
    running = RunningSequences(n_groups=1, block_tokens=10)
    for request in range(3):
        running.add(request, group=0, context=10, remaining=5, row=0)
    evicted = evict_latest(
        running,
        growth_tokens=1,
        held_blocks=np.array([0]),
        kv_blocks=3,
        priorities=np.array([0, 0, 1]),
    )
    # of the two with the lowest priority the later one, then the other
    assert [victim.request for victim in evicted] == [1, 0]
    assert running.requests.tolist() == [2]
