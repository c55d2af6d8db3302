"""Whether parts add up, stay in their limits, and meet nameplates and meters."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.errors import ShapeError
from rackmoe.hardware.profile import load_machine, profile_names
from rackmoe.power.parts import (
    GpuUtilization,
    RackUtilization,
    facility_power_w,
    gpu_demand_power_w,
    gpu_power_w,
    it_power_w,
    part_powers,
)

FULL = RackUtilization(cpu_frac=1.0, scale_up_frac=1.0)
NAMES = profile_names()
MACHINES = {name: load_machine(name) for name in NAMES}
share = st.floats(0, 1)


def full_load_w(name):
    machine = MACHINES[name]
    n_gpus = machine.scale_up.domain_gpus
    return it_power_w(machine, n_gpus=n_gpus, gpu_w=machine.gpu.max_power_w, utilization=FULL)


@pytest.mark.parametrize(
    ("name", "nameplate_w", "tolerance"),
    [
        # HPE GB200 NVL72 data sheet, 132 kW; 18 trays and 9 switch trays of NVIDIA's Dynamic
        # Power Software add up to 131.2 kW, so 2 % covers both
        ("gb200_nvl72", 132e3, 0.02),
        ("gb200_nvl72", 18 * 6667 + 11160, 0.02),
        # DGX H100 and H200 user guide
        ("hgx_h200", 10.2e3, 0.02),
        # DGX B200 user guide
        ("hgx_b200", 14.3e3, 0.02),
    ],
)
def test_full_load_closes_on_the_nameplate(name, nameplate_w, tolerance):
    assert full_load_w(name) == pytest.approx(nameplate_w, rel=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_closes_on_its_own_nameplate(name):
    assert full_load_w(name) == pytest.approx(MACHINES[name].power.nameplate_power_w, rel=0.02)


def test_a_compute_tray_closes_on_its_maximum():
    # NVIDIA Dynamic Power Software: 6,667 W for a tray of 4 GPUs; switch trays apart
    parts = part_powers(MACHINES["gb200_nvl72"], n_gpus=72, gpu_w=1200.0, utilization=FULL)
    trays_w = (parts.it_power_w - parts.switch_w / 0.945) / 18
    assert trays_w == pytest.approx(6667, rel=0.01)


def test_an_idle_node_draws_what_the_meter_read():
    # MLPerf v4.1 power log, NVIDIA H200 MaxQ, engine loaded: 2,374 W at the wall
    machine = MACHINES["hgx_h200"]
    power_w = it_power_w(machine, n_gpus=8, gpu_w=115.0, utilization=RackUtilization())
    assert power_w == pytest.approx(2374, rel=0.05)


def test_a_loaded_node_draws_what_the_meter_read():
    # MLPerf v4.1 power, Mixtral-8x7B Offline, GPUs capped at 500 W: 6,155 W at the wall.
    # CPUs at 10 % and NVLink at 30 % are assumed; both are worth 2 %
    machine = MACHINES["hgx_h200"]
    utilization = RackUtilization(cpu_frac=0.1, scale_up_frac=0.3)
    power_w = it_power_w(machine, n_gpus=8, gpu_w=500.0, utilization=utilization)
    assert power_w == pytest.approx(6155, rel=0.05)


def test_parts_of_a_node_by_hand():
    parts = part_powers(
        MACHINES["hgx_h200"], n_gpus=8, gpu_w=[115.0, 700.0], utilization=RackUtilization()
    )
    assert parts.gpu_w == pytest.approx([920, 5600], rel=1e-12)
    assert parts.cpu_w == pytest.approx([720, 720], rel=1e-12)
    assert parts.nic_w == pytest.approx([200, 200], rel=1e-12)
    assert parts.switch_w == pytest.approx([200, 200], rel=1e-12)
    # 835 W at full speed; 0.22 of it cubed at rest
    assert parts.fan_w == pytest.approx([835 * 0.22**3, 835], rel=1e-12)
    assert parts.fixed_w == pytest.approx([150, 150], rel=1e-12)
    assert parts.it_power_w[1] == pytest.approx((5600 + 720 + 200 + 200 + 835 + 150) / 0.945)


def test_nine_nodes_draw_nine_times_one_and_a_second_rack_adds_its_switches():
    h200, gb200 = MACHINES["hgx_h200"], MACHINES["gb200_nvl72"]
    one = it_power_w(h200, n_gpus=8, gpu_w=400.0, utilization=FULL)
    nine = it_power_w(h200, n_gpus=72, gpu_w=400.0, utilization=FULL)
    assert nine == pytest.approx(9 * one, rel=1e-12)
    rest = RackUtilization()
    parts = part_powers(gb200, n_gpus=76, gpu_w=181.0, utilization=rest)
    assert parts.switch_w == pytest.approx(36 * 239, rel=1e-12)
    assert parts.fixed_w == pytest.approx(19 * 158, rel=1e-12)


def test_demand_of_a_gpu_by_hand():
    # B200: 145 idle + 565 busy + 0.5 x 313 + 0.4 x 152 + 0.25 x 72
    utilization = GpuUtilization(
        busy_frac=1.0, tensor_frac={"fp8": 0.5}, hbm_frac=0.4, scale_up_frac=0.25
    )
    demand_w = gpu_demand_power_w(MACHINES["hgx_b200"], utilization=utilization)
    assert demand_w == pytest.approx(145 + 565 + 156.5 + 60.8 + 18, rel=1e-12)


def test_the_limit_caps_the_board_power():
    machine = MACHINES["hgx_b200"]
    utilization = GpuUtilization(busy_frac=1.0, tensor_frac={"bf16": [0.0, 1.0]}, hbm_frac=0.5)
    assert gpu_power_w(machine, utilization=utilization) == pytest.approx([786, 1000], rel=1e-12)
    assert gpu_power_w(machine, utilization=utilization, limit_w=700.0) == pytest.approx(
        [700, 700], rel=1e-12
    )


def test_measured_decode_powers_lie_within_a_fifth():
    # ML.ENERGY v3, DeepSeek-R1 FP8 on 8 B200, 32 and 128 sequences: 675 and 891 W a GPU;
    # rough shares of a decode step: kernels most of the time, HBM at a third to a half
    machine = MACHINES["hgx_b200"]
    shares = GpuUtilization(
        busy_frac=[0.85, 0.95], tensor_frac={"fp8": [0.02, 0.1]}, hbm_frac=[0.35, 0.5]
    )
    assert gpu_power_w(machine, utilization=shares) == pytest.approx([675, 891], rel=0.2)


def test_powers_follow_time_steps_and_racks():
    machine = MACHINES["gb200_nvl72"]
    busy_frac = np.linspace(0, 1, 6).reshape(3, 2)
    gpu_w = gpu_power_w(machine, utilization=GpuUtilization(busy_frac=busy_frac, tensor_frac={}))
    assert gpu_w.shape == (3, 2)
    utilization = RackUtilization(cpu_frac=0.1, scale_up_frac=busy_frac)
    power_w = it_power_w(machine, n_gpus=72, gpu_w=gpu_w, utilization=utilization)
    assert power_w.shape == (3, 2)
    assert np.all(np.diff(power_w.ravel()) > 0)


def test_a_facility_adds_its_pue():
    facility = MACHINES["gb200_nvl72"].power.facility
    assert facility_power_w(facility, it_power_w=[1e5, 0.0]) == pytest.approx(
        [1.12e5, 0.0], rel=1e-12
    )


@given(
    name=st.sampled_from(NAMES),
    shares=st.tuples(share, share, share, share),
    dtype=st.sampled_from(["bf16", "fp8", "int8"]),
    rest=st.tuples(share, share),
)
def test_power_stays_between_idle_and_maximum_and_is_the_sum_of_its_parts(
    name, shares, dtype, rest
):
    machine = MACHINES[name]
    busy, tensor, hbm, scale_up = shares
    utilization = GpuUtilization(
        busy_frac=busy, tensor_frac={dtype: tensor}, hbm_frac=hbm, scale_up_frac=scale_up
    )
    gpu_w = gpu_power_w(machine, utilization=utilization)
    assert machine.gpu.idle_power_w <= gpu_w <= machine.gpu.max_power_w
    others = RackUtilization(cpu_frac=rest[0], scale_up_frac=rest[1])
    n_gpus = machine.scale_up.domain_gpus
    parts = part_powers(machine, n_gpus=n_gpus, gpu_w=gpu_w, utilization=others)
    total = sum(getattr(parts, field.name) for field in dataclasses.fields(parts))
    assert parts.it_power_w == pytest.approx(total, rel=1e-12)
    idle = RackUtilization()
    lowest_w = it_power_w(machine, n_gpus=n_gpus, gpu_w=machine.gpu.idle_power_w, utilization=idle)
    assert lowest_w * (1 - 1e-12) <= parts.it_power_w <= full_load_w(name) * (1 + 1e-12)


@pytest.mark.parametrize("busy_frac", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(busy_frac):
    with pytest.raises(ShapeError, match=r"busy_frac: .* expected shares of 0 to 1"):
        gpu_power_w(
            MACHINES["hgx_h200"],
            utilization=GpuUtilization(busy_frac=busy_frac, tensor_frac={"fp8": 0.0}),
        )


def test_tensor_cores_that_a_gpu_lacks_are_refused():
    with pytest.raises(ShapeError, match="tensor_frac has 'fp4'; expected one of bf16, fp8, int8"):
        gpu_power_w(
            MACHINES["hgx_h200"],
            utilization=GpuUtilization(busy_frac=1.0, tensor_frac={"fp4": 0.1}),
        )


@pytest.mark.parametrize("limit_w", [100.0, 800.0])
def test_a_limit_that_the_driver_refuses_is_refused(limit_w):
    with pytest.raises(ShapeError, match="expected 200 to 700 W"):
        gpu_power_w(
            MACHINES["hgx_h200"],
            utilization=GpuUtilization(busy_frac=0.0, tensor_frac={}),
            limit_w=limit_w,
        )


@pytest.mark.parametrize("n_gpus", [0, 6])
def test_a_part_of_a_node_is_refused(n_gpus):
    with pytest.raises(ShapeError, match="expected whole nodes of 8 GPUs"):
        part_powers(
            MACHINES["hgx_h200"], n_gpus=n_gpus, gpu_w=100.0, utilization=RackUtilization()
        )
