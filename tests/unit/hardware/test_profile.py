"""Whether the shipped profiles say what the sheets say, one direction and dense."""

import json

import pytest

from rackmoe.errors import ConfigError
from rackmoe.hardware.profile import (
    assumed_leaves,
    build_machine,
    load_machine,
    load_profile,
    machine_totals,
    profile_names,
)
from rackmoe.schema.shipped import shipped_path

PF = 1e15

# dense PFLOP/s (bf16, fp8, fp4), port GB/s, HBM TB/s and visible GB, limit W: HARDWARE sheet
SHEET = {
    "gb200_nvl72": (2.5, 5.0, 10.0, 900, 8.0, 198.7, 1200),
    "gb300_nvl72": (2.5, 5.0, 15.0, 900, 8.0, 298.0, 1400),
    "hgx_b200": (2.25, 4.5, 9.0, 900, 8.0, 192.3, 1000),
    "hgx_b300": (2.25, 4.5, 13.5, 900, 7.75, 288.4, 1100),
    "hgx_h100": (0.989, 1.979, None, 450, 3.35, 85.5, 700),
    "hgx_h200": (0.989, 1.979, None, 450, 4.8, 150.8, 700),
    "hgx_h800": (0.989, 1.979, None, 200, 3.35, 85.5, 700),
    "vera_rubin_nvl72": (4.0, 17.5, 35.0, 1800, 22.0, 288.0, 1800),
}


def test_eight_profiles_are_shipped():
    assert profile_names() == tuple(sorted(SHEET))


@pytest.mark.parametrize("name", sorted(SHEET))
def test_a_profile_holds_the_sheet(name):
    machine = load_machine(name)
    bf16, fp8, fp4, port, hbm, capacity, limit = SHEET[name]
    gpu = machine.gpu
    assert machine.name == name
    assert gpu.peak_flop_per_s["bf16"] == pytest.approx(bf16 * PF, rel=1e-12)
    assert gpu.peak_flop_per_s["fp8"] == pytest.approx(fp8 * PF, rel=1e-12)
    if fp4 is None:
        assert "fp4" not in gpu.peak_flop_per_s
    else:
        assert gpu.peak_flop_per_s["fp4"] == pytest.approx(fp4 * PF, rel=1e-12)
    assert machine.scale_up.gpu_bandwidth_bytes_per_s == pytest.approx(port * 1e9, rel=1e-12)
    assert gpu.hbm_bandwidth_bytes_per_s == pytest.approx(hbm * 1e12, rel=1e-12)
    assert gpu.hbm_bytes == pytest.approx(capacity * 1e9, rel=1e-3)
    assert gpu.max_power_w == pytest.approx(limit, rel=1e-12)


def test_only_rubin_is_announced():
    announced = [name for name in profile_names() if load_machine(name).status == "announced"]
    assert announced == ["vera_rubin_nvl72"]


def test_gb200_has_the_multiprocessors_that_cuda_reports():
    # 148 is the HGX bin; the kernel tables of GB200 were fitted with 152
    assert load_machine("gb200_nvl72").gpu.n_sms == 152
    assert load_machine("hgx_b200").gpu.n_sms == 148
    assert load_machine("hgx_h200").gpu.n_sms == 132


def test_totals_of_a_gb200_rack():
    totals = machine_totals(load_machine("gb200_nvl72"))
    assert list(totals) == [
        "gpus",
        "switch_chips",
        "gpu_switch_links",
        "nvlink_bytes_per_s_both_directions",
        "min_cut_bytes_per_s_per_direction",
        "hbm_bytes",
        "dense_flop_per_s",
        "max_power_w",
    ]
    assert (totals["gpus"], totals["switch_chips"], totals["gpu_switch_links"]) == (72, 18, 1296)
    assert totals["nvlink_bytes_per_s_both_directions"] == pytest.approx(129.6e12, rel=1e-12)
    assert totals["min_cut_bytes_per_s_per_direction"] == pytest.approx(32.4e12, rel=1e-12)
    assert totals["hbm_bytes"] == pytest.approx(14.3e12, rel=1e-3)
    assert totals["dense_flop_per_s"] == pytest.approx(
        {"bf16": 180 * PF, "fp8": 360 * PF, "fp4": 720 * PF, "int8": 360 * PF}, rel=1e-12
    )
    assert totals["max_power_w"] == pytest.approx(132e3, rel=1e-12)
    assert json.loads(json.dumps(totals)) == totals


