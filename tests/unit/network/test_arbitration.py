"""What a port leaves for collectives beside foreign traffic."""

import numpy as np
import pytest

from rackmoe.network.arbitration import (
    Arbitration,
    TrafficClass,
    collective_capacity_bytes_per_s,
    has_meeting_flows,
)

PORTS = {
    "n_collective_flows": 7,
    "n_foreign_flows": np.array([0, 1, 3]),
    "foreign_bytes_per_s": np.array([0.0, 100.0, 100.0]),
}


@pytest.mark.parametrize(
    ("arbitration", "expected"),
    [
        (Arbitration.PRIORITY, [100.0, 100.0, 100.0]),
        (Arbitration.PER_FLOW, [100.0, 87.5, 70.0]),
        (Arbitration.CLASSES, [100.0, 50.0, 50.0]),
    ],
)
def test_share_follows_the_rule_of_the_port(arbitration, expected):
    result = collective_capacity_bytes_per_s(np.full(3, 100.0), arbitration=arbitration, **PORTS)
    assert result.tolist() == expected


def test_class_weights_divide_the_port():
    result = collective_capacity_bytes_per_s(
        np.full(3, 100.0), arbitration=Arbitration.CLASSES, collective_weight=3.0, **PORTS
    )
    assert result.tolist() == [100.0, 75.0, 75.0]


def test_foreign_flows_bound_elsewhere_take_only_their_rate():
    result = collective_capacity_bytes_per_s(
        np.array([100.0]),
        arbitration=Arbitration.CLASSES,
        n_collective_flows=1,
        n_foreign_flows=np.array([2]),
        foreign_bytes_per_s=np.array([10.0]),
    )
    assert result.tolist() == [90.0]


def test_collectives_come_first_in_order_of_priority():
    assert next(iter(TrafficClass)) is TrafficClass.COLLECTIVE


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([], False),
        ([(0, 5)], False),
        ([(0, 5), (1, 6)], False),
        ([(0, 5), (0, 5)], False),
        ([(0, 5), (1, 5)], True),
        ([(0, 5), (0, 6)], True),
        ([(0, 2, 5), (1, 2, 6)], True),
    ],
)
def test_flows_meet_where_they_share_a_part_of_their_path(paths, expected):
    assert has_meeting_flows(paths) is expected
