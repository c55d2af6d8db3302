"""Clocks of the ranks through the layers of a step."""

import numpy as np
import pytest

from rackmoe.errors import ShapeError
from rackmoe.network.layer_times import LayerTimes
from rackmoe.network.packet import packet_receive_ends_s
from rackmoe.network.recurrence import StepPart, layered_step, resume_step
from rackmoe.network.reference import layered_clocks_s
from rackmoe.network.slowdown import Slowdown


def test_equal_ranks_give_the_barrier_form(uniform_times):
    # per layer: 5 pre, dispatch max(2, 3) + 1, expert 4, combine max(6, 2) + 0.5
    times = uniform_times(
        3, 4, pre=5.0, shared=1.0, expert=4.0, dispatch=(2.0, 3.0, 1.0), combine=(6.0, 2.0, 0.5)
    )
    plan = layered_step(times, tail_s=np.full(4, 0.25))
    assert plan.layer_end_s.tolist() == [19.5, 39.0, 58.5]
    assert plan.end_s.tolist() == [58.75] * 4
    assert plan.parts_s[:, 0].tolist() == [15.0, 12.0, 0.0, 0.0, 12.0, 19.5, 0.0, 0.25]


def test_shared_expert_hides_behind_the_dispatch(uniform_times):
    durations = {
        "pre": 1.0,
        "expert": 1.0,
        "dispatch": (2.0, 2.0, 0.0),
        "combine": (0.0, 0.0, 0.0),
    }
    hidden = layered_step(uniform_times(1, 2, shared=1.5, **durations))
    longer = layered_step(uniform_times(1, 2, shared=2.5, **durations))
    serial = layered_step(uniform_times(1, 2, shared=1.5, overlap_shared=False, **durations))
    assert hidden.end_s.tolist() == [4.0, 4.0]
    assert longer.end_s.tolist() == [4.5, 4.5]
    assert longer.parts_s[StepPart.SHARED].tolist() == [0.5, 0.5]
    assert serial.end_s.tolist() == [5.5, 5.5]


def test_combine_waits_for_slowest_rank(uniform_times):
    times = uniform_times(
        1, 3, pre=1.0, shared=0.0, expert=1.0, dispatch=(0.5, 0.5, 0.0), combine=(0.5, 0.5, 0.0)
    )
    times.expert_s[0, 2] = 4.0
    plan = layered_step(times)
    assert plan.end_s.tolist() == [6.0, 6.0, 6.0]
    assert plan.parts_s[StepPart.COMBINE_WAIT].tolist() == [3.0, 3.0, 0.0]


def test_ranks_without_exchange_keep_their_own_clocks(uniform_times):
    times = uniform_times(2, 3, pre=1.0, shared=1.0, expert=2.0, dispatch=None, combine=None)
    times.pre_s[:, 1] = 3.0
    plan = layered_step(times, start_s=np.array([0.0, 0.0, 5.0]))
    assert plan.end_s.tolist() == [8.0, 12.0, 13.0]


def test_one_rank_sends_nothing(random_times):
    times = random_times(3, 1)
    plan = layered_step(times)
    alone_s = times.pre_s + times.shared_s + times.expert_s
    assert plan.end_s == pytest.approx(alone_s.sum(axis=0), rel=1e-12)


def test_parts_sum_to_the_clock_of_each_rank(random_times):
    times = random_times(20, 16, spread=0.6)
    start_s = np.linspace(0.0, 1e-4, 16)
    plan = layered_step(times, start_s=start_s, tail_s=np.full(16, 1e-5))
    assert plan.parts_s.sum(axis=0) == pytest.approx(plan.end_s - start_s, rel=1e-12)
    assert (plan.parts_s >= -1e-18).all()


def test_parts_sum_under_changing_speed(random_times):
    times = random_times(6, 8)
    slow = Slowdown.none(8).changed(2e-4, egress=1.5).changed(3e-4, compute=2.0, ingress=3.0)
    plan = layered_step(times, slowdown=slow)
    assert plan.parts_s.sum(axis=0) == pytest.approx(plan.end_s, rel=1e-12)


def test_a_step_in_two_ranges_equals_the_whole(random_times):
    times = random_times(10, 8)
    whole = layered_step(times, tail_s=np.full(8, 1e-5))
    first = layered_step(times, tail_s=np.full(8, 1e-5), last_layer=4)
    rest = layered_step(
        times, start_s=first.end_s, tail_s=np.full(8, 1e-5), first_layer=4, with_parts=False
    )
    assert rest.end_s == pytest.approx(whole.end_s, rel=1e-13)
    assert np.concatenate((first.clock_s, rest.clock_s)) == pytest.approx(whole.clock_s, rel=1e-13)
    assert rest.parts_s.shape == (0, 8)


