import pytest

from rackmoe.backend.profile import load_backend
from rackmoe.hardware.profile import assumed_leaves, load_machine, load_profile
from rackmoe.model.config import load_model
from rackmoe.report.profiles import (
    links_frame,
    machine_data,
    model_data,
    sourced_frame,
    sourced_values,
    topology_data,
)

TOTALS = {
    "gpus",
    "switch_chips",
    "gpu_switch_links",
    "nvlink_bytes_per_s_both_directions",
    "min_cut_bytes_per_s_per_direction",
    "hbm_bytes",
    "dense_flop_per_s",
    "max_power_w",
}


def test_machine_adds_up_to_the_published_figures_of_its_links():
    totals = machine_data(load_profile("gb200_nvl72"))["totals"]
    assert set(totals) == TOTALS
    assert (totals["gpus"], totals["gpu_switch_links"]) == (72, 1296)
    assert totals["nvlink_bytes_per_s_both_directions"] == 129.6e12
    assert totals["min_cut_bytes_per_s_per_direction"] == 32.4e12
    assert totals["dense_flop_per_s"]["fp4"] == 720e15


def test_totals_grow_with_the_domains():
    totals = machine_data(load_profile("hgx_h200"), n_domains=2)["totals"]
    assert (totals["gpus"], totals["gpu_switch_links"]) == (16, 288)


def test_assumed_values_are_named_and_stand_out():
    profile = load_profile("hgx_h200")
    data = machine_data(profile)
    assert len(data["assumed"]) == len(assumed_leaves(profile))
    assert data["values"]["scale_up.arbitration"]["kind"] == "assumed"
    frame = sourced_frame(profile).set_index("value of")
    assert frame.loc["scale_up.arbitration", "kind"] == "ASSUMED"
    assert frame.loc["gpu.hbm_bandwidth_bytes_per_s"].tolist() == [
        *("4.8 TB/s", "datasheet", "ml-engineering")
    ]
    assert frame.loc["gpu.peak_flop_per_s.fp8", "value"] == "1.979 PFLOP/s"


def test_every_value_of_a_backend_has_a_source():
    values = sourced_values(load_backend("ideal"))
    assert values["host.gap_s"] == {"value": 0.0, "kind": "assumed", "source": "host"}


def test_model_has_exact_totals_beside_published_ones():
    totals = model_data(load_model("deepseek-r1"))["totals"]
    assert totals["kv_bytes_per_token"] == 70272
    assert totals["total_parameters"] == pytest.approx(671e9, rel=1e-3)
    assert totals["published_total_parameters"] == 671e9
    assert set(totals["weight_bytes"]) == {"bf16", "fp8_block"}


def test_links_are_counted_by_kind_and_ends():
    frame = links_frame(load_machine("hgx_h200")).set_index(["kind", "ends"])
    assert frame.loc[("scale_up", "gpu-nvswitch")].tolist() == [144, 3.6e12]
    assert frame.loc[("nic", "gpu-nic"), "n_links"] == 8


def test_topology_has_18_disjoint_paths_between_gpus_of_a_rack():
    data = topology_data(load_machine("gb200_nvl72"))
    assert data["edge_disjoint_paths"] == 18
    assert sum(node["kind"] == "nvswitch" for node in data["nodes"]) == 18
    assert sum(link["kind"] == "scale_up" for link in data["links"]) == 1296


def test_topology_says_parts_ways_and_cuts():
    data = topology_data(load_machine("hgx_h200"))
    assert [part["part"] for part in data["parts"]][:2] == ["gpu", "nvswitch"]
    assert data["paths"][0]["links_side_by_side"] == 18
    assert data["cuts"][0]["min_cut_bytes_per_s_per_direction"] == 4 * 450e9
