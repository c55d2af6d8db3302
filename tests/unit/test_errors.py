import pytest

from rackmoe import errors


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_a_rackmoe_error(name):
    assert issubclass(getattr(errors, name), errors.RackmoeError)


@pytest.mark.parametrize("name", ["ConfigError", "UnitError", "ShapeError"])
def test_wrong_input_is_also_a_value_error(name):
    assert issubclass(getattr(errors, name), ValueError)


def test_config_error_keeps_its_problems_apart():
    error = errors.ConfigError("a.yaml:1:2: first", "a.yaml:3:4: second")
    assert error.problems == ("a.yaml:1:2: first", "a.yaml:3:4: second")
    assert str(error) == "a.yaml:1:2: first\na.yaml:3:4: second"
