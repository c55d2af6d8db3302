"""Which communication each row of a table of measurements timed."""

import math

import pytest

from rackmoe.backend.collectives import Family
from rackmoe.errors import ConfigError
from rackmoe.study.network_cases import CollectiveCase, ExchangeCase
from rackmoe.study.network_tables import SLOW_CLUSTER_KERNEL, read_measurements

ALLTOALL = "source,kernel,op,dtype,ep,nodes,hidden,topk,experts,sms,tokens_per_rank,latency_us"
POINTS = (
    "id,hardware,n_gpus,fabric,library,operation,payload,tokens_per_gpu,message_bytes,"
    "latency_us,bandwidth_gb_per_s,load_unit,metric,notes"
)


@pytest.fixture
def table(tmp_path):
    def write(header, *rows, name="alltoall_h200.csv"):
        path = tmp_path / name
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return path

    return write


def point(table, **values):
    fields = dict.fromkeys(POINTS.split(","), "")
    fields |= {"id": "p1", "hardware": "hgx_h200", "n_gpus": "16"} | values
    return read_measurements(table(POINTS, ",".join(fields.values()), name="points.csv"))[0]


def test_row_of_a_kernel_table_is_an_exchange(table):
    path = table(ALLTOALL, "lib-1,deepep_ll,dispatch,fp8,16,2,7168,8,288,0,64,58.1")
    (row,) = read_measurements(path)
    assert (row.row, row.hardware, row.unit) == ("1", "hgx_h200", "s")
    assert row.measured == pytest.approx(58.1e-6)
    assert row.case.family is Family.DEEPEP_LOW_LATENCY
    assert row.case.payload_dtype == "fp8_block"
    assert (row.case.n_ranks, row.case.tokens, row.case.n_experts) == (16, 64, 288)
    assert row.case.n_sms is None


@pytest.mark.parametrize(
    ("kernel", "operation", "dtype", "expected"),
    [
        ("NVLinkTwoSided", "combine", "nvfp4", "bf16"),
        ("NVLinkTwoSided", "combine_low_precision", "nvfp4", "nvfp4"),
        ("NVLinkTwoSided", "dispatch", "nvfp4", "nvfp4"),
        ("trtllm_deepep_ll", "combine", "fp8", "bf16"),
        ("trtllm_deepep_ll", "combine", "fp4", "nvfp4"),
        ("deepep_ht", "dispatch", "default", "bf16"),
    ],
)
def test_combines_send_bf16_unless_they_are_low_precision(
    table, kernel, operation, dtype, expected
):
    path = table(ALLTOALL, f"lib,{kernel},{operation},{dtype},8,1,7168,8,256,0,64,58.1")
    assert read_measurements(path)[0].case.payload_dtype == expected


def test_profile_is_the_given_one_or_that_of_the_file_name(table):
    row = "lib,deepep_ll,dispatch,fp8,8,1,7168,8,256,0,64,58.1"
    assert read_measurements(table(ALLTOALL, row))[0].hardware == "hgx_h200"
    unnamed = table(ALLTOALL, row, name="mine.csv")
    assert read_measurements(unnamed)[0].hardware == ""
    assert read_measurements(unnamed, hardware="gb200_nvl72")[0].hardware == "gb200_nvl72"


def test_rows_of_another_node_name_their_own_machine(table):
    path = table(ALLTOALL, "lib,deepep_normal(H100 node),combine,bfloat16,8,1,7168,8,256,20,1,9")
    assert read_measurements(path)[0].hardware == "hgx_h100"


def test_rows_of_the_slow_cluster_are_kept_apart(table):
    rows = [
        f"sglang-0.5.6.post2,deepep_normal,combine,bfloat16,{ep},{n},7168,8,256,20,1,9"
        for ep, n in ((16, 2), (64, 8))
    ]
    kernels = [row.case.key.kernel for row in read_measurements(table(ALLTOALL, *rows))]
    assert kernels == ["deepep_normal", SLOW_CLUSTER_KERNEL]


def test_row_of_a_collective_table_names_its_system(table):
    path = table(
        "system,lib,op,gpus,bytes,latency_us",
        "gb200,nccl-2.29.2,alltoall,4,1048576,17.8",
        name="collectives.csv",
    )
    (row,) = read_measurements(path)
    assert row.hardware == "gb200_nvl72"
    assert row.case == CollectiveCase(key=row.case.key, n_ranks=4, n_bytes=1048576.0)
    assert row.case.key.operation == "all_to_all"


def test_published_dispatch_is_read_from_its_words(table):
    row = point(
        table,
        library="DeepEP low-latency (SGLang 0.5.12)",
        operation="combine",
        payload="FP8 dispatch / BF16 combine",
        tokens_per_gpu="128.0",
        latency_us="40",
        load_unit='"tokens per GPU, hidden 4096, top-6, 384 experts"',
        metric="combine latency",
    )
    case = row.case
    assert isinstance(case, ExchangeCase)
    assert (case.key.library, case.key.kernel) == ("sglang-0.5.12", "deepep_ll")
    assert (case.hidden, case.top_k, case.n_experts) == (4096, 6, 384)
    assert case.payload_dtype == "bf16"


