"""LAW-02, LAW-06 and LAW-11 on the fabric: random links, paths and traffic."""

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.engine.clock import to_ps, to_s
from rackmoe.engine.fabric import Fabric
from rackmoe.network.arbitration import Arbitration, TrafficClass

N_LINKS = 6
flows = st.lists(
    st.tuples(
        st.lists(st.integers(0, N_LINKS - 1), min_size=1, max_size=4, unique=True),
        st.floats(1e3, 1e7),
        st.floats(0.0, 0.05),
        st.sampled_from([TrafficClass.KV, TrafficClass.EXPERT]),
    ),
    min_size=1,
    max_size=12,
)
capacities = st.lists(st.floats(1e7, 1e9), min_size=N_LINKS, max_size=N_LINKS)


def move(capacity, traffic, *, arbitration=Arbitration.PER_FLOW, speed=1.0):
    """Run the flows; return the fabric and when each one ended."""
    env = simpy.Environment(initial_time=0)
    names = [f"link{k}" for k in range(N_LINKS)]
    fabric = Fabric(env, speed * np.array(capacity), names=names, arbitration=arbitration)
    ends_s = [0.0] * len(traffic)

    def send(index, path, n_bytes, start_s, kind):
        yield env.timeout(to_ps(start_s / speed))
        yield fabric.transfer(tuple(path), n_bytes=n_bytes, traffic_class=kind)
        ends_s[index] = to_s(env.now)

    for index, (path, n_bytes, start_s, kind) in enumerate(traffic):
        env.process(send(index, path, n_bytes, start_s, kind))
    env.run()
    return fabric, np.array(ends_s)


@settings(max_examples=40)
@given(capacity=capacities, traffic=flows, arbitration=st.sampled_from(Arbitration))
def test_law_02_links_carry_the_bytes_of_every_hop(capacity, traffic, arbitration):
    fabric, _ = move(capacity, traffic, arbitration=arbitration)
    moved = fabric.counters().moved_bytes
    expected = sum(n_bytes * len(path) for path, n_bytes, _, _ in traffic)
    assert moved.sum() == pytest.approx(expected, rel=1e-9)
    for link in range(N_LINKS):
        crossing = sum(n_bytes for path, n_bytes, _, _ in traffic if link in path)
        assert moved[:, link].sum() == pytest.approx(crossing, rel=1e-9)


@settings(max_examples=40)
@given(capacity=capacities, traffic=flows, arbitration=st.sampled_from(Arbitration))
def test_law_06_no_link_carries_more_than_its_capacity(capacity, traffic, arbitration):
    fabric, _ = move(capacity, traffic, arbitration=arbitration)
    counters = fabric.counters()
    most = np.array(capacity) * counters.busy_s
    assert (counters.moved_bytes.sum(axis=0) <= most * (1 + 1e-9) + 1.0).all()


@settings(max_examples=40)
@given(capacity=capacities, traffic=flows, speed=st.sampled_from([2.0, 0.5, 10.0]))
def test_law_11_all_times_scale_with_the_rates(capacity, traffic, speed):
    _, ends_s = move(capacity, traffic)
    _, scaled_s = move(capacity, traffic, speed=speed)
    # every event is rounded up to a picosecond
    assert scaled_s * speed == pytest.approx(ends_s, rel=1e-9, abs=1e-10)
