"""Power of a machine over steps, by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from rackmoe.hardware.profile import load_machine
from rackmoe.metrics.rack_power import machine_power
from rackmoe.metrics.window import Window
from rackmoe.power.parts import GpuUtilization, gpu_power_w
from rackmoe.records import STEP_COLUMNS, Records

MACHINE = load_machine("hgx_h200")
WINDOW = Window(start_s=0.0, end_s=10.0)
EIGHT = np.array([8])


def steps_of(*rows):
    """Return a step table; what a row leaves out is 0."""
    frame = pd.DataFrame(list(rows))
    return frame.reindex(columns=[column.name for column in STEP_COLUMNS], fill_value=0).fillna(0)


def power(steps, *, gpus=EIGHT, n_gpus=8, window=WINDOW, machine=MACHINE):
    return machine_power(
        steps, machine=machine, gpus_of_replica=gpus, n_gpus=n_gpus, window=window
    )


def busy(start_s, duration_s, **values):
    return {"replica": 0, "start_s": start_s, "duration_s": duration_s} | values


def test_a_machine_without_steps_idles():
    result = power(steps_of().astype(float))
    assert result.mean.gpu_w == pytest.approx(8 * MACHINE.gpu.idle_power_w)
    assert result.it_power_w == pytest.approx(float(result.idle.it_power_w))


def test_gpus_draw_the_power_of_their_step_and_idle_in_between():
    # half of the time at the HBM's full rate, nothing else
    n_bytes = 5.0 * 8 * MACHINE.gpu.hbm_bandwidth_bytes_per_s
    steps = steps_of(busy(2.0, 5.0, attention_s=5.0, hbm_bytes=n_bytes))
    reading = GpuUtilization(busy_frac=1.0, tensor_frac={}, hbm_frac=1.0)
    full_w = float(gpu_power_w(MACHINE, utilization=reading))
    expected_w = (5 * full_w + 5 * MACHINE.gpu.idle_power_w) / 10
    assert power(steps).mean.gpu_w == pytest.approx(8 * expected_w)


def test_steps_count_as_far_as_they_lie_in_the_window():
    steps = steps_of(busy(-5.0, 10.0, attention_s=10.0), busy(8.0, 4.0, attention_s=4.0))
    inside = steps_of(busy(0.0, 5.0, attention_s=5.0), busy(8.0, 2.0, attention_s=2.0))
    assert power(steps).mean.gpu_w == pytest.approx(float(power(inside).mean.gpu_w))


def test_gpus_of_no_replica_idle():
    steps = steps_of(busy(0.0, 10.0, expert_s=10.0))
    one, two = power(steps), power(steps, n_gpus=16)
    assert two.mean.gpu_w - one.mean.gpu_w == pytest.approx(8 * MACHINE.gpu.idle_power_w)


def test_waiting_for_tokens_draws_less_than_computing():
    working = steps_of(busy(0.0, 10.0, expert_s=10.0))
    waiting = steps_of(busy(0.0, 10.0, expert_s=5.0, dispatch_wait_s=5.0))
    assert power(waiting).mean.gpu_w < power(working).mean.gpu_w


def test_each_format_counts_against_its_own_peak():
    flop = 5e14 * 10 * 8
    shares = {}
    for peak in ("bf16", "fp8"):
        steps = steps_of(busy(0.0, 10.0, expert_s=10.0, **{f"{peak}_flop": flop}))
        shares[peak] = GpuUtilization(
            busy_frac=1.0, tensor_frac={peak: 5e14 / MACHINE.gpu.peak_flop_per_s[peak]}
        )
        expected_w = 8 * float(gpu_power_w(MACHINE, utilization=shares[peak]))
        assert power(steps).mean.gpu_w == pytest.approx(expected_w)


def test_a_format_that_the_gpu_lacks_draws_nothing():
    assert "fp4" not in MACHINE.gpu.peak_flop_per_s
    steps = steps_of(busy(0.0, 10.0, expert_s=10.0, fp4_flop=1e20))
    plain = steps_of(busy(0.0, 10.0, expert_s=10.0))
    assert power(steps).mean.gpu_w == power(plain).mean.gpu_w


def test_switches_follow_the_bytes_and_cpus_the_steps():
    n_bytes = 10.0 * 8 * MACHINE.scale_up.gpu_bandwidth_bytes_per_s
    quiet = power(steps_of(busy(0.0, 10.0, expert_s=10.0)))
    loud = power(steps_of(busy(0.0, 10.0, expert_s=10.0, scale_up_bytes=n_bytes)))
    assert loud.mean.switch_w == pytest.approx(float(loud.largest.switch_w))
    assert quiet.mean.switch_w == pytest.approx(float(quiet.idle.switch_w))
    assert quiet.mean.cpu_w == pytest.approx(float(quiet.largest.cpu_w))


def test_rates_beyond_a_roof_do_not_draw_more_than_the_limit():
    steps = steps_of(
        busy(0.0, 10.0, expert_s=30.0, hbm_bytes=1e30, bf16_flop=1e30, scale_up_bytes=1e30)
    )
    assert power(steps).mean.gpu_w <= 8 * MACHINE.gpu.max_power_w


def test_replicas_of_different_sizes_weigh_by_their_gpus():
    steps = steps_of(
        busy(0.0, 10.0, expert_s=10.0),
        busy(0.0, 10.0, expert_s=10.0) | {"replica": 1},
    )
    both = power(steps, gpus=np.array([2, 6]))
    whole = power(steps_of(busy(0.0, 10.0, expert_s=10.0)))
    assert both.mean.gpu_w == pytest.approx(float(whole.mean.gpu_w))


def test_the_table_holds_every_part_with_its_bounds():
    result = power(steps_of(busy(0.0, 10.0, expert_s=10.0)))
    records = Records()
    result.write(records.power, window=WINDOW)
    frame = records.to_frame("power")
    assert len(frame) == 7
    assert frame["power_w"].sum() == pytest.approx(result.it_power_w)
    assert frame["energy_j"].sum() == pytest.approx(10 * result.it_power_w)
    assert (frame["idle_power_w"] <= frame["power_w"] + 1e-9).all()
    assert (frame["power_w"] <= frame["max_power_w"] + 1e-9).all()


def test_a_machine_at_full_load_draws_its_largest_power():
    hot = replace(MACHINE, gpu=replace(MACHINE.gpu, max_power_w=MACHINE.gpu.min_power_w))
    steps = steps_of(busy(0.0, 10.0, expert_s=10.0, hbm_bytes=1e30, scale_up_bytes=1e30))
    result = power(steps, machine=hot)
    assert result.it_power_w == pytest.approx(float(result.largest.it_power_w), rel=1e-6)
