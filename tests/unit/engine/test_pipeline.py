"""Steps in the stages of a replica."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from rackmoe.engine.pipeline import (
    Hop,
    Stages,
    StageShape,
    hops_between,
    join_stages,
    stage_times_s,
)
from rackmoe.engine.planned import PlannedStep, StepTotals
from rackmoe.hardware.profile import load_machine
from rackmoe.network.recurrence import StepPlan
from rackmoe.serving.batching import StepBatch

NOTHING = np.zeros(1, dtype=np.int64)
FREE = Hop(bandwidth_bytes_per_s=1e30, latency_s=0.0, is_scale_up=True)


def step(layer_end_s=(1.0, 2.0, 3.0, 4.0), *, tail_s=0.0, host_s=0.0, gap_s=0.0, n_tokens=10):
    end_s = np.array([layer_end_s[-1] + tail_s])
    plan = StepPlan(
        start_s=np.zeros(1),
        clock_s=np.array(layer_end_s)[:, None],
        layer_end_s=np.array(layer_end_s),
        tail_s=np.array([tail_s]),
        end_s=end_s,
        parts_s=np.zeros((8, 1)),
    )
    totals = StepTotals(
        by_peak_flop=np.zeros(3),
        hbm_bytes=0.0,
        scale_up_bytes=0.0,
        scale_out_bytes=0.0,
        attention_s=0.0,
        imbalance=1.0,
    )
    batch = StepBatch(
        decode_sequences=np.array([n_tokens]),
        decode_kv_tokens=np.array([n_tokens]),
        decode_window_tokens=np.array([n_tokens]),
        prefill_tokens=NOTHING,
        chunks=(),
        preempted=(),
    )
    return PlannedStep(
        times=(),
        plan=plan,
        parts_s=np.zeros(8),
        totals=totals,
        host_step_s=host_s,
        host_gap_s=gap_s,
        batch=batch,
    )


def stages(n_stages, hop=FREE):
    return Stages(range(n_stages), hops=[hop] * (n_stages - 1), hidden=100, tp=2)


@pytest.mark.parametrize(("m", "p"), [(1, 2), (2, 2), (4, 4), (4, 2), (2, 4)])
def test_m_steps_that_come_at_once_end_after_m_plus_p_minus_1_stages(m, p):
    pipe = stages(p)
    ends = [pipe.enter(step(), now_ps=0).duration_s for _ in range(m)]
    one_s = 4.0 / p
    assert ends == pytest.approx([(number + p) * one_s for number in range(m)])


def test_schedulers_in_turn_keep_all_stages_busy():
    pipe, now_s = stages(2), [0.0, 0.0]
    for _ in range(5):
        for scheduler in range(2):
            plan = pipe.enter(step(), now_ps=round(now_s[scheduler] * 1e12))
            now_s[scheduler] += plan.duration_s
    # ten steps of two stages of 2 s: (10 + 2 - 1) x 2 s
    assert now_s[1] == pytest.approx(22.0)


def test_a_hop_costs_its_latency_and_its_bytes():
    hop = Hop(bandwidth_bytes_per_s=2000.0, latency_s=0.5, is_scale_up=False)
    plan = stages(2, hop).enter(step(), now_ps=0)
    # 10 tokens of 100 values of 2 bytes, on each of two GPUs
    assert plan.extra_s == pytest.approx(0.5 + 1.0)
    assert plan.totals.scale_out_bytes == 4000.0
    assert plan.totals.scale_up_bytes == 0.0


def test_the_head_is_in_the_last_stage_and_the_host_in_each():
    assert stage_times_s(step(tail_s=1.0), n_stages=2).tolist() == [2.0, 3.0]
    assert stage_times_s(step(host_s=6.0), n_stages=2).tolist() == [3.0, 3.0]
    assert stage_times_s(step((1.0, 2.0, 3.0)), n_stages=2).tolist() == [1.0, 2.0]


def test_waiting_is_neither_work_nor_the_host():
    pipe = stages(2)
    pipe.enter(step(gap_s=0.25), now_ps=0)
    plan = pipe.enter(step(gap_s=0.25), now_ps=0)
    assert (plan.extra_s, plan.duration_s) == (2.0, 6.25)
    row = plan.row(replica=0, pool=0, start_s=0.0, duration_s=plan.duration_s)
    # host and other, of the parts of the step
    assert row[16:18] == pytest.approx((0.25, 6.0))


def test_hops_between_domains_take_the_nics():
    machine = load_machine("hgx_h200")
    hops = hops_between(machine, first_gpus=(0, 4, 8))
    assert [hop.is_scale_up for hop in hops] == [True, False]
    assert hops[0].bandwidth_bytes_per_s > hops[1].bandwidth_bytes_per_s


@dataclass
class Scheduler:
    first_gpu: int
    tp: int = 2
    stages: Stages | None = field(default=None)


def test_schedulers_share_the_stages_of_their_replica():
    members = [Scheduler(0), Scheduler(4)]
    shape = StageShape(machine=load_machine("hgx_h200"), hidden=100)
    join_stages(members, shape=shape)
    assert members[0].stages is members[1].stages
    assert members[0].stages.first_gpus == (0, 4)
