"""GPUs and constants of round numbers."""

import pytest

from rackmoe.backend.operators import (
    AttentionDecodeConstants,
    AttentionPrefillConstants,
    GemmConstants,
    GroupedGemmConstants,
)
from rackmoe.hardware.machine import Gpu


@pytest.fixture
def gpu():
    """A GPU of 100 TFLOP/s in bf16, 200 in fp8, 1 TB/s and 10 SMs."""
    return Gpu(
        name="round",
        n_sms=10,
        peak_flop_per_s={"bf16": 1e14, "fp8": 2e14},
        hbm_bytes=1e11,
        hbm_bandwidth_bytes_per_s=1e12,
        l2_bytes=1e8,
        idle_power_w=100.0,
        max_power_w=1000.0,
        min_power_w=100.0,
    )


@pytest.fixture
def gemm_constants():
    """Half of both peaks, 5 us per call, 1 ns per element of k, bounds added."""
    return GemmConstants(
        launch_s=5e-6,
        flop_efficiency=0.5,
        hbm_efficiency=0.5,
        quantize_efficiency=0.25,
        sharpness=1.0,
        ramp_length=100.0,
        k_step_s=1e-9,
        strip_exponent=0.0,
    )


@pytest.fixture
def grouped_constants():
    """Half of both peaks, 20 us per layer, bounds added."""
    return GroupedGemmConstants(
        launch_s=2e-5,
        flop_efficiency=0.5,
        hbm_efficiency=0.5,
        token_efficiency=0.25,
        sharpness=1.0,
        expert_scan_s=1e-7,
        tile_rows=64.0,
    )


@pytest.fixture
def decode_constants():
    """Half of both peaks, 10 us per call, bounds added."""
    return AttentionDecodeConstants(
        launch_s=1e-5,
        flop_efficiency=0.5,
        hbm_efficiency=0.5,
        io_efficiency=0.5,
        sharpness=1.0,
        tile_s=1e-6,
        kv_token_s=1e-9,
        split_s=4e-6,
        split_tokens=1000.0,
    )


@pytest.fixture
def prefill_constants():
    """Half of both peaks, 10 us per call, bounds added."""
    return AttentionPrefillConstants(
        launch_s=1e-5,
        flop_efficiency=0.5,
        io_efficiency=0.5,
        sharpness=1.0,
        tile_s=1e-6,
        kv_token_s=1e-8,
    )
