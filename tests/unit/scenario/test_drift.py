import pytest
from pydantic import ValidationError

from rackmoe.scenario.drift import Drift
from rackmoe.scenario.workload import Routing


def test_a_mix_has_a_memory_and_several_domains():
    drift = Drift.model_validate({"memory": "600 s"})
    assert (drift.memory_s, drift.domains) == (600.0, 4)
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        Drift.model_validate({"memory": "600 s", "domains": 1})


@pytest.mark.parametrize("routing", [{"uniform": True}, {"generator": "x", "source": "block"}])
def test_only_counts_that_are_drawn_in_the_run_drift(routing):
    with pytest.raises(ValidationError, match="write generator and source: sampled"):
        Routing.model_validate({**routing, "drift": {"memory": "1 s"}})
