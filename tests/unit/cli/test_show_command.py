import json

import pytest


def test_machine_is_shown_with_totals_and_assumed_values(run):
    ran = run("show", "hgx_h200")
    assert ran.code == 0
    assert "gpu_switch_links                    144" in ran.out
    assert "ASSUMED" in ran.out


def test_machine_is_json_with_totals_at_the_top(run):
    data = json.loads(run("show", "gb200_nvl72", "--format", "json").out)
    assert data["totals"]["nvlink_bytes_per_s_both_directions"] == 129.6e12
    assert data["totals"]["dense_flop_per_s"]["fp4"] == 720e15


def test_model_is_json_with_totals_at_the_top(run):
    totals = json.loads(run("show", "mixtral-8x7b", "--format", "json").out)["totals"]
    assert totals["kv_bytes_per_token"] == 131072
    assert {"total_parameters", "active_parameters", "weight_bytes"} <= set(totals)


def test_links_of_several_domains_are_shown(run):
    ran = run("show", "hgx_h200", "--domains", "2", "--topology")
    assert any(
        line.split()[:3] == ["scale_up", "gpu-nvswitch", "288"] for line in ran.out.splitlines()
    )
    data = json.loads(run("show", "hgx_h200", "--topology", "--format", "json").out)
    assert data["topology"]["edge_disjoint_paths"] == 18


@pytest.mark.parametrize("form", ["table", "csv", "md"])
@pytest.mark.parametrize("name", ["deepseek-r1", "ideal", "tiny_moe_trace", "azure_code_2023"])
def test_every_kind_of_thing_can_be_shown_in_every_format(name, form, run):
    ran = run("show", name, "--format", form)
    assert ran.code == 0
    assert ran.out.strip()


def test_scenario_of_the_user_is_shown_with_its_variants(run, scenario_file):
    path = scenario_file(extra="variants: {h100: {hardware.profile: hgx_h100}}\n")
    data = json.loads(run("show", path, "--format", "json").out)
    assert (data["kind"], data["name"]) == ("scenario", "tiny")
    assert data["variants"]["h100"]["hardware"]["profile"] == "hgx_h100"


def test_topology_of_a_model_is_refused(run):
    ran = run("show", "deepseek-r1", "--topology")
    assert ran.code == 2
    assert "deepseek-r1: a model; expected a machine" in ran.err


def test_topology_is_told_by_parts_links_ways_and_cuts(run):
    out = run("show", "gb200_nvl72", "--topology").out
    for title in ("Parts", "Links, added up", "Ways from GPU 0", "Cuts"):
        assert f"\n{title}\n" in out
    assert "gpu0 - nvswitch0 - gpu1" in out
    assert "32.4 TB/s" in out


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_topology_is_drawn_where_asked(run, tmp_path, ending):
    path = tmp_path / f"links.{ending}"
    ran = run("show", "hgx_h200", "--topology", "-o", path)
    assert ran.code == 0
    assert str(path) in ran.err
    assert path.stat().st_size > 1000


def test_drawing_of_a_model_is_refused(run, tmp_path):
    ran = run("show", "deepseek-r1", "-o", tmp_path / "model.svg")
    assert ran.code == 2
    assert "expected a machine for --topology, --domains and --output" in ran.err
