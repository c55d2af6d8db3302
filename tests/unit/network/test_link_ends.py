"""Closed forms of exchanges over several kinds of links, against plain arithmetic."""

import numpy as np
import pytest

from rackmoe.network.exchange_tiers import stream_ends_s
from rackmoe.network.link_ends import N_TIMES, NEAR_IN, NO_LINKS, linked_ends
from rackmoe.network.reference import receive_ends_s
from rackmoe.network.slowdown import Slowdown


def ends(start, busy, *, uplink=None, waits=None):
    """Send ends, ends and free streams of one exchange."""
    n_ranks = len(start)
    uplink_s = np.zeros((0, n_ranks)) if uplink is None else np.array(uplink, float)
    waiting = np.ones(uplink_s.shape, bool) if waits is None else np.array(waits, bool)
    found = np.empty((3, n_ranks))
    orders = np.tile(np.arange(n_ranks), (2, 3, 1))
    linked_ends(np.array(start, float), busy, uplink_s, waiting, orders, *found)
    return found


def times(n_ranks, **rows):
    """Zero but for rows by name."""
    names = ("near_out", "far_out", "near_in", "far_in", "alone_out", "alone_in")
    found = np.zeros((N_TIMES, n_ranks))
    for name, value in rows.items():
        found[names.index(name)] = value
    return found


@pytest.mark.parametrize("kind", ["near", "far"])
def test_one_kind_of_links_is_an_exchange_of_ports(kind):
    rng = np.random.default_rng(0)
    start, out, into = rng.random((3, 8))
    into *= out.sum() / into.sum()
    _, end_s, free_s = ends(start, times(8, **{f"{kind}_out": out, f"{kind}_in": into}))
    expected = receive_ends_s(start, egress_s=out, ingress_s=into, slowdown=Slowdown.none(8))[2]
    assert end_s == pytest.approx(expected, rel=1e-12)
    assert free_s == pytest.approx(stream_ends_s(start, egress_s=out, ingress_s=into), rel=1e-12)


def test_the_slower_kind_decides():
    busy = times(4, near_out=1.0, near_in=1.0, far_out=3.0, far_in=3.0)
    assert ends([0.0] * 4, busy)[1].tolist() == [3.0] * 4
    busy[NEAR_IN, 2] = 5.0
    assert ends([0.0] * 4, busy)[1].tolist() == [3.0, 3.0, 5.0, 3.0]


def test_a_shared_link_works_off_what_ranks_feed_into_it():
    busy = times(4, far_out=1.0, far_in=1.0)
    # ranks 0 and 1 send three seconds of its work each from 0 on, and rank 2 from 10 on
    sent_s, end_s, free_s = ends(
        [0, 0, 10, 0], busy, uplink=[[3, 3, 3, 0]], waits=[[False, False, False, True]]
    )
    assert sent_s.tolist() == [1, 1, 11, 1]
    assert end_s.tolist() == [11, 11, 11, 13]
    # streams are free once no link has a backlog
    assert free_s.tolist() == [13] * 4


def test_a_shared_link_goes_on_with_what_it_had():
    busy = times(2, far_out=1.0, far_in=1.0)
    assert ends([0, 2], busy, uplink=[[5, 3]])[1].max() == 8.0


def test_a_shared_link_that_is_fast_enough_is_not_felt():
    rng = np.random.default_rng(0)
    start = rng.random(4)
    busy = times(4, far_out=1.0, far_in=1.0)
    alone = ends(start, busy)
    # four ranks feed a link that carries four
    beside = ends(start, busy, uplink=[[0.25] * 4])
    assert beside[1] == pytest.approx(alone[1], rel=1e-12)


def test_passes_over_own_tokens_are_waited_for():
    busy = times(3, alone_out=[0, 0, 5], alone_in=[0, 7, 0])
    assert ends([0.0] * 3, busy)[1].tolist() == [5, 7, 5]


def test_a_group_in_one_domain_has_no_links_of_its_own():
    assert len(NO_LINKS.busy_s) == 0
