"""Blocks in host memory are counted like those of GPUs."""

import pytest

from rackmoe.errors import InvariantError
from rackmoe.serving.host_cache import HostCache


def host():
    return HostCache(n_groups=2, n_blocks=4, block_tokens=10)


def test_contexts_take_whole_blocks_of_their_group():
    cache = host()
    assert cache.take(1, group=1, n_tokens=21)
    assert cache.free_blocks.tolist() == [4, 1]
    assert not cache.take(2, group=1, n_tokens=11)
    assert cache.take(2, group=0, n_tokens=11)
    cache.check()
    cache.give_back(1)
    assert cache.free_blocks.tolist() == [2, 4]
    assert cache.most_blocks == 3
    cache.check()


def test_a_request_is_there_once():
    cache = host()
    cache.take(1, group=0, n_tokens=1)
    with pytest.raises(InvariantError, match="LAW-03: request 1 is in host memory already"):
        cache.take(1, group=0, n_tokens=1)
    with pytest.raises(InvariantError, match="LAW-03: request 2 is not in host memory"):
        cache.give_back(2)


def test_a_lost_block_is_found():
    cache = host()
    cache.take(1, group=0, n_tokens=1)
    cache.free_blocks[1] -= 1
    with pytest.raises(InvariantError, match=r"LAW-03 in host memory: \[1, 0\] blocks held"):
        cache.check()
