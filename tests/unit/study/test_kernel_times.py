from functools import cache

import pytest

from rackmoe.backend.operator_files import operator_constants
from rackmoe.backend.operators import ModuleConstants, ideal_constants
from rackmoe.compute.operators import OperatorLaws
from rackmoe.hardware.profile import load_machine
from rackmoe.model.attention import score_pairs
from rackmoe.model.config import load_model
from rackmoe.model.costs import attention_gemms
from rackmoe.study.collector_loads import hot_rank_load
from rackmoe.study.kernel_tables import read_kernel_table
from rackmoe.study.kernel_times import module_times, row_times

MOE = "source,kernel,dtype,hidden,inter,topk,experts,ep,dist,tokens_global,latency_us\n"


@cache
def gpu_of(machine):
    return load_machine(machine).gpu


@pytest.fixture
def table(tmp_path):
    def write(text):
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8")
        return read_kernel_table(path)

    return write


def test_products_of_several_shapes_keep_their_order(table):
    gpu = gpu_of("gb200_nvl72")
    rows = table(
        "dtype,m,n,k,latency_us\nbfloat16,8,512,1024,1\nbfloat16,1,2048,512,1\nbfloat16,64,512,1024,1\n"
    )
    constants = operator_constants("gb200").gemm["bf16"]
    laws = OperatorLaws(gpu, operator_constants("gb200"))
    expected = [
        laws.gemm_time_s(m, n=n, k=k, dtype="bf16")
        for m, n, k in ((8, 512, 1024), (1, 2048, 512), (64, 512, 1024))
    ]
    assert row_times(rows)(gpu, constants).tolist() == pytest.approx(expected, rel=1e-12)


def test_expert_rows_take_the_load_of_the_hottest_rank(table):
    gpu = gpu_of("hgx_h200")
    rows = table(MOE + "trtllm-1,tf_cutlass,fp8_block,7168,2048,8,256,32,power_law_1.2,4096,1\n")
    constants = operator_constants("h200")
    load = hot_rank_load(tokens=4096, experts=256, top_k=8, ep=32, dist="power_law_1.2")
    law = OperatorLaws(gpu, constants).grouped_gemm(
        hidden=7168, inter=2048, dtype="fp8_block", n_local_experts=8
    )
    expected = law(load.assignments, load.active_experts, 4096.0, 4096 * 8 / 8)
    times = row_times(rows)(gpu, constants.grouped_gemm["fp8_block"])
    assert times.tolist() == pytest.approx([float(expected)], rel=1e-12)


def test_wide_ep_rows_see_only_what_was_delivered(table):
    gpu = gpu_of("hgx_h200")
    rows = table("phase,ep,dist,tokens,latency_us\ngeneration,32,uniform,4096,1\n")
    constants = operator_constants("h200", source="sglang")
    law = OperatorLaws(gpu, constants).grouped_gemm(
        hidden=7168, inter=2048, dtype="fp8_block", n_local_experts=8
    )
    times = row_times(rows)(gpu, constants.grouped_gemm["fp8_block"])
    assert times.tolist() == pytest.approx([float(law(1024.0, 8.0))], rel=1e-12)


def test_attention_rows_sum_their_sequences(table):
    gpu = gpu_of("hgx_h200")
    laws = OperatorLaws(gpu, operator_constants("h200"))
    rows = table("phase,kv_dtype,heads,batch,seq,latency_us\ndecode,fp8,16,4,1000,1\n")
    expected = laws.mla_decode_time_s(4.0, kv_tokens=4000.0, heads=16, kv_dtype="fp8")
    times = row_times(rows)(gpu, operator_constants("h200").mla_decode["fp8"])
    assert times.tolist() == pytest.approx([float(expected)], rel=1e-12)
    rows = table("phase,kv_dtype,heads,batch,seq,latency_us\nprefill,fp8,16,4,1000,1\n")
    pairs = 4 * float(score_pairs(1000, past_tokens=0))
    expected = laws.mla_prefill_time_s(
        4000.0, score_pairs=pairs, heads=16, kv_dtype="fp8", n_sequences=4.0
    )
    times = row_times(rows)(gpu, operator_constants("h200").mla_prefill["fp8"])
    assert times.tolist() == pytest.approx([float(expected)], rel=1e-12)


def test_module_is_its_kernel_its_products_and_a_floor(table):
    gpu = gpu_of("gb200_nvl72")
    constants = ideal_constants()
    laws = OperatorLaws(gpu, constants)
    rows = table(
        "phase,kv_dtype,gemm_dtype,heads,batch,seq,latency_us\ndecode,fp8,bfloat16,128,4,1000,1\n"
    )
    inner_s = float(laws.mla_decode_time_s(4.0, kv_tokens=4000.0, heads=128, kv_dtype="fp8"))
    for gemm in attention_gemms(load_model("deepseek-r1"), tp=1, phase="decode"):
        inner_s += float(laws.gemm_time_s(4.0, n=gemm.n, k=gemm.k, dtype="bf16", batch=gemm.batch))
    times = module_times(rows, gpu=gpu, constants=constants)
    floor = ModuleConstants(floor_s=1e-5, token_s=1e-6)
    assert times(gpu, floor).tolist() == pytest.approx([inner_s + 1.4e-5], rel=1e-12)
