import pytest

from rackmoe.backend.operator_files import (
    OPERATORS,
    OperatorFile,
    best_row,
    load_operator_file,
    operator_constants,
    operator_rows,
)
from rackmoe.errors import ConfigError
from rackmoe.schema.documents import parse_document
from rackmoe.schema.quantities import Kind

ROW = """
    - {source: %s, kernel: %s, dtype: %s, kind: fitted,
     constants: {launch: 30 us, flop_efficiency: 0.4, hbm_efficiency: 0.8, sharpness: 1.5,
                 token_efficiency: 0.5, expert_scan: 50 ns, tile_rows: 64}}
"""
HEAD = """
schema: rackmoe/operators/1
name: round
origin: by hand
operators:
  grouped_gemm:
"""


@pytest.fixture
def hand_written(tmp_path):
    path = tmp_path / "round.yaml"
    rows = [("trtllm-1", "cutlass", "nvfp4"), ("sglang-1", "triton", "fp8_block")]
    path.write_text(HEAD + "".join(ROW % one for one in rows), encoding="utf-8")
    return str(path)


def test_constants_are_read_in_their_units(hand_written):
    constants = load_operator_file(hand_written).operators.grouped_gemm[0].constants
    assert constants.launch_s == pytest.approx(30e-6, rel=1e-12)
    assert constants.expert_scan_s == pytest.approx(50e-9, rel=1e-12)
    assert constants.tile_rows == 64


def test_misspelt_constant_is_refused_at_its_place():
    text = HEAD + (ROW % ("a", "b", "bf16")).replace("token_efficiency", "token_eficiency")
    with pytest.raises(ConfigError, match=r"round.yaml:\d+:\d+: .*token_eficiency"):
        parse_document(text, model=OperatorFile, place="round.yaml")


def test_constant_without_unit_is_refused():
    text = HEAD + (ROW % ("a", "b", "bf16")).replace("30 us", "30")
    with pytest.raises(ConfigError, match="launch"):
        parse_document(text, model=OperatorFile, place="round.yaml")


def test_engine_comes_before_format_neighbors_and_kernel(hand_written):
    rows = [row for row in operator_rows(hand_written) if row.operator == "grouped_gemm"]
    own = best_row(rows, dtype="fp8_block", source="trtllm", kernel="cutlass")
    assert own is not None
    assert own.fit.source == "sglang-1"  # the only row of the format
    near = best_row(rows, dtype="fp8", source="trtllm")
    assert near is not None
    assert near.fit.dtype == "fp8_block"
    assert best_row(rows, dtype="bf16", source="trtllm") is None
    assert best_row(rows, dtype="fp6", source="trtllm") is None


def test_preferred_kernel_is_taken_among_rows_of_one_engine():
    fast = operator_constants("gb200", kernels={"nvfp4": "tf_min_latency"})
    usual = operator_constants("gb200", kernels={"nvfp4": "tf_cutlass"})
    assert fast.grouped_gemm["nvfp4"] != usual.grouped_gemm["nvfp4"]
    assert operator_constants("gb200").grouped_gemm["nvfp4"] == usual.grouped_gemm["nvfp4"]


def test_kernels_of_one_mode_are_taken_by_name_only():
    usual = operator_constants("h200", source="sglang").grouped_gemm["fp8_block"]
    named = {"fp8_block": "wide_ep_context"}
    context = operator_constants("h200", source="sglang", kernels=named).grouped_gemm["fp8_block"]
    assert usual.launch_s < 1e-4 < context.launch_s


def test_only_rows_of_this_gpu_and_engine_count_as_fitted():
    measured = operator_constants("gb200", source="trtllm").kinds
    assert measured["gemm.nvfp4"] is Kind.FITTED
    assert measured["gqa_decode.bf16"] is Kind.ASSUMED  # measured on B200, by another engine
    assert set(operator_constants("gb300").kinds.values()) == {Kind.ASSUMED}
    assert operator_constants("gb200", source="sglang").kinds["gemm.nvfp4"] is Kind.ASSUMED


def test_gpu_without_tables_takes_the_same_efficiencies():
    assert operator_constants("h100").gemm == operator_constants("h200").gemm
    assert operator_constants("rubin").mla_decode == operator_constants("gb200").mla_decode


@pytest.mark.parametrize(
    "gpu", ["b200", "b300", "gb200", "gb300", "h100", "h200", "h800", "rubin"]
)
def test_shipped_files_serve_every_operator(gpu):
    constants = operator_constants(gpu)
    for operator, formats in OPERATORS.items():
        assert set(getattr(constants, operator)) == set(formats), operator


def test_file_without_elementwise_row_is_refused(hand_written):
    with pytest.raises(ConfigError, match="no elementwise row"):
        operator_constants(hand_written)


def test_unknown_gpu_is_refused():
    with pytest.raises(ConfigError, match="gb20: "):
        operator_constants("gb20")


def test_an_operator_may_come_from_another_source():
    own = operator_constants("h200", source="sglang-0.5.14")
    other = operator_constants(
        "h200", source="sglang-0.5.14", other_sources={"mla_prefill": "trtllm-1.3.0rc20"}
    )
    wanted = operator_constants("h200", source="trtllm-1.3.0rc20")
    assert other.mla_prefill == wanted.mla_prefill
    assert other.mla_prefill != own.mla_prefill
    assert other.mla_decode == own.mla_decode
    assert other.kinds["mla_prefill.bf16"] == Kind.FITTED
