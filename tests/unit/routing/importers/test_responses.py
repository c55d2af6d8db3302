import base64
import json

import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.importing import ImportHints, import_trace, import_with_notes


def encode(data):
    return base64.b64encode(data).decode()


def sglang(ids, *, n_prompt, n_output, n_layers, **meta):
    """A response of SGLang: ids [tokens, MoE layers, top_k] behind rows of dense layers."""
    rows = np.zeros((ids.shape[0], n_layers, ids.shape[2]), np.int32)
    rows[:, n_layers - ids.shape[1] :] = ids
    counts = {"prompt_tokens": n_prompt, "completion_tokens": n_output}
    return {"text": "x", "meta_info": {**counts, "routed_experts": encode(rows.tobytes()), **meta}}


def save(path, value):
    lines = value if path.suffix == ".jsonl" else [value]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


@pytest.fixture
def routed(choices):
    return lambda n_tokens, seed=0: choices(
        n_tokens, n_layers=58, top_k=8, n_experts=256, seed=seed
    )


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_sglang_responses_become_requests(tmp_path, routed, deepseek, name):
    ids = [routed(7), routed(4, 1)]
    responses = [
        sglang(ids[0], n_prompt=5, n_output=3, n_layers=61),
        sglang(ids[1], n_prompt=2, n_output=3, n_layers=61),
    ]
    done = import_with_notes(save(tmp_path / name, responses), model=deepseek)
    assert done.format == "sglang_responses"
    assert done.trace.req_offsets.tolist() == [0, 7, 11]
    assert done.trace.n_prompt_rows.tolist() == [5, 2]
    assert "2 requests lack their last token, which is never forwarded" in done.notes
    np.testing.assert_array_equal(done.trace.routed_experts, np.concatenate(ids))
    assert done.trace.header.moe_layer_ids == tuple(range(3, 61))


def test_single_response_with_skipped_prompt_is_read(tmp_path, routed, deepseek):
    response = sglang(routed(5), n_prompt=4, n_output=4, n_layers=61, routed_experts_start_len=2)
    trace = import_trace(save(tmp_path / "a.json", response), model=deepseek)
    assert trace.n_prompt_rows.tolist() == [2]


def test_bytes_without_a_model_are_refused(tmp_path, routed):
    path = save(tmp_path / "a.json", sglang(routed(5), n_prompt=4, n_output=2, n_layers=61))
    with pytest.raises(TraceError, match="top_k unknown"):
        import_trace(path)
    with pytest.raises(TraceError, match="n_layers unknown"):
        import_trace(path, hints=ImportHints(top_k=8))


def test_bytes_of_another_model_are_refused(tmp_path, choices, deepseek):
    ids = choices(5, n_layers=24, top_k=4, n_experts=32)
    path = save(tmp_path / "a.json", sglang(ids, n_prompt=4, n_output=2, n_layers=24))
    with pytest.raises(TraceError, match=r"1920 bytes; expected a multiple of 1952"):
        import_trace(path, model=deepseek)


def test_rows_that_are_no_tokens_are_refused_as_padding(tmp_path, routed, deepseek):
    path = save(tmp_path / "a.json", sglang(routed(8), n_prompt=4, n_output=2, n_layers=61))
    with pytest.raises(TraceError, match=r"8 rows for 4 prompt and 2 output tokens; expected 5"):
        import_trace(path, model=deepseek)


@pytest.mark.parametrize("payload", [None, "", []])
def test_empty_answer_of_a_bypassed_hook_is_refused(tmp_path, deepseek, payload):
    path = save(tmp_path / "a.json", {"meta_info": {"routed_experts": payload}})
    with pytest.raises(TraceError, match=r"routed_experts: empty; .*bypassed the recorder"):
        import_trace(path, model=deepseek)


def test_zeros_of_a_bypassed_hook_are_refused(tmp_path, deepseek):
    zeros = np.zeros((5, 58, 8), np.int32)
    path = save(tmp_path / "a.json", sglang(zeros, n_prompt=4, n_output=2, n_layers=61))
    with pytest.raises(TraceError, match=r"all zero; .*bypassed the recorder"):
        import_trace(path, model=deepseek)


