import csv
import io
import json

import pytest

from rackmoe.schema.shipped import shipped_folder


@pytest.fixture(scope="session")
def gemm_rows():
    path = shipped_folder("scenarios/calibration/kernels") / "gemm_h200.csv"
    return path.read_text(encoding="utf-8").splitlines()[:21]


@pytest.fixture
def table(gemm_rows, tmp_path):
    path = tmp_path / "gemm_h200.csv"
    path.write_text("\n".join(gemm_rows) + "\n")
    return path


def test_kernels_are_compared_row_by_row_in_json(run, table):
    data = json.loads(
        run("validate", "kernels", table, "--hardware", "hgx_h200", "--format", "json").out
    )
    assert [point["row"] for point in data["points"]] == list(range(1, 21))
    point = data["points"][0]
    assert {"answered", "measured", "predicted", "reason"} <= set(point)
    assert point["measured"] == point["measured_us"]
    assert data["strata"]


def test_kernels_are_compared_by_strata_for_people(run, table):
    ran = run("validate", "kernels", table, "--hardware", "hgx_h200")
    assert ran.code == 0
    assert ran.out.startswith("gemm_h200.csv on h200\n")
    assert "error median" in ran.out
    assert (
        "| error median |"
        in run("validate", "kernels", table, "--hardware", "hgx_h200", "--format", "md").out
    )


def test_points_are_csv_on_demand(run, table):
    ran = run("validate", "kernels", table, "--hardware", "hgx_h200", "--format", "csv")
    assert len(list(csv.DictReader(io.StringIO(ran.out)))) == 20


def test_rows_left_out_are_printed_with_their_reason(run):
    path = shipped_folder("scenarios/calibration/kernels") / "moe_gb200_dsv3.csv"
    ran = run("validate", "kernels", path, "--hardware", "gb200_nvl72")
    assert "Rows left out of the strata" in ran.out
    assert "balanced row with several ranks" in ran.out


def test_network_points_without_an_answer_say_why(run):
    path = shipped_folder("scenarios/calibration") / "communication_points.csv"
    ran = run("validate", "network", path, "--format", "json")
    data = json.loads(ran.out)
    unanswered = [point for point in data["points"] if not point["answered"]]
    assert len(ran.err.splitlines()) == len(unanswered)
    assert all(point["reason"] for point in unanswered)


def test_file_of_another_layout_is_refused(run, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    assert run("validate", "kernels", path, "--hardware", "hgx_h200").code == 2
    assert run("validate", "network", path).code == 2
    assert run("validate", "kernels", tmp_path / "none.csv", "--hardware", "hgx_h200").code == 2


def test_reports_of_laws_are_pages_with_a_figure(run, table):
    page = run("validate", "kernels", table, "--hardware", "hgx_h200", "--format", "html").out
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<svg") == 1
    assert "Rows without an answer" in page


def test_power_is_compared_with_what_profiles_say(run):
    path = shipped_folder("scenarios/calibration") / "power_points.csv"
    ran = run("validate", "power", path, "--only", "tgp-*", "--jobs", "1", "--format", "json")
    data = json.loads(ran.out)
    assert {point["role"] for point in data["points"]} == {"input"}
    assert {point["predicted"] for point in data["points"]} == {700.0, 1200.0, 1400.0}
    assert ran.code == 0
    odd = run("validate", "power", path, "--only", "ixp-b200-qwen35-c2", "--jobs", "1")
    assert odd.code == 1
    assert "not answered: ixp-b200-qwen35-c2" in odd.err
    assert "Rows without an answer" in odd.out
