"""LAW-07: energy = integral of power = sum over parts; idle <= power <= maximum."""

import pytest
from hypothesis import given, settings
from strategies import cases, run


@settings(max_examples=14)
@given(case=cases())
def test_energy_is_power_over_time_and_the_sum_of_its_parts(small_files, case):
    result = run(case, small_files)
    power, summary = result.to_frame("power"), result.summary
    assert power["energy_j"].to_numpy() == pytest.approx(
        (power["power_w"] * power["duration_s"]).to_numpy(), rel=1e-12
    )
    assert (power["power_w"] >= power["idle_power_w"] * (1 - 1e-12)).all()
    assert (power["power_w"] <= power["max_power_w"] * (1 + 1e-12)).all()
    assert power["energy_j"].sum() == pytest.approx(summary["it_energy_j"], rel=1e-12)
    assert power["power_w"].sum() == pytest.approx(summary["it_power_w"], rel=1e-12)
    assert summary["it_power_w"] * summary["window_s"] == pytest.approx(summary["it_energy_j"])
    machine = result.scenario.machine
    gpu_w = float(power.loc[power["part"] == "gpu", "power_w"].iloc[0])
    n_gpus = result.scenario.n_gpus
    assert machine.gpu.idle_power_w * n_gpus <= gpu_w * (1 + 1e-12)
    assert gpu_w <= machine.gpu.max_power_w * n_gpus * (1 + 1e-12)
