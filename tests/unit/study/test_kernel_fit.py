from dataclasses import asdict

import numpy as np
import pytest

from rackmoe.backend.operators import AttentionPrefillConstants
from rackmoe.hardware.profile import load_machine
from rackmoe.study.kernel_fit import CONSTANT_RANGES, fit_constants
from rackmoe.study.kernel_tables import read_kernel_table
from rackmoe.study.kernel_times import row_times

TRUE = AttentionPrefillConstants(
    launch_s=2e-5,
    flop_efficiency=0.5,
    io_efficiency=0.7,
    sharpness=1.5,
    tile_s=4e-6,
    kv_token_s=2e-8,
)


@pytest.fixture
def gpu():
    return load_machine("hgx_h200").gpu


@pytest.fixture
def rows(tmp_path):
    lines = [
        f"prefill,bfloat16,{heads},{batch},{length},1"
        for heads in (8, 128)
        for batch in (1, 8, 64)
        for length in (1, 64, 512, 2048, 8192)
    ]
    path = tmp_path / "mla.csv"
    path.write_text("phase,kv_dtype,heads,batch,seq,latency_us\n" + "\n".join(lines))
    return read_kernel_table(path)


def test_fit_finds_the_constants_that_made_the_times(gpu, rows):
    times = row_times(rows)
    fitted, fitted_s = fit_constants(
        "mla_prefill", gpu=gpu, times=times, measured_s=times(gpu, TRUE)
    )
    assert np.abs(fitted_s / times(gpu, TRUE) - 1).max() < 0.02
    for name, value in asdict(TRUE).items():
        assert getattr(fitted, name) == pytest.approx(value, rel=0.25), name


def test_accidents_of_an_autotuner_hardly_move_the_fit(gpu, rows):
    times = row_times(rows)
    measured_s = times(gpu, TRUE)
    measured_s[::10] *= 3
    _, fitted_s = fit_constants("mla_prefill", gpu=gpu, times=times, measured_s=measured_s)
    assert np.median(np.abs(fitted_s / times(gpu, TRUE) - 1)) < 0.03


def test_constants_that_no_row_identifies_stay_where_they_start(gpu, rows):
    # One-token prompts never reach the FLOP bound.
    short = rows[rows["seq"] == 1]
    times = row_times(short)
    fitted, _ = fit_constants("mla_prefill", gpu=gpu, times=times, measured_s=times(gpu, TRUE))
    start = CONSTANT_RANGES["prefill"][1]["flop_efficiency"].start
    assert fitted.flop_efficiency == pytest.approx(start, rel=0.1)


def test_every_start_lies_in_its_range():
    for _, ranges in CONSTANT_RANGES.values():
        assert all(0 < one.low < one.start < one.high for one in ranges.values())
