"""Which replicas get a prefix cache, and of what size."""

from types import SimpleNamespace

import numpy as np
import pytest

from rackmoe.engine.prefix_caches import install_prefix_caches
from rackmoe.records import Pool
from rackmoe.scenario.document import PrefixCacheChoice
from rackmoe.serving.batching import Batcher, BatchLimits
from rackmoe.serving.prefixes import PrefixBlocks
from rackmoe.serving.workload import RequestTable


class Remembering(SimpleNamespace):
    """A replica that is given a cache."""

    stages = None

    def remember_prompts(self, new_cache):
        self.batcher.cache = new_cache()


def replica(pool):
    limits = BatchLimits(
        n_groups=2, max_sequences=4, max_tokens_per_step=64, kv_blocks=10, block_tokens=8
    )
    return Remembering(pool=pool, batcher=Batcher(limits))


def requests(*, has_blocks=True):
    ones = np.ones(4, int)
    blocks = PrefixBlocks(offsets=np.arange(5) * 3, ids=np.arange(12), block_tokens=10)
    return RequestTable(
        arrival_s=np.zeros(4),
        input_tokens=ones * 30,
        output_tokens=ones,
        prefixes=blocks if has_blocks else None,
    )


def serve(cache, request):
    cache.enter(request, group=request % 2, n_tokens=30)
    cache.computed(request, n_tokens=30)
    cache.leave(request)


def installed(**choice):
    own = replica(Pool.PREFILL)
    chosen = PrefixCacheChoice(**choice)
    assert install_prefix_caches([own], requests=requests(), choice=chosen) == ()
    return own.batcher.cache


def test_only_replicas_that_compute_prompts_remember_them():
    pools = [replica(pool) for pool in (Pool.PREFILL, Pool.DECODE, Pool.AGGREGATED)]
    choice = PrefixCacheChoice(unlimited=True)
    assert install_prefix_caches(pools, requests=requests(), choice=choice) == ()
    assert [one.batcher.cache is not None for one in pools] == [True, False, True]
    assert pools[0].batcher.cache is not pools[2].batcher.cache


@pytest.mark.parametrize(("is_shared", "n_kept"), [(False, 2 * 3), (True, 7)])
def test_a_store_holds_its_tokens_for_every_rank(is_shared, n_kept):
    # 35 tokens are three blocks of ten; the two ranks together have seven
    cache = installed(tokens_per_rank=35, shared=is_shared)
    for request in range(4):
        serve(cache, request)
    assert cache.n_stored_blocks == n_kept


def test_schedulers_of_a_pipeline_divide_the_store_of_its_stages():
    own = replica(Pool.PREFILL)
    own.stages = SimpleNamespace(first_gpus=(0, 2))
    choice = PrefixCacheChoice(tokens_per_rank=70, shared=True)
    assert install_prefix_caches([own], requests=requests(), choice=choice) == ()
    for request in range(4):
        serve(own.batcher.cache, request)
    assert own.batcher.cache.n_stored_blocks == 7


def test_free_memory_shrinks_and_an_unlimited_store_does_not():
    for choice, n_kept in (({"free_memory": True}, 0), ({"unlimited": True}, 12)):
        cache = installed(**choice)
        for request in range(4):
            serve(cache, request)
        cache.shrink(np.zeros(2, int))
        assert cache.n_stored_blocks == n_kept


def test_without_a_choice_nothing_is_remembered():
    own = replica(Pool.AGGREGATED)
    assert install_prefix_caches([own], requests=requests(), choice=None) == ()
    assert own.batcher.cache is None


def test_requests_without_blocks_are_told():
    own = replica(Pool.AGGREGATED)
    choice = PrefixCacheChoice(unlimited=True)
    (warning,) = install_prefix_caches([own], requests=requests(has_blocks=False), choice=choice)
    assert warning.startswith("prefix_cache: the requests have no prompt blocks")
    assert own.batcher.cache is None