def test_vllm_arrays_of_files_are_requests(tmp_path, choices, gpt_oss):
    ids = [choices(n, n_layers=24, top_k=4, n_experts=32, seed=n) for n in (3, 5)]
    for number, one in enumerate(ids):
        np.save(tmp_path / f"request_{number}.npy", one.astype(np.uint8))
    done = import_with_notes(tmp_path, model=gpt_oss)
    assert done.format == "vllm_responses"
    assert done.trace.req_offsets.tolist() == [0, 3, 8]
    assert done.trace.header.phase == "any"
    hints = ImportHints(n_prompt_rows=(2, 4))
    trace = import_trace(tmp_path, model=gpt_oss, hints=hints)
    assert (trace.header.phase, trace.n_prompt_rows.tolist()) == ("both", [2, 4])
    single = import_trace(tmp_path / "request_1.npy", model=gpt_oss)
    np.testing.assert_array_equal(single.routed_experts, ids[1])


def vllm(ids, npy_bytes, *, n_prompt, n_output):
    choice = {"index": 0, "text": "x", "routed_experts": encode(npy_bytes(ids))}
    usage = {"prompt_tokens": n_prompt, "completion_tokens": n_output}
    return {"choices": [choice], "usage": usage}


def test_vllm_responses_become_requests(tmp_path, choices, npy_bytes, gpt_oss):
    ids = choices(6, n_layers=24, top_k=4, n_experts=32).astype(np.int16)
    response = vllm(ids, npy_bytes, n_prompt=4, n_output=3)
    done = import_with_notes(save(tmp_path / "a.json", response), model=gpt_oss)
    assert done.format == "vllm_responses"
    assert done.trace.n_prompt_rows.tolist() == [4]
    np.testing.assert_array_equal(done.trace.routed_experts, ids)


def test_lists_are_read_like_arrays(tmp_path, choices, gpt_oss):
    ids = choices(6, n_layers=24, top_k=4, n_experts=32)
    path = save(tmp_path / "a.json", {"outputs": [{"routed_experts": ids.tolist()}]})
    np.testing.assert_array_equal(import_trace(path, model=gpt_oss).routed_experts, ids)


def test_vllm_last_row_of_zeros_is_left_out(tmp_path, choices, npy_bytes, gpt_oss):
    ids = choices(7, n_layers=24, top_k=4, n_experts=32)
    ids[6] = 0
    response = vllm(ids, npy_bytes, n_prompt=4, n_output=3)
    assert import_trace(save(tmp_path / "a.json", response), model=gpt_oss).n_tokens == 6


def test_several_answers_share_the_prompt(tmp_path, choices, npy_bytes, gpt_oss):
    ids = choices(6, n_layers=24, top_k=4, n_experts=32)
    response = vllm(ids, npy_bytes, n_prompt=4, n_output=3)
    response["choices"].append({"routed_experts": encode(npy_bytes(ids[:5]))})
    response["usage"]["completion_tokens"] = 5
    trace = import_trace(save(tmp_path / "a.json", response), model=gpt_oss)
    assert trace.req_offsets.tolist() == [0, 6, 11]


def test_prompt_and_output_apart_are_joined(tmp_path, choices, npy_bytes, gpt_oss):
    ids = choices(6, n_layers=24, top_k=4, n_experts=32)
    response = vllm(ids[4:], npy_bytes, n_prompt=4, n_output=3)
    response["choices"][0]["prompt_routed_experts"] = encode(npy_bytes(ids[:4]))
    trace = import_trace(save(tmp_path / "a.json", response), model=gpt_oss)
    np.testing.assert_array_equal(trace.routed_experts, ids)
    response["choices"][0]["prompt_routed_experts"] = encode(npy_bytes(ids[:4, :3]))
    with pytest.raises(TraceError, match="prompt and output differ in shape"):
        import_trace(save(tmp_path / "a.json", response), model=gpt_oss)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.ones((3, 4)), "expected integers"),
        (np.ones((3, 24, 4), np.float32), "float32 of shape"),
        (np.ones((0, 24, 4), np.int32), "bypassed the recorder"),
    ],
)
def test_other_arrays_are_refused(tmp_path, gpt_oss, array, problem):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(TraceError, match=problem):
        import_trace(tmp_path / "a.npy", model=gpt_oss)


@pytest.mark.parametrize("value", [[3], {"choices": 3}, {"choices": [3]}])
def test_what_is_no_response_is_refused(tmp_path, value):
    path = save(tmp_path / "a.json", value)
    with pytest.raises(TraceError, match="store it unchanged"):
        import_trace(path, format="sglang_responses")
