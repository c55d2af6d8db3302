import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.values import field_of, integer_array, is_count


def test_equal_rows_of_integers_become_an_array():
    assert integer_array([[1, 2], [3, 4]], place="a", n_axes=2).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "value", [[[1], [2, 3]], [[1.5]], [["a"]], [[True]], [[None]], [[2**70]], [1], 1, [[[1]]], {}]
)
def test_other_values_are_refused(value):
    with pytest.raises(TraceError, match=r"a: .*; expected integers in lists of depth 2"):
        integer_array(value, place="a", n_axes=2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, True), (7, True), (-1, False), (True, False), (1.0, False), (2**48 + 1, False)],
)
def test_counts_are_integers_from_zero(value, expected):
    assert is_count(value) is expected


def test_field_is_returned_or_the_keys_are_named():
    assert field_of({"a": 1}, name="a", place="x") == 1
    with pytest.raises(TraceError, match="x: a, b; expected a record with 'c'"):
        field_of({"b": 1, "a": 2}, name="c", place="x")
    with pytest.raises(TraceError, match="x: list; expected a record with 'c'"):
        field_of([1], name="c", place="x")
