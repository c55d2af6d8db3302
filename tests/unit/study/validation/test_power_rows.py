import pytest

from rackmoe.errors import ConfigError
from rackmoe.hardware.profile import load_machine
from rackmoe.study.validation.power_rows import (
    INPUT,
    NEW,
    NO_POWER,
    PowerRow,
    constant_of,
    power_document,
    read_power_points,
)

SERVING = {
    "id": "a",
    "trust": "A",
    "hardware": "hgx_b200",
    "n_gpus": "8",
    "model": "DeepSeek-R1-0528",
    "weights_dtype": "fp8",
    "mode": "agg, steady state",
    "osl": "9000",
    "load": "127.6",
    "metric": "mean GPU board power",
    "value": "890.8",
    "unit": "W/GPU",
    "source_date": "2026-02-27",
}


def row(**cells):
    return PowerRow(cells=SERVING | cells)


def test_a_serving_row_holds_its_mean_sequences_in_their_stationary_state():
    document = power_document(row())
    assert document.workload.arrivals.closed_loop == 128
    assert document.workload.is_prefilled
    assert document.workload.lengths.is_staggered
    pool = document.deployment.aggregated
    assert (pool.tp, pool.attention_dp, pool.ep, pool.max_batch_per_rank) == (1, 8, 8, 16)


def test_other_models_split_attention_over_their_gpus():
    pool = power_document(row(model="gpt-oss-120b", weights_dtype="mxfp4", n_gpus="2"))
    pool = pool.deployment.aggregated
    assert (pool.tp, pool.attention_dp, pool.ep, pool.max_batch_per_rank) == (2, 1, 1, 128)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"model": "Qwen3.5-397B-A17B"}, "a: model: 'Qwen3.5-397B-A17B'; expected one of"),
        ({"mode": "MLPerf v4.1 power, Offline"}, "a: mode: 'MLPerf v4.1 power, Offline' of"),
    ],
)
def test_rows_that_cannot_be_simulated_say_why(cells, message):
    with pytest.raises(ConfigError, match=message):
        power_document(row(**cells))


def test_families_and_roles_keep_measurements_apart_from_inputs():
    assert (row().family, row().role) == ("GPU board, serving", NEW)
    assert row(unit="J/request").family == "GPU energy per request"
    assert row(mode="idle between phases", unit="W").family == "node at the wall, idle"
    assert row(mode="idle between phases", unit="W").role == INPUT
    assert row(mode="limit").role == INPUT
    assert row(mode="cost constant", unit="$/GPU-h").role == NO_POWER
    assert row(mode="MLPerf v5.1 power, Server").role == NEW


def test_constants_are_those_of_the_profile():
    b200, gb200 = load_machine("hgx_b200"), load_machine("gb200_nvl72")
    assert constant_of(row(mode="limit"), machine=b200) == b200.gpu.max_power_w
    assert constant_of(row(mode="idle, loaded"), machine=b200) == b200.gpu.idle_power_w
    part = {"mode": "component model constant"}
    assert constant_of(row(**part, metric="PUE (HGX air: 1.3)"), machine=gb200) == (
        gb200.power.facility.pue
    )
    old, new = (
        constant_of(row(mode="provisioned constant", source_date=date), machine=b200)
        for date in ("2025-10..2026-05", "2026-08")
    )
    assert (old, new) == (2170, 1710)
    with pytest.raises(ConfigError, match="metric: 'colour'"):
        constant_of(row(**part, metric="colour"), machine=gb200)


def test_an_idle_node_draws_more_than_its_gpus():
    b200 = load_machine("hgx_b200")
    node_w = constant_of(row(mode="idle between phases", unit="W"), machine=b200)
    assert 8 * b200.gpu.idle_power_w < node_w < b200.power.nameplate_power_w


def test_a_file_lacks_no_column_and_no_value(tmp_path):
    path = tmp_path / "power.csv"
    path.write_text("id,trust\na,A\n")
    with pytest.raises(ConfigError, match="no column hardware"):
        read_power_points(path)
    path.write_text(
        ",".join(SERVING) + "\n" + ",".join(SERVING.values()).replace("agg, ", "") + "\n"
    )
    (read,) = read_power_points(path)
    assert read.number("value") == pytest.approx(890.8)
    assert read.text("missing") == ""
