import csv

import pytest

from rackmoe.errors import ConfigError
from rackmoe.scenario.resolved import resolve_scenario
from rackmoe.study.validation.serving_rows import (
    ServingRow,
    loop_rounds,
    read_serving_points,
    row_document,
)

CELLS = {
    "id": "one",
    "curve": "a",
    "trust": "A",
    "hardware": "hgx_h200",
    "model": "deepseek-r1",
    "weights_dtype": "fp8",
    "kv_dtype": "",
    "engine": "trtllm",
    "mode": "agg",
    "decode_workers": "1",
    "decode_tp": "8",
    "decode_ep": "1",
    "decode_attention_dp": "1",
    "mtp": "off",
    "isl": "1024.0",
    "osl": "1024.0",
    "length_model": "uniform_0.8_1.0",
    "arrival": "closed",
    "concurrency": "16",
    "routing": "uniform_random",
}


def row(**changed: str) -> ServingRow:
    return ServingRow(cells=CELLS | changed)


def test_a_closed_loop_has_its_users_lengths_and_rounds():
    workload = row_document(row()).workload
    assert workload.arrivals.closed_loop == 16
    assert workload.requests == 16 * 5
    assert workload.lengths is not None
    assert workload.lengths.spread == (0.8, 1.0)


def test_experts_are_spread_over_all_ranks_once_there_is_expert_parallelism():
    pool = row_document(row(decode_ep="4")).deployment.pools["aggregated"]
    assert (pool.tp, pool.attention_dp, pool.ep) == (8, 1, 8)
    split = row_document(row()).deployment.pools["aggregated"]
    assert split.ep == 1


def test_redundant_experts_make_the_experts_divide():
    document = row_document(
        row(hardware="gb200_nvl72", decode_tp="1", decode_attention_dp="48", decode_ep="48")
    )
    assert document.deployment.pools["aggregated"].redundant_experts == 32
    assert document.hardware.racks == 1


def test_machines_are_as_many_as_the_pools_need():
    split = row(
        mode="disagg",
        prefill_workers="1",
        prefill_tp="8",
        prefill_ep="1",
        prefill_attention_dp="1",
        decode_workers="6",
    )
    document = row_document(split)
    assert document.hardware.nodes == 7
    assert document.deployment.pools["decode"].replicas == 6
    assert split.gpus("decode") == 48


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, None),
        ({"kv_dtype": "bf16"}, "bf16"),
        ({"weights_dtype": "nvfp4", "hardware": "gb200_nvl72"}, "fp8"),
        ({"weights_dtype": "mxfp4", "model": "gpt-oss-120b"}, "bf16"),
        ({"weights_dtype": "mxfp4", "model": "gpt-oss-120b", "hardware": "gb200_nvl72"}, None),
        ({"arrival": "batch"}, "bf16"),
    ],
)
def test_a_blank_cache_format_follows_the_rules(changed, expected):
    assert row_document(row(**changed)).model.kv_cache == expected


@pytest.mark.parametrize(("drafts", "expected"), [("", 3), ("1", 1)])
def test_speculation_without_a_number_drafts_three_tokens(drafts, expected):
    document = row_document(row(mtp="on", mtp_draft_tokens=drafts))
    assert document.deployment.pools["aggregated"].draft_tokens == expected


def test_a_saturated_decode_starts_in_its_stationary_state():
    document = row_document(
        row(mode="decode_only", arrival="saturated", batch_per_gpu="4", routing="eplb")
    )
    workload = document.workload
    assert workload.is_prefilled
    assert workload.lengths is not None
    assert workload.lengths.is_staggered
    assert workload.arrivals.closed_loop == 32
    assert document.experts.placement == "eplb"


def test_a_saturated_prefill_computes_full_steps():
    document = row_document(
        row(
            mode="prefill_only",
            prefill_workers="1",
            prefill_tp="1",
            prefill_ep="8",
            prefill_attention_dp="8",
            arrival="saturated",
            batch_per_gpu="16384",
            isl="4096",
            osl="0",
        )
    )
    # 5 steps of 8 x 16,384 tokens in prompts of 4,096
    assert document.workload.requests == 160
    assert document.deployment.pools["aggregated"].max_tokens_per_step == 16384
    assert document.workload.lengths is not None
    assert document.workload.lengths.output == 1


def test_a_row_resolves_to_a_scenario_that_fits():
    assert resolve_scenario(row_document(row()), name="one").n_gpus == 8


@pytest.mark.parametrize(
    ("changed", "rounds"),
    [({}, 5), ({"concurrency": "600"}, 3), ({"osl": "8192", "decode_workers": "2"}, 3)],
)
def test_large_loops_are_simulated_for_fewer_rounds(changed, rounds):
    assert loop_rounds(row(**changed)) == rounds


def test_an_unknown_engine_is_refused():
    with pytest.raises(ConfigError, match="engine: 'other'; expected one of"):
        row_document(row(engine="other"))


def test_an_unknown_arrival_is_refused():
    with pytest.raises(ConfigError, match="expected closed, batch"):
        row_document(row(arrival="bursty"))


def _written(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_file_is_read_in_its_order(tmp_path):
    path = _written(tmp_path / "points.csv", [CELLS, CELLS | {"id": "two"}])
    assert [one.id for one in read_serving_points(path)] == ["one", "two"]


def test_missing_columns_and_repeated_ids_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no column curve"):
        read_serving_points(
            _written(tmp_path / "a.csv", [{k: v for k, v in CELLS.items() if k != "curve"}])
        )
    with pytest.raises(ConfigError, match="id 'one': also in row 2"):
        read_serving_points(_written(tmp_path / "b.csv", [CELLS, CELLS]))


def test_disaggregated_decode_engines_have_the_slots_of_their_recipe():
    cells = {
        "mode": "disagg",
        "prefill_workers": "1",
        "prefill_tp": "8",
        "decode_workers": "4",
        "concurrency": "76",
    }
    pools = row_document(row(**cells)).deployment.pools
    assert pools["decode"].max_batch_per_rank == 16
    assert pools["prefill"].max_batch_per_rank is None
    others = row_document(row(**cells, engine="sglang")).deployment.pools
    assert others["decode"].max_batch_per_rank == 512


def test_points_of_a_curve_know_the_most_users_of_their_engines(tmp_path):
    file = tmp_path / "points.csv"
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(CELLS))
        writer.writeheader()
        for name, users in (("a", "44"), ("b", "76"), ("c", "256")):
            writer.writerow(CELLS | {"id": name, "concurrency": users})
        writer.writerow(CELLS | {"id": "d", "concurrency": "90", "decode_tp": "4"})
    rows = read_serving_points(file)
    assert [one.text("most_users") for one in rows] == ["76", "76", "76", "90"]


def test_sglang_keeps_an_fp8_cache_on_gpus_with_fp4_units():
    assert row_document(row(engine="sglang", hardware="hgx_b200")).model.kv_cache == "fp8"
    assert row_document(row(engine="sglang")).model.kv_cache is None
