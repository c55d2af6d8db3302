import json

import pytest
from surrogate_cases import one_answer, write_points

from rackmoe.backend.collectives import CollectiveBook
from rackmoe.backend.operator_files import FitReport
from rackmoe.schema.quantities import Kind
from rackmoe.study.calibration import kernels, network, serving
from rackmoe.study.validation.serving_answers import answer_folder


@pytest.fixture
def fitted(monkeypatch):
    """Replace the fits, which take minutes, by one kernel."""
    report = FitReport(
        file="gemm.csv", date="2026-01-01", n_rows=5, n_held_out=4, error_median=0.1, error_p90=0.2
    )
    fit = kernels.KernelFit(
        gpu="h200",
        operator="gemm",
        source="engine",
        kernel="k",
        dtype="bf16",
        constants=None,
        kind=Kind.FITTED,
        report=report,
    )
    asked = []

    def calibrate(folder, *, date):
        asked.append((folder, date))
        return (
            fit,
            kernels.KernelFit(
                gpu="h200",
                operator="gemm",
                source="e",
                kernel="k",
                dtype="fp8",
                constants=None,
                kind=Kind.ASSUMED,
            ),
        )

    monkeypatch.setattr(kernels, "calibrate_kernels", calibrate)
    return asked


def test_quality_of_the_fits_is_printed_and_nothing_written(run, fitted, tmp_path):
    ran = run("calibrate", "kernels", "--date", "2026-02-03", "--format", "json")
    assert ran.code == 0
    rows = json.loads(ran.out)
    assert [row["error_median"] for row in rows] == [0.1, None]
    assert rows[1]["kind"] == "assumed"
    ((folder, date),) = fitted
    assert folder.name == "kernels"
    assert date == "2026-02-03"
    assert list(tmp_path.iterdir()) == []


def test_files_are_written_where_asked(run, fitted, tmp_path, monkeypatch):
    written = []

    def write(fits, *, folder):
        written.append((len(fits), folder))
        return (folder / "h200.yaml",)

    monkeypatch.setattr(kernels, "write_operator_files", write)
    ran = run("calibrate", "kernels", "--tables", tmp_path, "-o", tmp_path / "new")
    assert "h200.yaml" in ran.err
    assert written == [(2, tmp_path / "new")]
    assert fitted[0][0] == tmp_path


def test_network_fits_are_printed_and_written_where_asked(run, tmp_path, monkeypatch):
    book = CollectiveBook(gpu="h200", exchanges=(), collectives=())
    monkeypatch.setattr(network, "fit_books", lambda: {"h200": book})
    asked = []
    monkeypatch.setattr(
        network,
        "calibrate_network",
        lambda output, *, date: asked.append((output, date)) or {"h200": output / "h200.yaml"},
    )
    assert run("calibrate", "network", "--format", "csv").code == 0
    assert asked == []
    ran = run("calibrate", "network", "-o", tmp_path, "--date", "2026-02-03")
    assert asked == [(tmp_path, "2026-02-03")]
    assert "h200.yaml" in ran.err


@pytest.fixture
def answered(monkeypatch):
    """Answer measured rows without simulating them; return where answers are kept."""
    folders = []

    def answer(rows, *, cache_folder, progress, **_):
        folders.append(cache_folder)
        progress(len(rows), len(rows))
        return {row.id: one_answer(row.count("concurrency")) for row in rows}

    monkeypatch.setattr(serving, "answer_rows", answer)
    return folders


def test_serving_fits_show_constants_and_errors_and_keep_their_answers(run, answered, tmp_path):
    points = write_points(tmp_path)
    ran = run("calibrate", "serving", "--points", points, "--cache", tmp_path / "kept")
    assert ran.code == 0
    assert "gap" in ran.out
    assert "Errors on curves left out" in ran.out
    assert "3 of 3 rows" in ran.err
    assert answered == [tmp_path / "kept"] * 2


@pytest.mark.parametrize(("form", "text"), [("md", "| all "), ("json", '"left_out_median"')])
def test_errors_of_serving_fits_are_printed_and_files_written(run, answered, tmp_path, form, text):
    points = write_points(tmp_path)
    options = ("--rounds", "1", "--format", form, "-o", tmp_path / "new")
    ran = run("calibrate", "serving", "--points", points, *options)
    assert text in ran.out
    assert "serving_accuracy.json" in ran.err
    assert (tmp_path / "new" / "sglang-2026h1.yaml").is_file()
    assert answered == [answer_folder()]
