"""Frontends that know nothing of each other."""

from collections import Counter
from types import SimpleNamespace

import numpy as np

from rackmoe.engine.frontends import FrontendsRouter


class Fixed:
    """Starts every frontend at a given turn."""

    def __init__(self, *starts):
        self._starts = starts

    def integers(self, *_, size):
        assert size[1] == len(self._starts)
        return np.array([self._starts, self._starts])


def workers(n):
    return [SimpleNamespace(index=index) for index in range(n)]


def chosen(router, replicas, requests):
    return [router.choose(replicas, request=one, n_tokens=1)[0].index for one in requests]


def test_each_frontend_takes_its_own_turns():
    router = FrontendsRouter(n_frontends=2, rng=Fixed(0, 0))
    # requests 0, 2, 4 come through one frontend, the others through the other
    assert chosen(router, workers(3), range(6)) == [1, 1, 2, 2, 0, 0]


def test_a_request_keeps_its_decoder_while_it_is_there():
    router = FrontendsRouter(n_frontends=1, rng=Fixed(0))
    three = workers(3)
    first = [router.ranked(three, request=one)[0].index for one in (7, 8, 7)]
    assert first == [1, 2, 1]
    assert [one.index for one in router.ranked(three[2:], request=7)] == [2]
    assert router.ranked([], request=9) == []


def test_prompts_and_decoders_are_dealt_apart():
    router = FrontendsRouter(n_frontends=1, rng=Fixed(0))
    three = workers(3)
    chosen(router, three, [0, 1])
    assert router.ranked(three, request=0)[0].index == 1
    router.placed(three[1])
    router.prompt_done(0)
    assert router.note() is None


def test_in_the_long_run_all_replicas_get_the_same():
    router = FrontendsRouter(n_frontends=10, rng=np.random.default_rng(3))
    found = Counter(chosen(router, workers(4), range(4000)))
    assert max(found.values()) - min(found.values()) <= 10
