import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.importing import ImportHints, import_trace, import_with_notes

HINTS = ImportHints(top_k=2)


def stat(counts):
    return {"rank": 0, "logical_count": counts, "average_utilization_rate_over_window": None}


def passes(records, *, p2l):
    return {"records": records, "last_physical_to_logical_map": p2l}


def one_pass(number, counts, *, rank=0, key="primary", **more):
    return {
        "forward_pass_id": number,
        "rank": rank,
        "gatherer_key": key,
        "global_physical_count": counts,
        **more,
    }


def test_stat_dump_becomes_a_count_trace_without_dense_layers(
    tmp_path, write_torch, choices, deepseek
):
    counts = np.zeros((2, 61, 256), np.int32)
    for step, n_tokens in enumerate((5, 9)):
        ids = choices(n_tokens, n_layers=58, top_k=8, n_experts=256, seed=step)
        for layer in range(58):
            counts[step, 3 + layer] = np.bincount(ids[:, layer].ravel(), minlength=256)
    path = write_torch(tmp_path / "expert_distribution_recorder_1.5.pt", stat(counts))
    trace = import_trace(path, model=deepseek)
    assert trace.step_tokens.tolist() == [5, 9]
    assert trace.header.moe_layer_ids == tuple(range(3, 61))
    assert trace.header.model == "deepseek-r1"
    assert "left out dense layers 0, 1, 2" in trace.header.note
    np.testing.assert_array_equal(trace.counts, counts[:, 3:])


def test_stat_dump_without_a_model_takes_empty_layers_for_dense(
    tmp_path, write_torch, choices, count_of
):
    counts = np.zeros((3, 4, 8), np.int32)
    counts[0, 1:] = count_of(choices(6))
    counts[2, 1:] = count_of(choices(4, seed=1))
    done = import_with_notes(write_torch(tmp_path / "a.pt", stat(counts)), hints=HINTS)
    assert done.format == "sglang_recorder"
    assert done.trace.header.moe_layer_ids == (1, 2, 3)
    assert done.trace.step_tokens.tolist() == [6, 4]
    assert "left out 1 empty steps" in done.notes


def test_stat_dump_of_zeros_is_refused_as_bypassed(tmp_path, write_torch):
    path = write_torch(tmp_path / "a.pt", stat(np.zeros((2, 3, 8), np.int32)))
    with pytest.raises(TraceError, match=r"a\.pt: all zero; expected .*bypassed the recorder"):
        import_trace(path, hints=HINTS)


def test_choices_in_a_dense_layer_are_refused(tmp_path, write_torch, deepseek):
    counts = np.full((1, 61, 256), 8, np.int32)
    with pytest.raises(TraceError, match="choices in layers 0, 1, 2, which are dense"):
        import_trace(write_torch(tmp_path / "a.pt", stat(counts)), model=deepseek)


def test_top_k_must_come_from_somebody(tmp_path, write_torch):
    path = write_torch(tmp_path / "a.pt", stat(np.ones((1, 3, 8), np.int32)))
    with pytest.raises(TraceError, match="top_k unknown; expected it from the file or the user"):
        import_trace(path)


def test_dumps_of_different_models_are_refused(tmp_path, write_torch):
    write_torch(tmp_path / "a.pt", stat(np.ones((1, 3, 8), np.int32)))
    write_torch(tmp_path / "b.pt", stat(np.ones((1, 4, 8), np.int32)))
    with pytest.raises(TraceError, match="dumps of different models"):
        import_trace(tmp_path, hints=HINTS)


def test_physical_counts_of_ranks_are_summed_and_mapped(tmp_path, write_torch):
    # slots 0..5 hold experts 0 1 2 3 and once more 0 and 3 in layer 0, 1 and 1 in layer 1
    p2l = np.array([[0, 1, 2, 3, 0, 3], [0, 1, 2, 3, 1, 1]])
    first = np.array([[1, 0, 0, 1, 2, 0], [1, 1, 1, 1, 0, 0]], np.int32)
    second = np.array([[0, 1, 1, 0, 0, 2], [0, 0, 1, 1, 1, 1]], np.int32)
    write_torch(tmp_path / "r_0.pt", passes([one_pass(7, first)], p2l=p2l))
    write_torch(tmp_path / "r_1.pt", passes([one_pass(7, second, rank=1)], p2l=p2l))
    trace = import_trace(tmp_path, hints=HINTS)
    assert trace.counts.tolist() == [[[3, 1, 1, 3], [1, 3, 2, 2]]]
    assert trace.step_tokens.tolist() == [4]
    assert "summed 2 ranks" in trace.header.note
    assert "mapped physical experts by the last map" in trace.header.note


