import pytest

from rackmoe.errors import ConfigError
from rackmoe.schema.shipped import shipped_folder
from rackmoe.study.kernel_tables import is_kernel_table, read_kernel_table

MOE = "source,kernel,dtype,hidden,inter,topk,experts,ep,dist,tokens_global,latency_us\n"


@pytest.fixture
def table(tmp_path):
    def write(text):
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8")
        return read_kernel_table(path)

    return write


def test_products_get_source_phase_and_house_names_of_formats(table):
    rows = table("dtype,m,n,k,latency_us\nbfloat16,256,512,512,3\nnvfp4,512,512,512,4\n")
    assert rows["operator"].tolist() == ["gemm", "gemm"]
    assert rows["source"].str.startswith("trtllm").all()
    assert rows["dtype"].tolist() == ["bf16", "nvfp4"]
    assert rows["phase"].tolist() == ["decode", "prefill"]
    assert rows["row"].tolist() == [1, 2]
    assert rows["measured_s"].tolist() == pytest.approx([3e-6, 4e-6], rel=1e-12)


def test_attention_rows_belong_to_the_operator_of_their_phase(table):
    rows = table("phase,kv_dtype,heads,batch,seq,latency_us\ndecode,fp8,128,1,1,3\n")
    assert rows["operator"].tolist() == ["mla_decode"]
    rows = table(
        "phase,kv_dtype,heads,kv_heads,head_dim,batch,seq,latency_us\nprefill,bfloat16,8,1,128,1,9,3\n"
    )
    assert rows["operator"].tolist() == ["gqa_prefill"]
    rows = table(
        "phase,kv_dtype,gemm_dtype,heads,batch,seq,latency_us\ndecode,fp8,nvfp4,128,1,1,3\n"
    )
    assert rows["operator"].tolist() == ["decode_module"]
    assert rows["dtype"].tolist() == ["nvfp4"]


def test_wide_ep_rows_are_routed_experts_of_deepseek(table):
    rows = table(
        "phase,ep,dist,tokens,latency_us\ncontext,4,uniform,64,3\ngeneration,4,uniform,64,3\n"
    )
    assert rows["operator"].tolist() == ["grouped_gemm"] * 2
    assert rows["kernel"].tolist() == ["wide_ep_context", "wide_ep_generation"]
    assert rows["is_packed"].tolist() == [True, False]
    assert rows["tokens_global"].tolist() == [64, 64]


def test_the_held_out_half_is_about_half_and_depends_on_the_shape_alone(table):
    lines = [f"bfloat16,{m},512,512,3" for m in range(1, 1001)]
    first = table("dtype,m,n,k,latency_us\n" + "\n".join(lines))
    again = table("dtype,m,n,k,latency_us\n" + "\n".join(line + "4" for line in reversed(lines)))
    assert 400 < first["is_held_out"].sum() < 600
    assert first["is_held_out"].tolist() == again["is_held_out"].tolist()[::-1]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("sglang-1,fused_moe_triton,fp8_block,7168,2048,8,256,8,balanced,64,9", "other ranks"),
        ("trtllm-1,tf_min_latency,nvfp4,7168,2048,8,256,8,balanced,64,9", "other ranks"),
        ("trtllm-1,tf_cutlass,nvfp4,7168,2048,8,256,8,balanced,64,9", "autotuner"),
        ("sglang-1,fused_moe_triton,fp8_block,7168,2048,8,256,1,balanced,64,9", ""),
        ("sglang-1,fused_moe_triton,fp8_block,7168,2048,8,256,8,power_law_1.2,64,9", ""),
        ("trtllm-1,tf_cutlass,nvfp4,7168,2048,8,256,16,balanced,64,9", ""),
        ("trtllm-1,deepgemm,fp8_block,7168,2048,8,256,8,balanced,64,9", ""),
    ],
)
def test_known_traps_are_excluded_with_their_reason(table, row, reason):
    excluded = table(MOE + row + "\n")["excluded"].iloc[0]
    assert reason in excluded
    assert bool(excluded) == bool(reason)


def test_products_bound_by_their_launch_are_excluded(table):
    text = "source,dtype,m,n,k,latency_us\nvllm-0.24.0,fp8_block,1,512,512,55\n"
    assert "CUDA graph" in table(text)["excluded"].iloc[0]


def test_damaged_rows_are_kept_with_their_problem(table):
    rows = table("dtype,m,n,k,latency_us\nbfloat16,x,512,512,3\nfp8,1,512,512,nan\n,1,1,1,1\n")
    assert rows["problem"].tolist() == [
        "m: not a number above 0",
        "latency_us: not a number above 0",
        "dtype: empty; expected a word",
    ]


def test_unknown_phase_is_a_problem_of_its_row(table):
    rows = table("phase,kv_dtype,heads,batch,seq,latency_us\nwarmup,fp8,128,1,1,3\n")
    assert rows["problem"].iloc[0].startswith("phase: unknown")


def test_other_columns_are_refused_with_the_layouts(table):
    with pytest.raises(ConfigError, match="columns a,b; expected latency_us and one of"):
        table("a,b\n1,2\n")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.csv: cannot be read as CSV"):
        read_kernel_table(tmp_path / "none.csv")


def test_tables_of_communication_are_not_kernel_tables():
    folder = shipped_folder("scenarios/calibration/kernels")
    assert is_kernel_table(folder / "gemm_gb200.csv")
    assert not is_kernel_table(folder / "collectives.csv")
    assert not is_kernel_table(folder / "alltoall_gb200.csv")
