"""What a machine derives from its own fields."""

import dataclasses
import pickle

import pytest

from rackmoe.hardware.profile import load_machine


def test_links_and_chips_follow_from_the_list_of_links():
    scale_up = load_machine("hgx_h200").scale_up
    assert scale_up.links_to_chips == (5, 4, 4, 5)
    assert (scale_up.links_per_gpu, scale_up.n_switch_chips) == (18, 4)


def test_one_way_latency_is_two_links_and_a_switch():
    # 330 + 200 + 330 ns, half of the 1,727 ns measured for a round trip, to 1 %
    latency_s = load_machine("gb200_nvl72").scale_up.latency_s
    assert latency_s == pytest.approx(860e-9, rel=1e-12)
    assert latency_s == pytest.approx(1727e-9 / 2, rel=0.01)


@pytest.mark.parametrize(("name", "nodes"), [("gb200_nvl72", 18), ("hgx_h200", 1)])
def test_a_domain_has_its_nodes(name, nodes):
    assert load_machine(name).nodes_per_domain == nodes


def test_no_part_of_a_machine_has_more_than_twelve_fields():
    machine = load_machine("hgx_h200")
    parts = [machine, machine.power.gpu, machine.power.facility]
    parts += [
        getattr(machine, field.name)
        for field in dataclasses.fields(machine)
        if dataclasses.is_dataclass(getattr(machine, field.name))
    ]
    assert len(parts) == 10
    assert all(len(dataclasses.fields(part)) <= 12 for part in parts)


def test_a_machine_is_frozen_and_travels_to_other_processes():
    machine = load_machine("hgx_h200")
    with pytest.raises(dataclasses.FrozenInstanceError):
        machine.name = "other"
    assert pickle.loads(pickle.dumps(machine)) == machine  # noqa: S301  # our own bytes
