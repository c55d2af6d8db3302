import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.exporters.tensorrt_llm import read_balancer, write_balancer
from rackmoe.routing.placement import Placement

TEXT = """\
num_slots: 4
layer_updates_per_iter: 2
initial_global_assignments:
  3: [2, 1, 0, 2]
  10: [0, 0, 1, 2]
"""


def test_file_is_what_the_engine_writes_itself(tmp_path):
    placement = Placement.from_slots(
        np.array([[2, 1, 0, 2], [0, 0, 1, 2]]), n_experts=3, n_ranks=2
    )
    path = tmp_path / "moe_load_balancer.yaml"
    write_balancer(placement, path=path, moe_layer_ids=(3, 10), layer_updates_per_iter=2)
    assert path.read_text() == TEXT
    ids, slots = read_balancer(path)
    assert ids == (3, 10)
    np.testing.assert_array_equal(slots, placement.slots)


def test_layout_of_the_engine_itself_is_read(tmp_path):
    # yaml.dump sorts the keys and may break lists into lines
    path = tmp_path / "a.yaml"
    path.write_text(
        "initial_global_assignments:\n  10: [0, 0,\n    1, 2]\n  3:\n  - 2\n  - 1\n  - 0\n  - 2\n"
        "layer_updates_per_iter: 0\nnum_slots: 4\n"
    )
    ids, slots = read_balancer(path)
    assert (ids, slots.tolist()) == ((3, 10), [[2, 1, 0, 2], [0, 0, 1, 2]])


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("num_slots: 4", "num_slots: 5", r"shape \(2, 4\); expected 2 layers of num_slots 5"),
        ("num_slots: 4\n", "", "expected a record with 'num_slots'"),
        ("[2, 1, 0, 2]", "[2, 1, 0]", "neither integers nor in equal rows"),
        ("[2, 1, 0, 2]", "[2, 1, 0, x]", "neither integers"),
        ("  10:", "  ten:", "no layers; expected their numbers"),
        ("  10:", "  3:", "duplicate key '3'"),
        ("  10: [", "  10: &a [", "expected a load-balancer file"),
        ("initial_global_assignments", "assignments", "expected a record with 'initial_global"),
    ],
)
def test_other_files_are_refused(tmp_path, old, new, problem):
    path = tmp_path / "a.yaml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(TraceError, match=problem):
        read_balancer(path)


def test_large_file_is_refused(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(TEXT + "#" * (1 << 20))
    with pytest.raises(TraceError, match="expected at most 1048576"):
        read_balancer(path)
