"""Small sums of a step, against plain NumPy."""

import numpy as np
import pytest

from rackmoe.engine.step_arrays import add_counts, in_all_layers, mean_of, mean_parts_s
from rackmoe.network.recurrence import LayerTimes, StepPart, layered_step
from rackmoe.network.traffic import PortTimes
from rackmoe.network.two_batch import two_batch_step


def uneven_times(seed):
    """Four layers of three ranks, each part 10 to 20 us."""
    rng = np.random.default_rng(seed)
    pre, shared, expert, out, back = 1e-5 * (1 + rng.random((5, 4, 3)))
    return LayerTimes(
        pre_s=pre,
        shared_s=shared,
        expert_s=expert,
        dispatch=PortTimes(egress_s=out, ingress_s=out, latency_s=1e-6),
        combine=PortTimes(egress_s=back, ingress_s=back, latency_s=1e-6),
    )


def test_counts_are_added_to_their_total():
    total = np.array([[2**40, 1], [0, 3]])
    counts = np.array([[1, 2], [3, 4]], dtype=np.int32)
    add_counts(total, counts)
    assert total.tolist() == [[2**40 + 1, 3], [3, 7]]


def test_every_layer_has_the_same_row():
    rows = in_all_layers(np.array([1.0, 2.0]), n_layers=3)
    assert rows.tolist() == [[1.0, 2.0]] * 3
    assert rows.flags.c_contiguous


def test_mean_of_a_few_numbers():
    assert mean_of(np.array([1.0, 2.0, 6.0])) == 3.0


def test_parts_of_one_batch_add_up_to_the_mean_end():
    plan = layered_step(uneven_times(1))
    assert mean_parts_s([], plan=plan).sum() == pytest.approx(plan.end_s.mean(), rel=1e-12)


def test_what_two_batches_do_not_hide_is_booked_as_dispatch():
    times = [uneven_times(seed) for seed in range(2)]
    plan = two_batch_step((times[0], times[1]))
    parts_s = mean_parts_s(times, plan=plan)
    assert parts_s.sum() == pytest.approx(plan.end_s.mean(), rel=1e-12)
    experts_s = sum(one.expert_s.mean(axis=1).sum() for one in times)
    assert parts_s[StepPart.EXPERT] == pytest.approx(experts_s, rel=1e-12)