def test_ranks_that_saw_the_same_tokens_count_once(tmp_path, write_torch):
    p2l = np.tile(np.arange(4), (2, 1))
    counts = np.full((2, 4), 2, np.int32)
    for rank in range(2):
        write_torch(tmp_path / f"r_{rank}.pt", passes([one_pass(1, counts, rank=rank)], p2l=p2l))
    trace = import_trace(tmp_path, hints=HINTS)
    assert trace.step_tokens.tolist() == [4]
    assert "all ranks counted the same tokens" in trace.header.note


def test_missing_rank_is_refused(tmp_path, write_torch):
    p2l = np.tile(np.arange(4), (2, 1))
    counts = np.full((2, 4), 2, np.int32)
    write_torch(tmp_path / "r_1.pt", passes([one_pass(1, counts, rank=1)], p2l=p2l))
    with pytest.raises(TraceError, match=r"ranks \[1\].*put the files of all ranks"):
        import_trace(tmp_path, hints=HINTS)


def test_passes_that_not_all_ranks_recorded_are_left_out(tmp_path, write_torch):
    p2l = np.tile(np.arange(4), (2, 1))
    ones, twos = np.ones((2, 4), np.int32), np.full((2, 4), 2, np.int32)
    write_torch(tmp_path / "r_0.pt", passes([one_pass(1, ones), one_pass(2, ones)], p2l=p2l))
    write_torch(tmp_path / "r_1.pt", passes([one_pass(2, twos, rank=1)], p2l=p2l))
    trace = import_trace(tmp_path, hints=HINTS)
    assert trace.step_tokens.tolist() == [6]
    assert "left out 1 passes that not all ranks recorded" in trace.header.note


def test_halves_of_a_two_batch_overlap_are_one_pass(tmp_path, write_torch):
    p2l = np.tile(np.arange(4), (2, 1))
    ones = np.ones((2, 4), np.int32)
    halves = [one_pass(1, ones, key="child_a"), one_pass(1, ones, key="child_b")]
    trace = import_trace(write_torch(tmp_path / "r_0.pt", passes(halves, p2l=p2l)), hints=HINTS)
    assert trace.step_tokens.tolist() == [4]


def test_map_that_loses_an_expert_is_refused(tmp_path, write_torch):
    p2l = np.array([[0, 1, 3, 3]])
    path = write_torch(
        tmp_path / "r.pt", passes([one_pass(1, np.ones((1, 4), np.int32))], p2l=p2l)
    )
    with pytest.raises(TraceError, match="expected each of 4 experts in each layer"):
        import_trace(path, hints=HINTS)


def test_ranks_with_different_maps_are_refused(tmp_path, write_torch):
    ones = np.ones((1, 4), np.int32)
    p2l = np.arange(4)[None]
    write_torch(tmp_path / "r_0.pt", passes([one_pass(1, ones)], p2l=p2l))
    write_torch(tmp_path / "r_1.pt", passes([one_pass(1, ones, rank=1)], p2l=p2l[:, ::-1]))
    with pytest.raises(TraceError, match=r"r_1\.pt: last_.*: not the map of r_0\.pt"):
        import_trace(tmp_path, hints=HINTS)


def test_counts_that_do_not_fit_the_map_are_refused(tmp_path, write_torch):
    p2l = np.arange(4)[None]
    records = [one_pass(1, np.ones((1, 4), np.int32)), one_pass(2, np.ones((1, 5), np.int32))]
    with pytest.raises(TraceError, match=r"record 1: counts of shape \(1, 5\) for a map of"):
        import_trace(write_torch(tmp_path / "r_0.pt", passes(records, p2l=p2l)), hints=HINTS)
