"""What a scenario may say about faults and the way a run is computed."""

import pytest
from pydantic import ValidationError

from rackmoe.scenario.simulation import Fault, Simulation


def test_a_fault_at_a_time_keeps_its_place():
    fault = Fault.model_validate({"kind": "gpu", "at": "2 ms", "for": "1 s", "where": 3})
    assert (fault.at_s, fault.for_s, fault.where) == (0.002, 1.0, 3)


def test_a_random_fault_needs_its_kind_only():
    fault = Fault(kind="nic", rate_scale=1e6)
    assert (fault.at_s, fault.where, fault.for_s) == (None, None, None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "gpu", "at_s": 1.0}, "'at' without 'where'"),
        ({"kind": "gpu", "where": 1}, "'where' without 'at'"),
        ({"kind": "gpu", "at_s": 1.0, "where": 1, "rate_scale": 2.0}, "random faults only"),
        ({"kind": "gpu", "at_s": 1.0, "where": 1, "for_s": 0.0}, "for: 0; a fault lasts"),
        ({"kind": "plane"}, "no rate of 'plane' is known"),
        ({"kind": "slow_link", "at_s": 1.0, "where": 1, "factor": 0.0}, "factor: 0; a slow link"),
        ({"kind": "gpu", "at_s": 1.0, "where": -1}, "greater than or equal to 0"),
        ({"kind": "gpu", "rate_scale": 0.0}, "greater than 0"),
        ({"kind": "meteor"}, "Input should be"),
    ],
)
def test_a_fault_that_says_too_little_or_too_much_is_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        Fault(**values)


def test_a_run_has_no_faults_and_no_audit_unless_it_says_so():
    plain = Simulation()
    assert (plain.fidelity, plain.audit, plain.kv_path, plain.faults) == ("auto", 0, None, ())


@pytest.mark.parametrize("values", [{"audit": -1}, {"fidelity": "exact"}, {"kv_path": "mail"}])
def test_a_way_to_compute_that_is_not_there_is_refused(values):
    with pytest.raises(ValidationError):
        Simulation(**values)
