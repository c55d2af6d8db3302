import pytest

from rackmoe.serving.promises import Promises


def _promises(output_tokens: int) -> Promises:
    return Promises(n_groups=2, kv_blocks=10, block_tokens=4, output_tokens=output_tokens)


def test_a_group_is_full_when_all_could_reach_their_declared_end():
    promises = _promises(8)
    # 8 + 8 tokens are 4 blocks
    for request in range(2):
        assert promises.has_room(8).tolist() == [True, True]
        promises.make(request, group=0, n_tokens=8)
    assert promises.has_room(8).tolist() == [False, True]
    promises.drop(0)
    assert promises.has_room(8).tolist() == [True, True]


def test_a_promise_is_made_once_and_dropped_once():
    promises = _promises(8)
    promises.make(7, group=1, n_tokens=8)
    promises.make(7, group=1, n_tokens=30)
    promises.drop(7)
    promises.drop(7)
    assert promises.has_room(32).tolist() == [True, True]


def test_a_request_that_declares_more_than_all_memory_runs_alone():
    promises = _promises(1000)
    assert promises.blocks(4) == 10
    promises.make(0, group=0, n_tokens=4)
    assert promises.has_room(1).tolist() == [False, True]


@pytest.mark.parametrize("n_tokens", [1, 1000])
def test_without_declared_output_nothing_is_promised(n_tokens):
    promises = _promises(0)
    promises.make(0, group=0, n_tokens=n_tokens)
    assert not promises.is_used
    assert promises.has_room(n_tokens).all()


def test_several_promises_are_taken_back_at_once():
    promises = _promises(1000)
    for request in range(2):
        promises.make(request, group=request, n_tokens=4)
    promises.drop_all([0, 1, 5])
    assert promises.has_room(1).tolist() == [True, True]
