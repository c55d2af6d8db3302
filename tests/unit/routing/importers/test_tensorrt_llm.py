import json

import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.importing import ImportHints, import_trace, import_with_notes

ITERATIONS, LAYERS = (50, 51), (3, 4, 10)


@pytest.fixture
def folder(tmp_path, choices, count_of, write_safetensors):
    """Write the folder of a run: choices of each rank, iteration and layer."""

    def build(*, n_tokens=((4, 2), (3, 5)), raw="rank{}_raw", seeds=(0, 10), meta=None):
        (tmp_path / "meta_info.json").write_text(
            json.dumps(meta or {"num_experts": 8, "num_experts_per_token": 2})
        )
        chosen = {}
        for rank, lengths in enumerate(n_tokens):
            own = {
                step: choices(n, seed=seeds[rank] + step)
                for step, n in zip(ITERATIONS, lengths, strict=True)
            }
            keys = [(step, at, layer) for step in own for at, layer in enumerate(LAYERS)]
            counts = {f"{step}_{layer}": count_of(own[step])[at] for step, at, layer in keys}
            write_safetensors(tmp_path / f"rank{rank}.safetensors", counts)
            ids = {f"{step}_{layer}": own[step][:, at] for step, at, layer in keys}
            if raw:
                write_safetensors(tmp_path / f"{raw.format(rank)}.safetensors", ids)
            chosen[rank] = own
        return tmp_path, chosen

    return build


def test_counts_of_ranks_are_summed(folder, count_of):
    path, chosen = folder(raw=None)
    done = import_with_notes(path)
    assert done.format == "tensorrt_llm"
    assert done.trace.step_tokens.tolist() == [7, 7]
    assert done.trace.header.moe_layer_ids == LAYERS
    assert (done.trace.header.n_experts, done.trace.header.top_k) == (8, 2)
    expected = [count_of(chosen[0][step]) + count_of(chosen[1][step]) for step in ITERATIONS]
    np.testing.assert_array_equal(done.trace.counts, expected)


@pytest.mark.parametrize("raw", ["rank{}_raw", "token_selected_experts_rank{}"])
def test_choices_become_a_token_trace(folder, raw):
    path, chosen = folder(raw=raw)
    trace = import_trace(path)
    assert trace.req_offsets.tolist() == [0, 4, 6, 9, 14]
    assert trace.header.phase == "any"
    np.testing.assert_array_equal(trace.routed_experts[:4], chosen[0][50])
    np.testing.assert_array_equal(trace.routed_experts[9:], chosen[1][51])


def test_counts_can_be_asked_for(folder):
    path, _ = folder()
    trace = import_trace(path, format="tensorrt_llm_counts")
    assert trace.step_tokens.tolist() == [7, 7]


def test_ranks_with_the_same_tokens_count_once(folder):
    path, _ = folder(n_tokens=((4, 2), (4, 2)), seeds=(0, 0))
    trace = import_trace(path)
    assert trace.n_tokens == 6
    assert "all ranks recorded the same tokens; kept one" in trace.header.note
    assert import_trace(path, format="tensorrt_llm_counts").step_tokens.tolist() == [4, 2]


def test_layers_of_drafts_are_left_out(folder):
    path, _ = folder(raw=None)
    trace = import_trace(path, hints=ImportHints(moe_layer_ids=(3, 4)))
    assert trace.header.moe_layer_ids == (3, 4)
    assert "left out layers 10: dense, or for drafts" in trace.header.note


def test_choices_of_the_last_chunk_only_are_refused(folder, write_safetensors, choices):
    path, _ = folder()
    ids = {f"{step}_{layer}": choices(1)[:, 0] for step in ITERATIONS for layer in LAYERS}
    write_safetensors(path / "rank0_raw.safetensors", ids)
    with pytest.raises(TraceError, match=r"2 choices, 8 counted; .*last chunk.*use the counts"):
        import_trace(path)


def test_missing_rank_or_layer_is_refused(folder, write_safetensors):
    path, _ = folder(raw=None)
    write_safetensors(path / "rank1.safetensors", {"50_3": np.ones(8, np.int32)})
    with pytest.raises(TraceError, match="rank 1 has 1 tensors; expected 2 iterations of 3"):
        import_trace(path)
    (path / "rank0.safetensors").unlink()
    with pytest.raises(TraceError, match=r"ranks \[1\]; expected ranks from 0 without gaps"):
        import_trace(path)


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"50": np.ones(8, np.int32)}, "'50' of 1 axes; expected keys '<iteration>_<layer>'"),
        ({"50_3": np.ones((2, 8), np.int32)}, "of 2 axes; expected keys"),
        ({"50_3": np.ones(8, np.int32), "50_4": np.ones(7, np.int32)}, "counts of 2 lengths"),
        ({"50_3": np.ones(9, np.int32)}, "counts of 9 experts; expected 8"),
        ({}, "rank 0 has 0 tensors"),
    ],
)
def test_other_tensors_are_refused(tmp_path, write_safetensors, tensors, problem):
    (tmp_path / "meta_info.json").write_text('{"num_experts": 8, "num_experts_per_token": 2}')
    write_safetensors(tmp_path / "rank0.safetensors", tensors)
    with pytest.raises(TraceError, match=problem):
        import_trace(tmp_path)


def test_meta_without_whole_numbers_is_refused(folder):
    path, _ = folder(raw=None, meta={"num_experts": "8", "num_experts_per_token": 2})
    with pytest.raises(TraceError, match="no whole number; expected both"):
        import_trace(path)


def test_layers_of_different_lengths_are_refused(tmp_path, write_safetensors, choices):
    (tmp_path / "meta_info.json").write_text('{"num_experts": 8, "num_experts_per_token": 2}')
    ids = {"50_3": choices(3)[:, 0], "50_4": choices(4)[:, 0]}
    write_safetensors(tmp_path / "rank0_raw.safetensors", ids)
    with pytest.raises(TraceError, match="layers of different numbers of tokens"):
        import_trace(tmp_path)
