import json

import numpy as np
import pytest

from rackmoe.errors import ConfigError, TraceError
from rackmoe.model.config import load_model
from rackmoe.routing.exporters.exporting import export_counts, export_placement, read_exported
from rackmoe.routing.importers.importing import ImportHints, import_trace
from rackmoe.routing.placement import Placement, contiguous, load_placement, round_robin


@pytest.fixture(scope="module")
def deepseek():
    return load_model("deepseek-r1")


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_placement_of_a_model_comes_back_as_it_was(tmp_path, deepseek, name):
    placement = round_robin(256, n_layers=58, n_ranks=36, n_redundant=32)
    chosen = "sglang" if name.endswith("json") else "tensorrt_llm"
    export_placement(placement, path=tmp_path / name, format=chosen, model=deepseek)
    read = read_exported(tmp_path / name, n_experts=256, n_ranks=36, model=deepseek)
    np.testing.assert_array_equal(read.slots, placement.slots)
    assert (read.n_ranks, read.ranks_per_node) == (36, 36)


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_placement_without_a_model_comes_back_as_it_was(tmp_path, name):
    placement = round_robin(8, n_layers=3, n_ranks=4, n_redundant=4)
    chosen = "sglang" if name.endswith("json") else "tensorrt_llm"
    export_placement(placement, path=tmp_path / name, format=chosen, moe_layer_ids=(1, 2, 4))
    read = read_exported(
        tmp_path / name, n_experts=8, n_ranks=4, ranks_per_node=2, moe_layer_ids=(1, 2, 4)
    )
    np.testing.assert_array_equal(read.slots, placement.slots)
    assert read.ranks_per_node == 2


def test_export_is_what_our_own_reader_takes(tmp_path):
    placement = contiguous(8, n_layers=3, n_ranks=4)
    export_placement(placement, path=tmp_path / "a.json", format="sglang")
    read = load_placement(tmp_path / "a.json", n_experts=8, n_ranks=4)
    np.testing.assert_array_equal(read.slots, placement.slots)


def test_placement_of_another_model_is_refused(tmp_path, deepseek):
    placement = contiguous(8, n_layers=3, n_ranks=4)
    with pytest.raises(ConfigError, match="3 layers of experts for 58 MoE layers"):
        export_placement(placement, path=tmp_path / "a.json", format="sglang", model=deepseek)
    with pytest.raises(ConfigError, match="format: 'vllm'; expected one of sglang, tensorrt_llm"):
        export_placement(placement, path=tmp_path / "a.json", format="vllm")
    export_placement(placement, path=tmp_path / "a.yaml", format="tensorrt_llm")
    with pytest.raises(TraceError, match=r"layers \[3, 4.*are missing"):
        read_exported(tmp_path / "a.yaml", n_experts=8, n_ranks=4, model=deepseek)
    with pytest.raises(ConfigError, match=r"a\.yaml: ep: 3 does not divide 8"):
        read_exported(tmp_path / "a.yaml", n_experts=8, n_ranks=3)


def test_layers_beyond_the_model_are_left_out(tmp_path):
    placement = Placement.from_slots(np.array([[0, 1], [1, 0], [0, 1]]), n_experts=2, n_ranks=2)
    export_placement(
        placement, path=tmp_path / "a.yaml", format="tensorrt_llm", moe_layer_ids=(3, 4, 61)
    )
    read = read_exported(tmp_path / "a.yaml", n_experts=2, n_ranks=2, moe_layer_ids=(3, 4))
    assert read.slots.tolist() == [[0, 1], [1, 0]]


def test_counts_come_back_through_the_importer(tmp_path):
    counts = np.array([[[2, 1, 1], [1, 1, 2]], [[1, 1, 0], [0, 1, 1]]])
    np.savez(tmp_path / "a.npz", counts=counts)
    hints = ImportHints(top_k=2, moe_layer_ids=(1, 2))
    trace = import_trace(tmp_path / "a.npz", hints=hints)
    export_counts(trace, path=tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["logical_count"][0][0] == [0, 0, 0]
    again = import_trace(tmp_path / "a.json", hints=hints)
    np.testing.assert_array_equal(again.counts, trace.counts)
    export_counts(trace, path=tmp_path / "b.json", is_summed=True)
    assert import_trace(tmp_path / "b.json", hints=hints).counts.tolist() == [
        [[3, 2, 1], [1, 2, 3]]
    ]
