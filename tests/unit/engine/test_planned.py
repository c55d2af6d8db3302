"""A planned step and its row."""

from dataclasses import replace

import numpy as np
import pytest

from rackmoe.engine.planned import PlannedStep, StepTotals
from rackmoe.network.recurrence import LayerTimes, layered_step
from rackmoe.network.slowdown import Slowdown
from rackmoe.network.traffic import PortTimes
from rackmoe.network.two_batch import two_batch_step
from rackmoe.records import BREAKDOWN_COLUMNS, STEP_COLUMNS, Pool
from rackmoe.serving.batching import StepBatch


def layer_times(pre=((2.0, 1.0),), expert=((3.0, 4.0),)):
    nothing = np.zeros((1, 2))
    free = PortTimes(egress_s=nothing, ingress_s=nothing, latency_s=0.0)
    return LayerTimes(
        pre_s=np.array(pre),
        shared_s=nothing,
        expert_s=np.array(expert),
        dispatch=free,
        combine=free,
    )


def planned(**changes):
    """One layer on two ranks: 2 and 1 s before, exchange, 3 and 4 s of experts, 1 s after."""
    times = layer_times()
    plan = layered_step(times, tail_s=np.array([1.0, 1.0]))
    zeros = np.zeros(2, np.int64)
    values = {
        "times": (times,),
        "plan": plan,
        "parts_s": plan.parts_s.mean(axis=1),
        "totals": StepTotals(
            by_peak_flop=np.array([3.0, 2.0, 1.0]),
            hbm_bytes=7.0,
            scale_up_bytes=8.0,
            scale_out_bytes=9.0,
            attention_s=0.5,
            imbalance=1.5,
        ),
        "host_step_s": 0.0,
        "host_gap_s": 0.25,
        "batch": StepBatch(
            decode_sequences=np.array([2, 1]),
            decode_kv_tokens=np.array([20, 10]),
            decode_window_tokens=zeros,
            prefill_tokens=np.array([0, 5]),
            chunks=(),
            preempted=(),
        ),
    }
    return PlannedStep(**(values | changes))


def test_the_totals_of_micro_batches_add_up():
    first = planned().totals
    second = replace(first, imbalance=2.5, port_bytes=np.full((4, 2), 3.0))
    both = first.joined(second)
    assert both.by_peak_flop.tolist() == [6.0, 4.0, 2.0]
    sums = (both.hbm_bytes, both.scale_up_bytes, both.scale_out_bytes, both.attention_s)
    assert sums == (14.0, 16.0, 18.0, 1.0)
    assert both.imbalance == 2.0
    # a micro-batch that sends nothing adds nothing
    assert both.port_bytes.tolist() == second.joined(first).port_bytes.tolist() == [[3.0] * 2] * 4
    assert second.joined(second).port_bytes[0, 0] == 6.0
    assert first.joined(first).port_bytes is None


def test_a_step_lasts_as_long_as_its_slowest_rank_and_the_gap():
    # both ranks wait for the slower one at the exchange, then for the slower expert
    assert planned().plan.end_s.tolist() == [7.0, 7.0]
    assert planned().duration_s == 7.25


def test_a_slow_host_sets_the_pace():
    assert planned(host_step_s=9.0).duration_s == 9.25


def test_the_row_of_a_step_sums_up_to_its_duration():
    step = planned()
    values = step.row(replica=3, pool=Pool.DECODE, start_s=1.0, duration_s=7.25)
    row = dict(zip((column.name for column in STEP_COLUMNS), values, strict=True))
    assert (row["replica"], row["pool"], row["start_s"]) == (3, Pool.DECODE, 1.0)
    assert (row["n_decode_tokens"], row["n_sequences"], row["n_prefill_tokens"]) == (3, 3, 5)
    assert row["attention_s"] == 0.5
    # 1.5 s before the exchange and 1 s after it, on average, less the attention
    assert row["dense_s"] == pytest.approx(1.5 + 1.0 - 0.5)
    assert row["expert_s"] == pytest.approx(3.5)
    assert row["host_s"] == pytest.approx(0.25)
    assert (row["flop"], row["bf16_flop"], row["fp8_flop"], row["fp4_flop"]) == (6, 3, 2, 1)
    assert (row["hbm_bytes"], row["scale_up_bytes"], row["scale_out_bytes"]) == (7, 8, 9)
    assert row["imbalance"] == 1.5
    assert sum(row[name] for name in BREAKDOWN_COLUMNS) == pytest.approx(7.25)


def test_what_the_clock_rounds_up_is_not_time_of_the_host():
    step = planned(host_gap_s=0.0)
    values = step.row(replica=0, pool=Pool.DECODE, start_s=0.0, duration_s=7.0 + 1e-12)
    row = dict(zip((column.name for column in STEP_COLUMNS), values, strict=True))
    assert row["host_s"] == 0.0
    assert sum(row[name] for name in BREAKDOWN_COLUMNS) == pytest.approx(7.0 + 1e-12, abs=2e-15)


def test_a_change_in_the_middle_stretches_the_rest():
    step = planned()
    slow = Slowdown.none(2).changed(5.0, compute=2.0)
    # 1 s of the slower expert and 1 s of the tail are left, at half the speed
    assert step.resume(slowdown=slow, now_s=5.0).duration_s == pytest.approx(5 + 2 + 2 + 0.25)


def test_two_micro_batches_are_resumed_too():
    both = (layer_times(), layer_times())
    plan = two_batch_step(both, tail_s=np.zeros((2, 2)))
    step = planned(times=both, plan=plan)
    slow = Slowdown.none(2).changed(0.0, compute=2.0)
    resumed = step.resume(slowdown=slow, now_s=0.0)
    assert resumed.plan.end_s.max() == pytest.approx(2 * plan.end_s.max())
    assert replace(resumed, host_gap_s=0.0).duration_s == resumed.plan.end_s.max()
