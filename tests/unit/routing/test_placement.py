import json

import numpy as np
import pytest

from rackmoe.errors import ConfigError
from rackmoe.routing.placement import (
    Placement,
    check_ep,
    contiguous,
    load_placement,
    round_robin,
)


def test_contiguous_placement_follows_the_ids_and_repeats_the_first():
    place = contiguous(4, n_layers=2, n_ranks=3, n_redundant=2)
    assert place.slots.tolist() == [[0, 1, 2, 3, 0, 1]] * 2
    assert place.slots.dtype == np.int16
    assert place.n_replicas.tolist() == [[2, 2, 1, 1]] * 2
    assert (place.n_physical, place.n_redundant, place.slots_per_rank) == (6, 2, 2)
    assert (place.n_layers, place.ranks_per_node, place.n_nodes) == (2, 3, 1)


def test_round_robin_placement_deals_experts_like_cards():
    place = round_robin(6, n_layers=1, n_ranks=3, ranks_per_node=1)
    assert place.slots.tolist() == [[0, 3, 1, 4, 2, 5]]
    assert place.n_nodes == 3


def test_ep_that_does_not_divide_names_its_neighbors():
    text = "deployment.decode.ep: 40 does not divide 288 physical experts; nearest valid: 36, 48"
    with pytest.raises(ConfigError) as error:
        check_ep(40, n_physical=288, place="deployment.decode.ep")
    assert str(error.value) == text
    with pytest.raises(ConfigError, match=r"nearest valid: 288$"):
        check_ep(512, n_physical=288)
    with pytest.raises(ConfigError, match=r"nearest valid: 1$"):
        check_ep(0, n_physical=288)


def test_builders_refuse_an_ep_that_does_not_divide():
    for build in (contiguous, round_robin):
        with pytest.raises(ConfigError, match="5 does not divide 8 physical experts"):
            build(8, n_layers=1, n_ranks=5)


@pytest.mark.parametrize(
    ("slots", "match"),
    [
        ([[0, 1, 2, 2]], "layer 0: expert 3 has no slot"),
        ([[0, 1, 2, 4]], "expert 4 in a slot"),
        ([[0, 1, -1, 3]], "expert -1 in a slot"),
        ([[0, 1, 2, 70000]], "expert 70000 in a slot"),
        ([0, 1, 2, 3], "an array of 1 axes"),
    ],
)
def test_placement_without_all_experts_is_refused(slots, match):
    with pytest.raises(ConfigError, match=match):
        Placement.from_slots(np.array(slots), n_experts=4, n_ranks=2)


def test_placement_must_fill_whole_nodes():
    with pytest.raises(ConfigError, match="3 ranks per node do not divide 4 ranks"):
        contiguous(8, n_layers=1, n_ranks=4, ranks_per_node=3)


def test_placement_file_is_read_slot_by_slot(tmp_path):
    path = tmp_path / "place.json"
    path.write_text(json.dumps({"physical_to_logical_map": [[3, 2, 1, 0], [0, 1, 2, 3]]}))
    place = load_placement(path, n_experts=4, n_ranks=2)
    assert place.slots.tolist() == [[3, 2, 1, 0], [0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "place.json: not a placement"),
        ("{}", "physical_to_logical_map"),
        ('{"physical_to_logical_map": [[0, 1], [0]]}', "not a placement"),
        ('{"physical_to_logical_map": [[0.5, 1.5]]}', "use integers"),
        (
            '{"physical_to_logical_map": [[0, 0, 1, 2]]}',
            "place.json: placement: layer 0: expert 3",
        ),
    ],
)
def test_damaged_placement_file_is_refused(tmp_path, text, match):
    path = tmp_path / "place.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=match):
        load_placement(path, n_experts=4, n_ranks=2)


def test_missing_placement_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.json: not a placement"):
        load_placement(tmp_path / "none.json", n_experts=4, n_ranks=2)
