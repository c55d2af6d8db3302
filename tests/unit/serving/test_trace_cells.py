import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.serving.trace_cells import TraceCells, raise_problems


def cells(*times: object, inputs: tuple[object, ...] = (1,)) -> TraceCells:
    return TraceCells(
        place="trace.csv", first_line=2, names=("time", "in", "out"), cells=(times, inputs, inputs)
    )


def test_numbers_come_from_text_and_from_json() -> None:
    assert cells("1.5", 2, 3.0).numbers(0).tolist() == [1.5, 2, 3]


@pytest.mark.parametrize("cell", ["", "ten", None, True, [1], {}, 10**400])
def test_what_is_not_a_number_is_named_with_its_line(cell: object) -> None:
    with pytest.raises(TraceError, match=r"^trace.csv:3: time: .*; expected a number; repair"):
        cells(0, cell).numbers(0)


@pytest.mark.parametrize("cell", ["nan", float("nan"), "inf", -1, "-0.5"])
def test_times_are_finite_and_not_negative(cell: object) -> None:
    with pytest.raises(TraceError, match=r"trace.csv:2: time: .*; expected a finite time of 0"):
        cells(cell).instants()


@pytest.mark.parametrize("cell", [0, "0", -4, "2.5", "nan", 1e12, "inf"])
def test_token_counts_are_whole_and_positive(cell: object) -> None:
    with pytest.raises(TraceError, match=r"trace.csv:2: out: .*; expected a whole number of tok"):
        cells(0, inputs=(cell,)).tokens(2)


def test_token_counts_are_integers() -> None:
    tokens = cells(0, inputs=("12", 3, 4.0)).tokens(1)
    assert tokens.dtype == np.int64
    assert tokens.tolist() == [12, 3, 4]


def test_arrivals_start_at_zero() -> None:
    assert cells(5, 5, 8).arrivals_s(np.array([5.0, 5.0, 8.0])).tolist() == [0, 0, 3]


def test_rows_out_of_order_are_named() -> None:
    with pytest.raises(TraceError, match=r"trace.csv:4: time: 4; expected at least 5, the time"):
        cells(1, 5, 4).arrivals_s(np.array([1.0, 5.0, 4.0]))


def test_many_problems_are_cut_at_ten() -> None:
    with pytest.raises(TraceError) as error:
        raise_problems(str(number) for number in range(1000))
    assert str(error.value).splitlines() == [str(number) for number in range(10)]


def test_no_problem_is_no_error() -> None:
    raise_problems([])