def test_cloud_adapters_replace_the_nic(table):
    row = point(
        table,
        fabric="HGX H200 + 2x200G EFA",
        library="UCCL-EP low latency",
        operation="dispatch",
        tokens_per_gpu="128",
        latency_us="386",
    )
    assert row.case.nic_bandwidth_bytes_per_s == pytest.approx(50e9)


def test_bandwidth_of_a_published_row_is_kept_as_bandwidth(table):
    row = point(
        table,
        fabric="SM100 NVLink only",
        library="DeepEP V2 (NCCL GIN)",
        operation="dispatch",
        tokens_per_gpu="8192",
        bandwidth_gb_per_s="726",
        metric="dispatch bottleneck bandwidth (logical)",
        notes='"EP 8, 64 SMs; logical"',
    )
    assert (row.measured, row.unit) == (726e9, "B/s")
    assert (row.case.logical_parts, row.case.n_sms) == ("rank", 64)


def test_shards_are_counted_as_one_buffer(table):
    row = point(
        table,
        n_gpus="4",
        library="NCCL (version not stated)",
        operation="all_gather",
        message_bytes="8e6",
        latency_us="74",
        notes="per-GPU size is the shard contributed",
    )
    assert row.case.n_bytes == pytest.approx(32e6)


def test_racks_of_a_published_row_split_the_ranks(table):
    row = point(
        table,
        n_gpus="128",
        fabric="GB200 NVL72 (2 racks)",
        library="nccl-tests",
        operation="alltoall",
        bandwidth_gb_per_s="89.6",
        metric="bus bandwidth",
    )
    assert row.case.n_local == 64
    assert row.case.is_bus_bandwidth


def test_time_in_serving_is_no_time_of_an_exchange(table):
    row = point(
        table,
        library="SGLang (May 2025)",
        operation="dispatch",
        latency_us="170",
        metric="dispatch kernel time per layer (in serving)",
    )
    assert row.case is None
    assert "waiting for the slowest rank" in row.reason


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("58.1", "", "row cannot be read"),
        ("58.1", "-1", "expected a positive number"),
        ("58.1", "inf", "expected a positive number"),
        ("deepep_ll", "magic", "kernel: 'magic'"),
        (",64,", ",many,", "row cannot be read"),
    ],
)
def test_damaged_row_says_what_is_wrong_and_keeps_its_place(table, old, new, words):
    good = "lib,deepep_ll,dispatch,fp8,8,1,7168,8,256,0,64,58.1"
    rows = read_measurements(table(ALLTOALL, good.replace(old, new), good))
    assert rows[0].case is None
    assert words in rows[0].reason
    assert math.isnan(rows[0].measured)
    assert rows[1].case is not None


def test_unknown_library_says_so(table):
    row = point(table, library="quantum", operation="dispatch", tokens_per_gpu="1", latency_us="1")
    assert row.case is None
    assert "'quantum'" in row.reason


def test_other_layout_is_refused(table):
    with pytest.raises(ConfigError, match=r"columns a, b; expected the layout"):
        read_measurements(table("a,b", "1,2"))


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.csv.*check the path"):
        read_measurements(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ("lib,deepep_ll,dispatch,int3,8,1,7168,8,256,0,64,58.1", "dtype: 'int3'"),
        ("lib,magic,dispatch,fp8,8,1,7168,8,256,0,64,58.1", "kernel: 'magic'"),
        ("lib,deepep_ll,dispatch,fp8,0,1,7168,8,256,0,64,58.1", "ep: '0'"),
        ("lib,deepep_ll,dispatch,fp8,8,1,7168,8,256,0,64,", "latency_us: ''"),
        ("lib,deepep_ll,dispatch,fp8", "ep: ''"),
    ],
)
def test_odd_cell_is_refused_by_name_and_hides_no_other_row(table, cells, expected):
    good = "lib,deepep_ll,dispatch,fp8,8,1,7168,8,256,,64.0,58.1"
    bad, fine = read_measurements(table(ALLTOALL, cells, good))
    assert bad.case is None
    assert expected in bad.reason
    assert (fine.case.tokens, fine.case.n_sms) == (64, None)


def test_dense_operation_of_an_unknown_library_is_a_collective(table):
    row = point(
        table, library="RCCL", operation="alltoall", message_bytes="1048576", latency_us="20"
    )
    assert isinstance(row.case, CollectiveCase)
    assert (row.case.key.operation, row.case.n_bytes) == ("all_to_all", 1048576.0)


def test_unknown_library_is_read_by_what_its_name_says(table):
    given = {"operation": "dispatch", "tokens_per_gpu": "64", "latency_us": "20"}
    row = point(table, library="NewEP low-latency", **given)
    assert row.case.family is Family.DEEPEP_LOW_LATENCY
    assert point(table, library="NewEP", **given).case is None
