"""Whether the power terms of the profiles come out of the committed tables."""

import numpy as np
import pandas as pd
import pytest

from rackmoe.errors import ConfigError
from rackmoe.hardware.profile import load_machine
from rackmoe.schema.shipped import shipped_folder
from rackmoe.study.power_fit import fit_gpu_activity, read_power_rows

B200 = load_machine("hgx_b200")
TABLES = shipped_folder("scenarios/calibration/kernels")
ATTENTION, MOE = TABLES / "power_b200_attention.csv", TABLES / "power_b200_moe.csv"


@pytest.fixture(scope="module")
def fit():
    return fit_gpu_activity(read_power_rows(ATTENTION, moe=MOE, gpu=B200.gpu), gpu=B200.gpu)


def test_the_profile_of_b200_holds_the_fit(fit):
    activity = B200.power.gpu
    assert activity.busy_power_w == pytest.approx(fit.busy_power_w, abs=1)
    assert activity.tensor_power_w["bf16"] == pytest.approx(fit.tensor_power_w["bf16"], abs=1)
    assert activity.tensor_power_w["fp8"] == pytest.approx(fit.tensor_power_w["fp8"], abs=1)
    assert activity.hbm_power_w == pytest.approx(fit.hbm_power_w, abs=1)


def test_the_errors_are_those_that_the_profile_states(fit):
    assert (fit.n_strata, fit.n_rows) == (49, 3174)
    assert fit.strata_median_error_frac == pytest.approx(0.09, abs=0.005)
    assert fit.row_median_error_frac == pytest.approx(0.11, abs=0.005)
    assert fit.row_p90_error_frac == pytest.approx(0.33, abs=0.005)


@pytest.mark.parametrize(
    "name", ["gb200_nvl72", "gb300_nvl72", "hgx_h200", "hgx_h100", "hgx_b300"]
)
def test_other_gpus_take_the_fit_over_by_their_power_range(name):
    machine = load_machine(name)
    ratio = (machine.gpu.max_power_w - machine.gpu.idle_power_w) / (1000 - 145)
    activity = machine.power.gpu
    assert activity.busy_power_w == pytest.approx(ratio * 565, abs=1)
    assert activity.tensor_power_w["bf16"] == pytest.approx(ratio * 439, abs=1)
    assert activity.hbm_power_w == pytest.approx(ratio * 152, abs=1)


def test_known_terms_come_back_from_rows_made_with_them():
    rng = np.random.default_rng(0)
    n_rows = 4000
    tensor_frac, hbm_frac = rng.uniform(0, 0.3, n_rows), rng.uniform(0, 0.9, n_rows)
    dtype = np.where(np.arange(n_rows) % 2, "fp8_block", "bfloat16")
    tensor_w = np.where(dtype == "bfloat16", 900.0, 500.0)
    rows = pd.DataFrame(
        {
            "source": "made",
            "dtype": dtype,
            "tensor_frac": tensor_frac,
            "hbm_frac": hbm_frac,
            "power_w": 145 + 200 + tensor_frac * tensor_w + hbm_frac * 300,
        }
    )
    fit = fit_gpu_activity(rows, gpu=B200.gpu)
    assert fit.busy_power_w == pytest.approx(200, rel=0.05)
    assert fit.tensor_power_w == pytest.approx({"bf16": 900, "fp8": 500}, rel=0.05)
    assert fit.hbm_power_w == pytest.approx(300, rel=0.05)
    assert fit.row_p90_error_frac < 0.02


def test_work_of_one_kernel_by_hand(tmp_path):
    attention, moe = tmp_path / "attention.csv", tmp_path / "moe.csv"
    header = "phase,kv_dtype,heads,kv_heads,head_dim,batch,seq,latency_us,power_w\n"
    attention.write_text(
        header
        + "decode,fp8,8,2,128,4,1000,10.0,500.0\nprefill,bfloat16,8,2,128,1,1000,100.0,900.0\n"
    )
    moe.write_text(
        "dtype,hidden,inter,topk,experts,ep,dist,tokens_global,latency_us,power_w\n"
        "fp8_block,1000,500,2,8,1,balanced,3,10.0,600.0\n"
        "fp8_block,1000,500,2,8,2,balanced,3,10.0,600.0\n"
        "fp8_block,1000,500,2,8,1,power_law_1.2,3,10.0,600.0\n"
    )
    rows = read_power_rows(attention, moe=moe, gpu=B200.gpu)
    assert len(rows) == 3
    decode_flop, prefill_flop = 4 * 4 * 8 * 128 * 1000, 4 * 8 * 128 * 1000 * 500
    moe_flop = 6 * 6 * 1000 * 500
    assert rows["tensor_frac"].tolist() == pytest.approx(
        [decode_flop / 4.5e10, prefill_flop / 2.25e11, moe_flop / 4.5e10], rel=1e-12
    )
    decode_bytes = 4 * 128 * (2 * 2 * 1000 + 2 * 8 * 2)
    prefill_bytes = 128 * (2 * 2 * 1000 * 2 + 2 * 8 * 1000 * 2)
    moe_bytes = 6 * 3 * 1000 * 500 + 2 * 6 * (2 * 1000 + 3 * 500)
    assert rows["hbm_frac"].tolist() == pytest.approx(
        [decode_bytes / 8e7, prefill_bytes / 8e8, moe_bytes / 8e7], rel=1e-12
    )


def test_too_few_strata_are_refused():
    rows = pd.DataFrame(
        {
            "source": ["a"],
            "dtype": ["fp8"],
            "tensor_frac": [0.1],
            "hbm_frac": [0.1],
            "power_w": [1],
        }
    )
    with pytest.raises(ConfigError, match="0 strata of 10 rows; expected at least 4"):
        fit_gpu_activity(rows, gpu=B200.gpu)


def test_a_missing_column_is_named(tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("phase,kv_dtype\ndecode,fp8\n")
    with pytest.raises(ConfigError, match="no column kv_heads, power_w, seq"):
        read_power_rows(bad, moe=MOE, gpu=B200.gpu)


def test_a_table_without_balanced_rows_is_refused(tmp_path):
    skewed = tmp_path / "skewed.csv"
    lines = MOE.read_text().splitlines()
    skewed.write_text("\n".join([lines[0], *(line for line in lines if "power_law_1.2" in line)]))
    with pytest.raises(ConfigError, match="no row that counts"):
        read_power_rows(ATTENTION, moe=skewed, gpu=B200.gpu)
