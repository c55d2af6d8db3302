import shutil

import pytest

from rackmoe.backend.operator_files import load_operator_file
from rackmoe.errors import ConfigError
from rackmoe.schema.quantities import Kind
from rackmoe.schema.shipped import shipped_folder
from rackmoe.study.calibration.kernels import calibrate_kernels, write_operator_files

TABLES = "scenarios/calibration/kernels"


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    for name in ("gemm_h200.csv", "mla_kernel_h200.csv", "mla_module_h200.csv", "collectives.csv"):
        shutil.copy(shipped_folder(TABLES) / name, folder / name)
    return calibrate_kernels(folder, date="2026-11-21")


def test_every_kernel_and_format_of_the_tables_is_fitted(fits):
    found = {(fit.operator, fit.source, fit.dtype) for fit in fits}
    engine = "trtllm-1.3.0rc20"
    assert {("gemm", engine, dtype) for dtype in ("bf16", "fp8", "fp8_block")} <= found
    assert {("decode_module", engine, dtype) for dtype in ("bf16", "fp8_block")} <= found
    assert ("mla_decode", "sglang-0.5.14", "fp8") in found
    assert {fit.gpu for fit in fits} == {"h200"}


def test_reports_tell_rows_and_errors_of_the_other_half(fits):
    fit = next(fit for fit in fits if fit.operator == "gemm" and fit.dtype == "fp8_block")
    assert fit.kind is Kind.FITTED
    assert fit.report.n_rows + fit.report.n_held_out == 1200
    assert 0 < fit.report.error_median < 0.08
    assert fit.report.file == "gemm_h200.csv"
    assert fit.report.date == "2026-11-21"


def test_elementwise_constants_are_assumed_from_bf16_products(fits):
    fit = next(fit for fit in fits if fit.operator == "elementwise")
    product = next(fit for fit in fits if fit.operator == "gemm" and fit.dtype == "bf16")
    assert fit.kind is Kind.ASSUMED
    assert fit.constants.launch_s == product.constants.launch_s


def test_written_files_read_back_as_the_same_constants(fits, tmp_path):
    paths = write_operator_files(fits, folder=tmp_path)
    assert [path.stem for path in paths] == sorted(path.stem for path in paths)
    file = load_operator_file(str(tmp_path / "h200.yaml"))
    written = {fit.dtype: fit.constants for fit in fits if fit.operator == "gemm"}
    read = {row.dtype: row.constants for row in file.operators.gemm}
    assert read.keys() == written.keys()
    for dtype, constants in read.items():
        assert constants.launch_s == pytest.approx(written[dtype].launch_s, rel=1e-12)
        assert constants.k_step_s == pytest.approx(written[dtype].k_step_s, rel=1e-12)
    assert load_operator_file(str(tmp_path / "h100.yaml")).inherits == ["h200", "b200"]


def test_shipped_constants_are_those_of_the_shipped_tables(fits):
    shipped = {row.dtype: row.constants for row in load_operator_file("h200").operators.gemm}
    for fit in fits:
        if fit.operator == "gemm":
            assert fit.constants.launch_s == pytest.approx(shipped[fit.dtype].launch_s, rel=0.01)
            assert fit.constants.hbm_efficiency == pytest.approx(
                shipped[fit.dtype].hbm_efficiency, rel=0.01
            )


def test_folder_without_kernel_tables_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no kernel tables; expected files such as"):
        calibrate_kernels(tmp_path, date="2026-11-21")


def test_marlin_in_mxfp4_is_assumed_from_marlin_in_int4(tmp_path):
    shutil.copy(shipped_folder(TABLES) / "moe_h200_k2.csv", tmp_path / "moe_h200_k2.csv")
    shutil.copy(shipped_folder(TABLES) / "gemm_h200.csv", tmp_path / "gemm_h200.csv")
    by_kernel = {fit.kernel: fit for fit in calibrate_kernels(tmp_path, date="2026-11-21")}
    measured = by_kernel["compressedtensorswna16marlin"]
    assumed = by_kernel["gptossmxfp4moe_marlin"]
    assert assumed.constants == measured.constants
    assert (assumed.dtype, assumed.kind, assumed.report) == ("w4a16_mxfp4", Kind.ASSUMED, None)


def test_shipped_marlin_rows_agree():
    rows = {row.kernel: row for row in load_operator_file("h200").operators.grouped_gemm}
    measured = rows["compressedtensorswna16marlin"]
    assert rows["gptossmxfp4moe_marlin"].constants == measured.constants
