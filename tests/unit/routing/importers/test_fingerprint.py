import json

import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.importing import import_trace, import_with_notes


def example(ids, *, first=100):
    """An example with its generated tokens, as the repository stores it."""
    data = [
        {
            f"token_{first + token}": {
                f"layer_{layer}": {"selected_experts": one.tolist(), "selected_probs": [0.25] * 4}
                for layer, one in enumerate(ids[token])
            }
        }
        for token in range(ids.shape[0])
    ]
    return {"row_index": 1, "dataset": "d", "full_text": ["x"], "router_data": data}


@pytest.fixture
def ids(choices):
    return lambda n, seed=0: choices(n, n_layers=24, top_k=4, n_experts=32, seed=seed)


def test_examples_become_requests_of_generated_tokens(tmp_path, ids, gpt_oss):
    parts = [ids(3), ids(12, 1)]
    path = tmp_path / "a_examples.json"
    path.write_text(json.dumps([example(part) for part in parts]))
    done = import_with_notes(path, model=gpt_oss)
    assert done.format == "fingerprint"
    assert done.trace.req_offsets.tolist() == [0, 3, 15]
    assert done.trace.header.phase == "decode"
    np.testing.assert_array_equal(done.trace.routed_experts, np.concatenate(parts))


def test_folder_and_single_examples_are_read(tmp_path, ids, gpt_oss):
    for number, part in enumerate((ids(2), ids(3, 1), ids(0))):
        (tmp_path / f"{number}_examples.json").write_text(json.dumps(example(part)))
    (tmp_path / "0.json").write_text("{}")
    trace = import_trace(tmp_path, model=gpt_oss)
    assert trace.req_offsets.tolist() == [0, 2, 5]
    assert "left out 1 examples without tokens" in trace.header.note


def test_tokens_are_ordered_by_position(tmp_path, ids, gpt_oss):
    one = example(ids(11), first=5)
    one["router_data"].reverse()
    (tmp_path / "a.json").write_text(json.dumps(one))
    trace = import_trace(tmp_path / "a.json", model=gpt_oss)
    np.testing.assert_array_equal(trace.routed_experts, ids(11))


TOKEN = {"layer_0": {"selected_experts": [1, 2], "selected_probs": [0.5, 0.5]}}


@pytest.mark.parametrize(
    ("router_data", "problem"),
    [
        (3, "router_data is no list"),
        ([3], "router_data: ''; expected 'token_<position>'"),
        ([{"token_x": TOKEN}], "'token_x'; expected"),
        ([{"token_1": 3}], "'token_1'; expected"),
        ([{"token_1": TOKEN}, {"token_1": TOKEN}], "each once"),
        ([{"token_1": {"x": {}}}], "'x'; expected 'layer_<number>'"),
        ([{"token_1": {"layer_0": {}}}], "expected a record with 'selected_experts'"),
        ([{"token_1": TOKEN}, {"token_2": {"layer_1": TOKEN["layer_0"]}}], "different layers"),
        ([{"token_1": {"layer_0": {"selected_experts": "ab"}}}], "neither integers"),
    ],
)
def test_other_layouts_are_refused(tmp_path, router_data, problem):
    (tmp_path / "a.json").write_text(json.dumps({"router_data": router_data}))
    with pytest.raises(TraceError, match=problem):
        import_trace(tmp_path / "a.json")
