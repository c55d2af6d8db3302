import json

import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.importing import ImportHints, import_trace, import_with_notes

HINTS = ImportHints(n_experts=8, top_k=2)


def test_ids_with_offsets_become_requests(tmp_path, choices):
    ids = choices(5).astype(np.uint8)
    offsets, prompts = np.array([0, 2, 5]), np.array([1, 2])
    np.savez(
        tmp_path / "a.npz",
        routed_experts=ids,
        req_offsets=offsets,
        num_recorded_prompt_tokens=prompts,
    )
    done = import_with_notes(tmp_path / "a.npz", hints=HINTS)
    assert done.format == "npz"
    assert done.trace.n_prompt_rows.tolist() == [1, 2]
    np.testing.assert_array_equal(done.trace.routed_experts, ids)


def test_ids_alone_are_one_request_and_a_json_beside_names_the_model(tmp_path, choices):
    np.savez_compressed(tmp_path / "a.npz", topk_ids=choices(5))
    (tmp_path / "a.json").write_text(json.dumps({"model": "m", "num_experts": 8, "top_k": 2}))
    trace = import_trace(tmp_path / "a.npz")
    assert (trace.header.model, trace.header.n_experts, trace.header.phase) == ("m", 8, "any")
    prompts = ImportHints(n_prompt_rows=(4,))
    assert import_trace(tmp_path / "a.npz", hints=prompts).n_prompt_rows.tolist() == [4]


def test_folder_has_one_request_in_each_file(tmp_path, choices):
    for n in (2, 3):
        np.savez(tmp_path / f"{n}.npz", routed_experts=choices(n))
    assert import_trace(tmp_path, hints=HINTS).req_offsets.tolist() == [0, 2, 5]
    np.savez(tmp_path / "4.npz", counts=np.ones((1, 3, 8), int))
    with pytest.raises(TraceError, match="counts among 3 files"):
        import_trace(tmp_path, hints=HINTS)


def test_counts_with_and_without_steps_are_read(tmp_path, choices, count_of):
    counts = count_of(choices(5))
    np.savez(tmp_path / "a.npz", counts=counts)
    np.savez(tmp_path / "b.npz", counts=counts[None])
    for name in ("a.npz", "b.npz"):
        trace = import_trace(tmp_path / name, hints=HINTS)
        assert trace.step_tokens.tolist() == [5]
        np.testing.assert_array_equal(trace.counts[0], counts)


def test_physical_ids_and_counts_are_mapped(tmp_path):
    p2l = np.array([[0, 1, 2, 3, 0]])
    np.savez(tmp_path / "a.npz", counts=np.array([[[1, 1, 1, 0, 1]]]), p2l=p2l)
    trace = import_trace(tmp_path / "a.npz", hints=ImportHints(top_k=2))
    assert trace.counts.tolist() == [[[2, 1, 1, 0]]]
    np.savez(tmp_path / "b.npz", routed_experts=np.array([[[4, 2]], [[1, 3]]]))
    hints = ImportHints(physical_to_logical=p2l)
    assert import_trace(tmp_path / "b.npz", hints=hints).routed_experts.tolist() == [
        [[0, 2]],
        [[1, 3]],
    ]


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"other": np.ones(3)}, "arrays other; expected 'routed_experts' or 'counts'"),
        ({"routed_experts": np.ones((3, 2, 2))}, "routed_experts: float64; expected integers"),
        ({"routed_experts": np.ones((3, 2), int)}, r"shape \(3, 2\); expected 3 axes"),
        ({"counts": np.ones(3, int)}, r"shape \(3,\); expected 3 axes"),
        (
            {"routed_experts": np.ones((3, 2, 2), int), "req_offsets": np.array([0, 2])},
            "req_offsets or num_recorded_prompt_tokens do not fit 3 rows",
        ),
        (
            {"routed_experts": np.ones((3, 2, 2), int), "num_prompt_tokens": np.array([1, 2])},
            "do not fit 3 rows",
        ),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, problem):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(TraceError, match=problem):
        import_trace(tmp_path / "a.npz", format="npz", hints=HINTS)
