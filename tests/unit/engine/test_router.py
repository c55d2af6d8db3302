"""Routers, with replicas that only have a load and a cache."""

import numpy as np
import pytest

from rackmoe.engine.frontends import FrontendsRouter
from rackmoe.engine.router import (
    KvAwareRouter,
    LeastLoadedRouter,
    PartitionRouter,
    RoundRobinRouter,
    build_router,
)
from rackmoe.records import Pool
from rackmoe.scenario.policies import RouterChoice
from rackmoe.serving.batching import Batcher, BatchLimits
from rackmoe.serving.prefix_cache import PrefixCache
from rackmoe.serving.prefixes import PrefixBlocks

# requests 0 and 1 begin alike, 2 is another
PROMPTS = PrefixBlocks(
    offsets=np.array([0, 2, 5, 8]), ids=np.array([1, 2, 1, 2, 3, 7, 8, 9]), block_tokens=10
)


class Worker:
    def __init__(self, index, pool=Pool.AGGREGATED, n_groups=1, *, has_cache=True, is_shared=True):
        limits = BatchLimits(
            n_groups=n_groups,
            max_sequences=8,
            max_tokens_per_step=100,
            kv_blocks=100,
            block_tokens=10,
        )
        self.index, self.pool = index, pool
        cache = PrefixCache(PROMPTS, n_groups=n_groups, is_shared=is_shared) if has_cache else None
        self.batcher = Batcher(limits, cache=cache)

    def remember(self, request, n_tokens, group=0):
        cache = self.batcher.cache
        cache.enter(request, group=group, n_tokens=n_tokens)
        cache.computed(request, n_tokens=n_tokens)
        cache.leave(request, n_tokens=n_tokens)

    def decode(self, n_tokens, group=0):
        self.batcher.running.add(99, group=group, context=n_tokens, remaining=5, row=0)


def kv_aware(weight=1.0, *, is_shared=True):
    return KvAwareRouter(overlap_weight=weight, has_shared_caches=is_shared)


def test_the_least_loaded_of_equals_is_the_first():
    workers = [Worker(0), Worker(1), Worker(2)]
    workers[0].decode(10)
    router = LeastLoadedRouter()
    assert router.choose(workers, request=0, n_tokens=20) == (workers[1], None)
    assert [one.index for one in router.ranked(workers, request=0)] == [1, 2, 0]
    assert router.note() is None


def test_round_robin_goes_on_after_the_last_one_that_is_there():
    workers = [Worker(index) for index in range(3)]
    router = RoundRobinRouter()
    chosen = [router.choose(workers, request=i, n_tokens=1)[0].index for i in range(4)]
    assert chosen == [0, 1, 2, 0]
    # replica 1 is out of service
    assert router.choose([workers[0], workers[2]], request=4, n_tokens=1)[0].index == 2
    assert [one.index for one in router.ranked(workers, request=0)] == [0, 1, 2]
    router.placed(workers[0])
    assert [one.index for one in router.ranked(workers, request=0)] == [1, 2, 0]
    router.prompt_done(0)
    assert router.note() is None


def test_a_prompt_goes_to_its_beginning():
    workers = [Worker(0), Worker(1)]
    workers[1].remember(0, 20)
    router = kv_aware()
    assert router.choose(workers, request=1, n_tokens=30) == (workers[1], None)
    assert router.choose(workers, request=2, n_tokens=30) == (workers[0], None)
    assert "had 0.3333 of 60 prompt tokens" in router.note()


def test_load_outweighs_a_cache():
    workers = [Worker(0), Worker(1)]
    workers[1].remember(0, 20)
    workers[1].decode(21)
    # 30 tokens to compute against 10 and 21 in use
    assert kv_aware().choose(workers, request=1, n_tokens=30)[0] is workers[0]
    assert kv_aware(2.0).choose(workers, request=1, n_tokens=30)[0] is workers[1]


def test_a_prompt_counts_until_it_is_done():
    workers = [Worker(0, Pool.PREFILL), Worker(1, Pool.PREFILL)]
    router = kv_aware()
    assert router.choose(workers, request=0, n_tokens=20)[0] is workers[0]
    assert router.choose(workers, request=2, n_tokens=30)[0] is workers[1]
    router.prompt_done(2)
    assert router.choose(workers, request=2, n_tokens=30)[0] is workers[1]
    router.prompt_done(0)
    router.prompt_done(0)
    assert router.choose(workers, request=1, n_tokens=30)[0] is workers[0]


def test_a_request_that_is_routed_again_counts_once():
    workers = [Worker(0, Pool.PREFILL), Worker(1, Pool.PREFILL)]
    router = kv_aware()
    router.choose(workers[:1], request=0, n_tokens=20)
    router.choose(workers[1:], request=0, n_tokens=20)
    assert router.choose(workers, request=2, n_tokens=30)[0] is workers[0]


def test_groups_with_caches_of_their_own_are_workers_of_their_own():
    workers = [Worker(index, n_groups=2, is_shared=False) for index in range(2)]
    workers[1].remember(0, 20, group=1)
    router = kv_aware(is_shared=False)
    assert router.choose(workers, request=1, n_tokens=30) == (workers[1], 1)
    assert router.choose(workers, request=2, n_tokens=30) == (workers[0], 0)


def test_without_caches_it_spreads_by_load_and_says_so():
    workers = [Worker(index, has_cache=False) for index in range(2)]
    workers[0].decode(1)
    router = kv_aware()
    assert router.note() is None
    assert router.choose(workers, request=1, n_tokens=30)[0] is workers[1]
    assert "no replica has a prefix cache" in router.note()


@pytest.mark.parametrize(
    ("policy", "kind"),
    [
        ("least_loaded", LeastLoadedRouter),
        ("round_robin", RoundRobinRouter),
        ("kv_aware", KvAwareRouter),
        ("by_application", PartitionRouter),
    ],
)
def test_the_scenario_chooses(policy, kind):
    router = build_router(
        RouterChoice(policy=policy),
        has_shared_caches=False,
        application=np.array([0, 1]),
        n_applications=2,
        rng=np.random.default_rng(0),
    )
    assert type(router) is kind


def test_several_frontends_are_a_router_of_their_own():
    router = build_router(
        RouterChoice(policy="round_robin", frontends=2),
        has_shared_caches=False,
        application=np.array([0]),
        n_applications=1,
        rng=np.random.default_rng(0),
    )
    assert type(router) is FrontendsRouter
    assert router.is_binding


@pytest.mark.parametrize(
    ("n_replicas", "of_first", "of_second"), [(2, [0], [1]), (4, [0, 1], [2, 3]), (3, [0, 1], [2])]
)
def test_each_application_has_its_part_of_the_pool(n_replicas, of_first, of_second):
    workers = [Worker(index) for index in range(n_replicas)]
    router = PartitionRouter(np.array([0, 1]), n_applications=2)
    for request, own in ((0, of_first), (1, of_second)):
        chosen = []
        for _ in own:
            worker, group = router.choose(workers, request=request, n_tokens=10)
            worker.decode(10)
            chosen.append(worker.index)
            assert group is None
        assert chosen == own
        # a loaded one of its own, rather than an idle one of another application
        assert router.choose(workers, request=request, n_tokens=10)[0].index in own


def test_others_help_an_application_without_replicas():
    workers = [Worker(0), Worker(1)]
    router = PartitionRouter(np.array([0, 1]), n_applications=2)
    router.choose(workers, request=0, n_tokens=10)
    assert router.choose(workers[:1], request=1, n_tokens=10)[0] is workers[0]
