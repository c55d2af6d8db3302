import pytest
from pydantic import ValidationError

from rackmoe.scenario.rebalance import Rebalance


def test_an_interval_is_in_steps_or_in_time():
    assert Rebalance.model_validate({"every_steps": 3000}).every_s is None
    assert Rebalance.model_validate({"every": "10 s"}).every_s == 10.0


@pytest.mark.parametrize("given", [{}, {"every_steps": 3, "every": "1 s"}])
def test_an_interval_is_given_once(given):
    with pytest.raises(ValidationError, match="write exactly one of every_steps, every"):
        Rebalance.model_validate(given)


def test_an_interval_of_no_time_is_refused():
    with pytest.raises(ValidationError, match="every: 0; expected a time between rebalances"):
        Rebalance.model_validate({"every": "0 s"})
