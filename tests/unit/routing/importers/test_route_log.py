import json

import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.importing import ImportHints, import_trace, import_with_notes

HINTS = ImportHints(n_experts=8)


def save(path, records, *, tail=""):
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return path


def token_lines(ids, *, request="r0"):
    return [
        {
            "req_id": request,
            "token_idx": token,
            "layer": layer,
            "topk_ids": ids[token, layer].tolist(),
            "topk_weights": [0.5] * ids.shape[2],
        }
        for layer in range(ids.shape[1])
        for token in range(ids.shape[0])
    ]


def test_lines_of_tokens_become_requests(tmp_path, choices):
    ids = [choices(3), choices(2, seed=1)]
    meta = {"meta": {"model": "m", "num_experts": 8, "top_k": 2}}
    records = [meta, *token_lines(ids[0]), *token_lines(ids[1], request="r1")]
    done = import_with_notes(save(tmp_path / "a.jsonl", records))
    assert done.format == "route_log"
    assert done.trace.req_offsets.tolist() == [0, 3, 5]
    assert (done.trace.header.model, done.trace.header.top_k) == ("m", 2)
    np.testing.assert_array_equal(done.trace.routed_experts, np.concatenate(ids))


def test_profiling_tokens_and_incomplete_ones_are_left_out(tmp_path, choices):
    ids = choices(3)
    records = [
        *token_lines(ids),
        *token_lines(choices(2), request="dummy_0"),
        *token_lines(choices(2), request=None),
        {"req_id": "r0", "token_idx": 3, "layer": 0, "topk_ids": [0, 1]},
    ]
    trace = import_trace(save(tmp_path / "a.jsonl", records, tail='{"req'), hints=HINTS)
    assert trace.n_tokens == 3
    assert "left out 1 tokens that were not logged in all layers" in trace.header.note
    assert "left out 12 lines of profiling tokens" in trace.header.note
    assert "left out the torn last line" in trace.header.note


def test_log_of_one_layer_names_it(tmp_path, choices, gpt_oss):
    ids = choices(3, n_layers=1, top_k=4, n_experts=32)
    path = save(tmp_path / "a.jsonl", token_lines(ids))
    trace = import_trace(path, hints=ImportHints(n_experts=32))
    assert trace.header.moe_layer_ids == (0,)
    with pytest.raises(TraceError, match=r"MoE layers 1, 2, .* are missing"):
        import_trace(path, model=gpt_oss)


def test_lines_of_batches_become_requests_in_the_order_of_rows(tmp_path, choices):
    ids = choices(3)
    order = [2, 0, 1]
    records = [
        {
            "layer": layer,
            "batch_id": 7,
            "origin_rows": order,
            "topk_experts": ids[order, layer].tolist(),
        }
        for layer in range(3)
    ]
    trace = import_trace(save(tmp_path / "a.jsonl", records), hints=HINTS)
    np.testing.assert_array_equal(trace.routed_experts, ids)


LINE = {"req_id": "r0", "token_idx": 0, "layer": 0, "topk_ids": [0, 1]}
BATCH = {"layer": 0, "batch_id": 7, "topk_experts": [[0, 1]]}


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        ([LINE, LINE], "token 0, layer 0 twice; expected it once; profiling tokens"),
        ([{**LINE, "layer": "x"}], r"layer x; expected whole numbers"),
        ([{**LINE, "token_idx": -2}], "token -2"),
        ([{**LINE, "topk_ids": 3}], "a list of experts"),
        ([{**LINE, "topk_ids": ["a", "b"]}], "neither integers"),
        ([LINE, {**LINE, "token_idx": 1, "topk_ids": [1]}], "neither integers nor in equal rows"),
        ([{"req_id": 1}], "expected a record with 'topk_ids'"),
        ([{**BATCH, "topk_experts": 3}], "topk_experts is no list"),
        ([{**BATCH, "origin_rows": [0, 1]}], "2 origin_rows for 1 rows"),
        ([{**LINE, "req_id": "warmup"}], "0 requests"),
    ],
)
def test_lines_that_do_not_fit_are_refused(tmp_path, records, problem):
    with pytest.raises(TraceError, match=problem):
        import_trace(save(tmp_path / "a.jsonl", records), format="route_log", hints=HINTS)
