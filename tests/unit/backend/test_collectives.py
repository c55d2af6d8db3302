"""What the constants of communication libraries say for a group of any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.backend.collectives import Knots
from rackmoe.errors import ConfigError

KNOTS = Knots(sizes=(1, 4, 16), values=(10.0, 40.0, 20.0))


def test_constant_is_exact_at_its_sizes():
    assert [KNOTS.at(size) for size in (1, 4, 16)] == pytest.approx([10.0, 40.0, 20.0])


def test_constant_is_a_power_law_between_its_sizes():
    assert KNOTS.at(2) == pytest.approx(20.0)
    assert KNOTS.at(8) == pytest.approx(800.0**0.5)


def test_constant_keeps_its_value_outside_its_sizes():
    assert KNOTS.at(0.5) == 10.0
    assert KNOTS.at(64) == 20.0


def test_start_up_time_grows_with_the_depth_of_a_tree_beyond_its_sizes():
    # 16 nodes: log2(32) = 5 levels; 128 nodes: 8 levels
    assert KNOTS.at_or_beyond(128) == pytest.approx(20.0 * 8 / 5)
    assert KNOTS.at_or_beyond(4) == KNOTS.at(4)


@given(st.floats(1, 100))
def test_constant_stays_between_its_extremes(size):
    assert 10.0 <= KNOTS.at(size) <= 40.0 * (1 + 1e-12)


@pytest.mark.parametrize(
    ("sizes", "values", "words"),
    [
        ((1, 2), (1.0,), "one value for each size"),
        ((), (), "one value for each size"),
        ((2, 1), (1.0, 1.0), "growing sizes"),
        ((1, 1), (1.0, 1.0), "growing sizes"),
        ((1,), (0.0,), "positive values"),
    ],
)
def test_knots_refuse_what_is_no_function(sizes, values, words):
    with pytest.raises(ConfigError, match=words):
        Knots(sizes=sizes, values=values)
