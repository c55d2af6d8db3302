import numpy as np

from rackmoe.engine.expert_counts import ExpertCounts
from rackmoe.records import Records
from rackmoe.routing.placement import Placement


def placed(*slots):
    return Placement.from_slots(np.array(slots), n_experts=2, n_ranks=2)


def frame_of(counts):
    records = Records()
    counts.write(records.experts)
    return records.to_frame("experts")


def test_slots_share_what_their_expert_computed():
    counts = ExpertCounts(placed([0, 1, 0, 1]), layer_ids=(3,))
    counts.add(np.array([[5, 2]], np.int32))
    counts.add(np.array([[1, 2]], np.int32))
    frame = frame_of(counts)
    assert frame["layer"].tolist() == [3] * 4
    assert frame["n_assignments"].tolist() == [3, 2, 3, 2]
    assert frame["rank"].tolist() == [0, 0, 1, 1]


def test_a_slot_has_a_row_for_each_expert_that_it_held():
    counts = ExpertCounts(placed([0, 1], [0, 1]), layer_ids=(1, 2))
    counts.add(np.array([[5, 2], [4, 3]], np.int32))
    counts.place(placed([1, 0], [0, 1]))
    counts.add(np.array([[10, 1], [1, 1]], np.int32))
    counts.place(placed([0, 1], [0, 1]))
    counts.add(np.array([[2, 2], [0, 0]], np.int32))
    frame = frame_of(counts).sort_values(["layer", "physical_expert", "logical_expert"])
    columns = ["layer", "physical_expert", "logical_expert", "n_assignments"]
    assert frame[columns].to_numpy().tolist() == [
        [1, 0, 0, 7],
        [1, 0, 1, 1],
        [1, 1, 0, 10],
        [1, 1, 1, 4],
        [2, 0, 0, 5],
        [2, 1, 1, 4],
    ]
    assert counts.total.tolist() == [[17, 5], [5, 4]]
