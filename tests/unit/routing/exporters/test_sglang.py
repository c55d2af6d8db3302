import json

import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.exporters.sglang import read_map, write_counts, write_map
from rackmoe.routing.placement import Placement
from rackmoe.routing.traces import CountTrace, TraceHeader


@pytest.fixture
def placement():
    return Placement.from_slots(np.array([[2, 1, 0, 2], [0, 0, 1, 2]]), n_experts=3, n_ranks=2)


def test_map_has_a_row_for_each_decoder_layer(tmp_path, placement):
    path = tmp_path / "a.json"
    write_map(placement, path=path, moe_layer_ids=(1, 3), n_layers=4)
    assert json.loads(path.read_text()) == {
        "physical_to_logical_map": [[0, 1, 2, 0], [2, 1, 0, 2], [0, 1, 2, 0], [0, 0, 1, 2]]
    }
    np.testing.assert_array_equal(read_map(path, moe_layer_ids=(1, 3)), placement.slots)
    assert read_map(path).shape == (4, 4)


def test_map_that_lacks_layers_is_refused(tmp_path, placement):
    write_map(placement, path=tmp_path / "a.json", moe_layer_ids=(0, 1), n_layers=2)
    with pytest.raises(TraceError, match="2 layers; expected 3 MoE layers or all 6"):
        read_map(tmp_path / "a.json", moe_layer_ids=(3, 4, 5))
    (tmp_path / "b.json").write_text('{"physical_to_logical_map": [[1], [1, 2]]}')
    with pytest.raises(TraceError, match="neither integers nor in equal rows"):
        read_map(tmp_path / "b.json")
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(TraceError, match="expected a record with 'physical_to_logical_map'"):
        read_map(tmp_path / "b.json")


@pytest.mark.parametrize("is_summed", [False, True])
def test_counts_have_rows_of_zeros_for_dense_layers(tmp_path, is_summed):
    header = TraceHeader(
        model="m", n_experts=2, top_k=1, moe_layer_ids=(1,), phase="any", source="", licence=""
    )
    trace = CountTrace(
        counts=np.array([[[1, 2]], [[3, 0]]]), step_tokens=np.array([3, 3]), header=header
    )
    write_counts(trace, path=tmp_path / "a.json", n_layers=2, is_summed=is_summed)
    expected = [[0, 0], [4, 2]] if is_summed else [[[0, 0], [1, 2]], [[0, 0], [3, 0]]]
    assert json.loads((tmp_path / "a.json").read_text()) == {"logical_count": expected}