def test_totals_of_an_hgx_node_and_of_nine():
    machine = load_machine("hgx_h200")
    one, nine = machine_totals(machine), machine_totals(machine, n_domains=9)
    assert (one["gpus"], one["switch_chips"], one["gpu_switch_links"]) == (8, 4, 144)
    assert one["nvlink_bytes_per_s_both_directions"] == pytest.approx(7.2e12, rel=1e-12)
    assert one["min_cut_bytes_per_s_per_direction"] == pytest.approx(1.8e12, rel=1e-12)
    assert one["dense_flop_per_s"]["fp8"] == pytest.approx(15.832 * PF, rel=1e-12)
    assert (nine["gpus"], nine["gpu_switch_links"]) == (72, 1296)
    assert nine["hbm_bytes"] == pytest.approx(9 * one["hbm_bytes"], rel=1e-12)
    # between nodes the NICs of the smaller side limit: 4 nodes x 8 x 50 GB/s
    assert nine["min_cut_bytes_per_s_per_direction"] == pytest.approx(1.6e12, rel=1e-12)


def test_totals_of_two_racks_are_cut_at_their_nics():
    totals = machine_totals(load_machine("gb200_nvl72"), n_domains=2)
    assert totals["min_cut_bytes_per_s_per_direction"] == pytest.approx(72 * 50e9, rel=1e-12)


def test_an_override_reaches_the_machine_and_counts_as_assumed():
    overrides = {"gpu.hbm_bandwidth": "4 TB/s"}
    machine = load_machine("gb200_nvl72", overrides=overrides)
    assert machine.gpu.hbm_bandwidth_bytes_per_s == pytest.approx(4e12, rel=1e-12)
    document = load_profile("gb200_nvl72", overrides=overrides)
    assert "gpu.hbm_bandwidth" in assumed_leaves(document)


def test_an_override_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'hbm_bandwidth'"):
        load_machine("gb200_nvl72", overrides={"gpu.hbm_bandwith": "4 TB/s"})


def test_a_wrong_override_says_where_it_comes_from():
    with pytest.raises(ConfigError, match=r"^mine: hardware.overrides: gpu.hbm_bandwith"):
        load_machine(
            "gb200_nvl72",
            overrides={"gpu.hbm_bandwith": "4 TB/s"},
            place="mine: hardware.overrides",
        )


def test_every_problem_of_a_profile_is_reported_at_once(tmp_path):
    text = shipped_path("hardware_profiles", name="hgx_h200").read_text(encoding="utf-8")
    path = tmp_path / "hgx_h200.yaml"
    path.write_text(text + "titel: x\nname: hgx_h200\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_machine(str(path))
    assert len(caught.value.problems) == 2


def test_assumed_values_are_listed_with_their_source():
    assumed = assumed_leaves(load_profile("gb200_nvl72"))
    assert assumed["scale_up.arbitration"] == "arbitration"
    assert assumed["power.gpu.tensor_power.fp4"] == "power-transfer"
    assert "gpu.n_sms" not in assumed


def test_a_profile_without_capex_has_none():
    assert load_machine("hgx_h200").prices.capex_usd is None
    assert load_machine("gb200_nvl72").prices.capex_usd == pytest.approx(3.4e6, rel=1e-12)


def test_building_a_machine_drops_kinds_and_sources():
    machine = build_machine(load_profile("hgx_h100"))
    assert machine.reliability.gpu_mtbf_s == pytest.approx(143467 * 3600, rel=1e-12)
    assert machine.prices.owning_usd_per_h == pytest.approx(1.17, rel=1e-12)


def test_a_name_other_than_the_file_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(shipped_path("hardware_profiles", name="hgx_h200").read_text(encoding="utf-8"))
    with pytest.raises(
        ConfigError, match="name: 'hgx_h200'; expected the stem of the file, 'mine'"
    ):
        load_machine(str(path))


def test_an_unknown_profile_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'hgx_h200'"):
        load_machine("hgx_h20")
