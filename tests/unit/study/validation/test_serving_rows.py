import pytest

from rackmoe.errors import ConfigError
from rackmoe.study.validation.serving_rows import (
    ServingRow,
    loop_rounds,
    read_serving_points,
    row_document,
)

HEADER = "id,curve,trust,hardware,model,engine,mode,isl,osl,arrival\n"


def row_of(**cells):
    return ServingRow(cells={"id": "a", "curve": "c", **cells})


def decode_row(**cells):
    known = {
        "hardware": "hgx_h200",
        "model": "deepseek-r1",
        "engine": "sglang",
        "mode": "agg",
        "isl": "1000.0",
        "osl": "200.0",
        "arrival": "closed",
        "concurrency": "64",
        "decode_workers": "1",
        "decode_tp": "1",
        "decode_attention_dp": "16",
        "decode_ep": "16",
    }
    return row_of(**(known | cells))


def test_gpus_are_workers_times_ranks_of_one():
    row = row_of(decode_workers="3", decode_tp="2", decode_attention_dp="4")
    assert row.gpus("decode") == 24
    assert row.gpus("prefill") == 0


def test_blank_and_infinite_counts_take_the_default():
    row = row_of(isl="", rate_per_s="inf", osl="12.0")
    assert [row.count(name, default=7) for name in ("isl", "rate_per_s", "osl")] == [7, 7, 12]


def test_long_loops_run_for_fewer_rounds():
    assert loop_rounds(row_of(concurrency="100", osl="100")) == 10
    assert loop_rounds(row_of(concurrency="600", osl="100")) == 5  # 3000 requests
    assert loop_rounds(row_of(concurrency="1", osl="10000")) == 4  # 40000 tokens in a row
    assert loop_rounds(row_of(concurrency="5000", osl="1")) == 3


def test_a_row_becomes_a_scenario_with_its_ranks_and_users():
    document = row_document(decode_row())
    pool = document.deployment.pools["aggregated"]
    assert (pool.tp, pool.attention_dp, pool.ep) == (1, 16, 16)
    assert document.hardware.nodes == 2
    assert document.backend == "sglang-2026h1"


def test_unknown_engines_and_arrivals_are_refused():
    with pytest.raises(ConfigError, match="engine: 'tgi'"):
        row_document(decode_row(engine="tgi"))
    with pytest.raises(ConfigError, match="arrival: 'sometimes'"):
        row_document(decode_row(arrival="sometimes"))


def test_files_without_columns_or_with_an_id_twice_are_refused(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text(HEADER.replace(",osl", ""), encoding="utf-8")
    with pytest.raises(ConfigError, match="no column osl"):
        read_serving_points(path)
    path.write_text(HEADER + 2 * "a,c,A,h,m,e,agg,1,1,closed\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="id a: occurs twice"):
        read_serving_points(path)
