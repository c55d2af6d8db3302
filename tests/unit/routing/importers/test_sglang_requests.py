import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.importing import ImportHints, import_trace

N_LAYERS, N_EXPERTS, WIDTH = 3, 8, 8
P2L = np.tile(np.arange(N_EXPERTS), (N_LAYERS, 1))


def record(number, ids, *, positions, extend=None, rank=0):
    """A pass with ids [tokens, layers, top_k], filled to the fixed width with -1."""
    filled = np.full((ids.shape[0], N_LAYERS, WIDTH), -1, np.int32)
    filled[:, :, : ids.shape[2]] = ids
    return {
        "forward_pass_id": number,
        "rank": rank,
        "gatherer_key": "primary",
        "input_ids": list(range(100, 100 + len(positions))),
        "positions": positions,
        "extend_seq_lens": extend,
        "forward_mode": 1 if extend else 2,
        "topk_ids_of_layer": np.ascontiguousarray(filled.transpose(1, 0, 2)),
        "misc_objects": [],
        "global_physical_count": np.zeros((N_LAYERS, N_EXPERTS), np.int32),
    }


def dump(write_torch, path, records, *, p2l=P2L):
    return write_torch(path, {"records": records, "last_physical_to_logical_map": p2l})


def test_prompts_and_outputs_are_joined_by_position(tmp_path, write_torch, choices):
    prompt = choices(5)
    outputs = [choices(2, seed=1), choices(2, seed=2)]
    records = [
        record(0, prompt, positions=[0, 1, 2, 0, 1], extend=[3, 0, 2]),
        record(1, outputs[0], positions=[3, 2]),
        record(2, outputs[1], positions=[4, 3]),
    ]
    trace = import_trace(dump(write_torch, tmp_path / "r_0.pt", records))
    assert trace.req_offsets.tolist() == [0, 5, 9]
    assert trace.n_prompt_rows.tolist() == [3, 2]
    assert trace.header.top_k == 2
    expected = np.concatenate([prompt[:3], outputs[0][:1], outputs[1][:1]])
    np.testing.assert_array_equal(trace.routed_experts[:5], expected)


def test_chunks_of_a_prompt_are_one_request(tmp_path, write_torch, choices):
    records = [
        record(0, choices(3), positions=[0, 1, 2], extend=[3]),
        record(1, choices(2, seed=1), positions=[3, 4], extend=[2]),
        record(2, choices(1, seed=2), positions=[5]),
    ]
    trace = import_trace(dump(write_torch, tmp_path / "r_0.pt", records))
    assert trace.req_offsets.tolist() == [0, 6]
    assert trace.n_prompt_rows.tolist() == [5]


def test_output_goes_to_the_request_that_was_active_last(tmp_path, write_torch, choices):
    records = [
        record(0, choices(2), positions=[0, 1], extend=[2]),
        record(1, choices(2, seed=1), positions=[0, 1], extend=[2]),
        record(2, choices(1, seed=2), positions=[2]),
    ]
    trace = import_trace(dump(write_torch, tmp_path / "r_0.pt", records))
    assert trace.req_offsets.tolist() == [0, 2, 5]
    assert "fit several" not in trace.header.note


def test_output_that_fits_two_requests_is_noted(tmp_path, write_torch, choices):
    records = [
        record(0, choices(4), positions=[0, 1, 0, 1], extend=[2, 2]),
        record(1, choices(2, seed=1), positions=[2, 2]),
    ]
    trace = import_trace(dump(write_torch, tmp_path / "r_0.pt", records))
    assert trace.req_offsets.tolist() == [0, 3, 6]
    assert "1 segments fit several requests" in trace.header.note


def test_graph_padding_marked_by_minus_one_is_left_out(tmp_path, write_torch, choices):
    ids = choices(4)
    ids[3] = -1
    records = [record(0, ids, positions=[0, 1, 2, 0], extend=[3, 1])]
    trace = import_trace(dump(write_torch, tmp_path / "r_0.pt", records))
    assert trace.n_tokens == 3
    assert "left out 1 padding tokens" in trace.header.note
    assert "left out 1 requests without tokens" in trace.header.note


def test_physical_ids_become_logical_and_shared_experts_go(tmp_path, write_torch, choices):
    # slot 8 holds expert 5 once more; 9 is the fused shared expert behind the slots
    p2l = np.concatenate([P2L, np.full((N_LAYERS, 1), 5)], axis=1)
    ids = np.concatenate([choices(3), np.full((3, N_LAYERS, 1), 9, np.int32)], axis=2)
    ids[0, 0] = [8, 1, 9]
    records = [record(0, ids, positions=[0, 1, 2], extend=[3])]
    trace = import_trace(
        dump(write_torch, tmp_path / "r_0.pt", records, p2l=p2l), hints=ImportHints(top_k=2)
    )
    assert trace.routed_experts[0, 0].tolist() == [5, 1]
    assert "kept 2 routed of 8 recorded ids" in trace.header.note


def test_ranks_with_the_same_tokens_are_kept_once(tmp_path, write_torch, choices):
    for rank in range(2):
        records = [record(0, choices(3), positions=[0, 1, 2], extend=[3], rank=rank)]
        dump(write_torch, tmp_path / f"r_{rank}.pt", records)
    assert import_trace(tmp_path).n_tokens == 3


def test_ranks_with_other_tokens_are_other_requests(tmp_path, write_torch, choices):
    for rank in range(2):
        positions = list(range(3 + rank))
        records = [record(0, choices(3 + rank), positions=positions, extend=[3 + rank], rank=rank)]
        dump(write_torch, tmp_path / f"r_{rank}.pt", records)
    assert import_trace(tmp_path).req_offsets.tolist() == [0, 3, 7]


def test_lengths_that_do_not_fit_are_refused(tmp_path, write_torch, choices):
    records = [record(0, choices(3), positions=[0, 1, 2], extend=[2])]
    with pytest.raises(TraceError, match="3 tokens, 3 positions, lengths that add up to 2"):
        import_trace(dump(write_torch, tmp_path / "r_0.pt", records))
