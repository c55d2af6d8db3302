import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.facts import ModelFacts
from rackmoe.routing.importers.layers import choose_layers

MODEL = ModelFacts(name="m", n_layers=4, moe_layer_ids=(1, 2, 3))


def choose(empty, *, layer_ids=None, facts=MODEL):
    is_empty = np.array(empty, bool)
    choice = choose_layers(is_empty, layer_ids=layer_ids, facts=facts, place="a")
    return choice.columns.tolist(), choice.layer_ids, choice.notes


def test_axis_of_all_layers_loses_its_dense_ones():
    columns, ids, notes = choose([1, 0, 0, 0])
    assert (columns, ids) == ([1, 2, 3], (1, 2, 3))
    assert notes == ("left out dense layers 0",)


def test_axis_of_moe_layers_is_taken_as_it_is():
    assert choose([0, 0, 0]) == ([0, 1, 2], (1, 2, 3), ())


def test_axis_of_another_length_is_refused():
    with pytest.raises(TraceError, match="a: 5 layers; expected 3 MoE layers or all 4"):
        choose([0] * 5)


def test_choices_in_a_dense_layer_are_refused():
    with pytest.raises(TraceError, match="choices in layers 0, which are dense"):
        choose([0, 0, 0, 0])


@pytest.mark.parametrize("layer_ids", [None, (0, 1, 2, 3)])
def test_moe_layer_without_choices_is_refused(layer_ids):
    with pytest.raises(TraceError, match=r"nothing recorded in MoE layers 2.*bypassed"):
        choose([1, 0, 1, 0], layer_ids=layer_ids)


def test_nothing_recorded_at_all_is_refused():
    with pytest.raises(TraceError, match=r"a: all zero; .*bypassed the recorder"):
        choose([1, 1, 1])


def test_numbered_layers_beyond_the_model_are_for_drafts():
    columns, ids, notes = choose([0, 0, 0, 0], layer_ids=(1, 2, 3, 4))
    assert (columns, ids) == ([0, 1, 2], (1, 2, 3))
    assert notes == ("left out layers 4: dense, or for drafts",)


def test_numbered_layers_that_are_dense_or_missing_are_refused():
    with pytest.raises(TraceError, match="choices in layers 0, which are dense"):
        choose([0, 0, 0, 0], layer_ids=(0, 1, 2, 3))
    with pytest.raises(TraceError, match="MoE layers 1, 2 are missing"):
        choose([0], layer_ids=(3,))


def test_numbers_are_kept_without_a_model():
    columns, ids, notes = choose([0, 1, 0], layer_ids=(3, 4, 7), facts=ModelFacts())
    assert (columns, ids, notes) == ([0, 2], (3, 7), ("left out empty layers 4",))


def test_unnumbered_layers_are_counted_without_a_model():
    columns, ids, notes = choose([1, 0, 0], facts=ModelFacts())
    assert (columns, ids) == ([1, 2], (1, 2))
    assert notes[1] == "left out layers 0: empty, taken for dense"


def test_layers_that_the_user_numbers_need_no_count_of_layers():
    facts = ModelFacts(moe_layer_ids=(1, 2))
    assert choose([1, 0, 0, 1], facts=facts)[1] == (1, 2)
    with pytest.raises(TraceError, match="a: 1 layers; expected 2 MoE layers or all 3"):
        choose([0], facts=facts)