@pytest.mark.parametrize("seed", range(3))
def test_replanning_equals_piecewise_exact_integration(random_times, seed):
    # several changes, some within one exchange, each known only when it happens
    n_ranks = 12
    times = random_times(8, n_ranks, seed=seed, spread=0.4)
    rng = np.random.default_rng(seed)
    tail_s = np.full(n_ranks, 20e-6)
    plan = layered_step(times, tail_s=tail_s)
    history = Slowdown.none(n_ranks)
    for now_s in np.sort(rng.uniform(0.0, 1.1 * plan.end_s.max(), 25)):
        kind = rng.choice(["compute", "egress", "ingress"])
        factor = np.where(rng.random(n_ranks) < 0.3, rng.uniform(0.5, 3.0, n_ranks), 1.0)
        history = history.changed(now_s, **{kind: factor})
        plan = resume_step(times, plan=plan, slowdown=history, now_s=now_s)
    exact_s = layered_clocks_s(times, start_s=np.zeros(n_ranks), tail_s=tail_s, slowdown=history)
    assert plan.end_s == pytest.approx(exact_s[-1], rel=1e-9)
    assert plan.clock_s == pytest.approx(exact_s[:-1], rel=1e-9)
    again = layered_step(times, tail_s=tail_s, slowdown=history)
    assert again.end_s == pytest.approx(plan.end_s, rel=1e-12)
    assert again.parts_s.sum(axis=0) == pytest.approx(plan.end_s, rel=1e-12)


def test_a_change_after_the_step_changes_nothing(random_times):
    times = random_times(3, 4)
    plan = layered_step(times)
    late_s = 2.0 * float(plan.end_s.max())
    slow = Slowdown.none(4).changed(late_s, compute=5.0)
    assert resume_step(times, plan=plan, slowdown=slow, now_s=late_s).end_s.tolist() == (
        plan.end_s.tolist()
    )


def test_a_faster_part_never_slows_the_step(random_times):
    times = random_times(6, 16, spread=0.5)
    slow_s = layered_step(times).end_s
    rng = np.random.default_rng(1)
    for _ in range(10):
        pre_s = times.pre_s * np.where(rng.random((6, 16)) < 0.2, 0.7, 1.0)
        faster = LayerTimes(
            pre_s=pre_s,
            shared_s=times.shared_s,
            expert_s=times.expert_s,
            dispatch=times.dispatch,
            combine=times.combine,
        )
        assert (layered_step(faster).end_s <= slow_s + 1e-15).all()


def test_start_clocks_of_another_group_are_refused(random_times):
    with pytest.raises(ShapeError, match=r"start_s: shape \(3,\); expected \(4,\)"):
        layered_step(random_times(2, 4), start_s=np.zeros(3))


@pytest.mark.parametrize("zipf", [0.0, 0.6])
@pytest.mark.parametrize(("n_ranks", "n_layers"), [(8, 12), (16, 8), (72, 3)])
def test_step_agrees_with_packets(route, n_ranks, n_layers, zipf):
    # attention skew of 20 %, expert load from the traffic, one packet per token copy
    rng = np.random.default_rng(3)
    port = np.full(n_ranks, 900e9)
    pre_s = 70e-6 * (1.0 + 0.2 * rng.standard_normal(n_ranks).clip(-2, 2))
    shape = (n_layers, n_ranks)
    layers = [route(n_ranks, zipf=zipf, seed=seed) for seed in range(n_layers)]
    out = np.array([layer.copies.sum(axis=1) for layer in layers])
    into = np.array([layer.copies.sum(axis=0) for layer in layers])
    expert_s = 30e-6 + 0.1e-6 * into

    class Ports:
        def __init__(self, egress_s, ingress_s):
            self.egress_s, self.ingress_s, self.latency_s = egress_s, ingress_s, 3e-6

    times = LayerTimes(
        pre_s=np.broadcast_to(pre_s, shape),
        shared_s=np.zeros(shape),
        expert_s=expert_s,
        dispatch=Ports(out * 7392.0 / 900e9, into * 7392.0 / 900e9),
        combine=Ports(into * 14336.0 / 900e9, out * 14336.0 / 900e9),
    )
    clock_s = np.zeros(n_ranks)
    for layer, traffic in enumerate(layers):
        order = rng.permutation(traffic.source.size)
        source, destination = traffic.source[order], traffic.destination[order]
        for size, pair, work_s in (
            (7392.0, (source, destination), pre_s),
            (14336.0, (destination, source), expert_s[layer]),
        ):
            clock_s = clock_s + work_s
            ends_s = packet_receive_ends_s(
                pair[0],
                destination=pair[1],
                size_bytes=size,
                egress_bytes_per_s=port,
                ingress_bytes_per_s=port,
                start_s=clock_s,
            )
            clock_s = np.maximum(ends_s + 3e-6, clock_s)
    assert layered_step(times).end_s.max() == pytest.approx(clock_s.max(), rel=0.01)
