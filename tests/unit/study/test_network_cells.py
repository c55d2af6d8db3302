"""What the cells of tables of communication times say."""

import pytest

from rackmoe.backend.collectives import Family
from rackmoe.errors import ConfigError
from rackmoe.study.network_cells import (
    family_of_kernel,
    positive_number,
    whole_number,
    wire_format,
)


@pytest.mark.parametrize(("text", "expected"), [("128", 128), ("128.0", 128), (" 8 ", 8)])
def test_counts_are_whole_numbers(text, expected):
    assert whole_number({"ep": text}, column="ep") == expected


@pytest.mark.parametrize("text", ["", "abc", "8.5", "0", "-4", "nan", "inf"])
def test_other_counts_are_refused_with_their_column(text):
    with pytest.raises(ConfigError, match=f"ep: '{text}'; expected a whole number of at least 1"):
        whole_number({"ep": text}, column="ep")


def test_count_may_be_nothing_where_that_makes_sense():
    assert whole_number({"sms": "0"}, column="sms", least=0) == 0


def test_sizes_are_positive_and_finite():
    assert positive_number({"bytes": "1e6"}, column="bytes") == 1e6
    for text in ("", "0", "-1", "inf", "nan", "many"):
        with pytest.raises(ConfigError, match="expected a positive number"):
            positive_number({"bytes": text}, column="bytes")


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("bfloat16", "bf16"), ("FP16", "bf16"), ("fp8", "fp8_block"), ("fp4", "nvfp4")],
)
def test_formats_have_several_names(dtype, expected):
    assert wire_format(dtype) == expected


def test_unknown_format_is_refused():
    with pytest.raises(ConfigError, match="dtype: 'int3'; expected one of bfloat16"):
        wire_format("int3")


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("NVLinkOneSided", Family.NVLINK_ONE_SIDED),
        ("nvlink_two-sided", Family.NVLINK_TWO_SIDED),
        ("trtllm_deepep_ll", Family.DEEPEP_LOW_LATENCY),
        ("DeepEPLowLatency", Family.DEEPEP_LOW_LATENCY),
        ("deepep_normal(H100 node)", Family.DEEPEP_NORMAL),
        ("trtllm_deepep_ht", Family.DEEPEP_NORMAL),
        ("AllGatherReduceScatter", Family.ALLGATHER_REDUCESCATTER),
        ("nccl_alltoall", Family.NCCL_ALLTOALL),
    ],
)
def test_name_of_a_kernel_says_how_it_moves_tokens(kernel, expected):
    assert family_of_kernel(kernel) is expected


def test_name_that_says_nothing_is_refused():
    with pytest.raises(ConfigError, match="kernel: 'magic'; expected NVLinkOneSided"):
        family_of_kernel("magic")
