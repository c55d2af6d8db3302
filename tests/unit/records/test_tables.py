"""Tables of records: rows in, typed columns and labels out."""

import numpy as np
import pytest

from rackmoe.errors import InvariantError, ShapeError
from rackmoe.records.columns import (
    EXPERT_COLUMNS,
    REQUEST_COLUMNS,
    STEP_COLUMNS,
    TABLES,
    Pool,
)
from rackmoe.records.tables import Records, Table


def test_rows_come_back_as_typed_columns() -> None:
    table = Table(EXPERT_COLUMNS)
    table.append_row((3, 17, 9, 2, 640))
    table.append_row((4, 18, 9, 3, 2**53))
    arrays = table.to_arrays()
    assert list(arrays) == [column.name for column in EXPERT_COLUMNS]
    assert arrays["n_assignments"].dtype == np.int64
    assert arrays["n_assignments"].tolist() == [640, 2**53]
    assert arrays["layer"].tolist() == [3, 4]
    assert len(table) == 2


def test_columns_and_rows_append_to_the_same_table() -> None:
    table = Table(EXPERT_COLUMNS)
    table.append_row((0, 0, 0, 0, 1))
    names = [column.name for column in EXPERT_COLUMNS]
    table.append_columns(dict.fromkeys(names, 7) | {"n_assignments": np.array([5, 6])})
    assert table.to_frame()["n_assignments"].tolist() == [1, 5, 6]
    assert table.to_frame()["layer"].tolist() == [0, 7, 7]


def test_columns_of_unequal_length_are_refused() -> None:
    table = Table(EXPERT_COLUMNS)
    names = [column.name for column in EXPERT_COLUMNS]
    columns = {name: [1, 2] for name in names} | {"rank": [1, 2, 3]}
    with pytest.raises(ShapeError, match=r"expected arrays of one length"):
        table.append_columns(columns)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ShapeError, match=r"logical_expert: column missing or unknown"):
        Table(EXPERT_COLUMNS).append_columns(
            {"layer": 1, "physical_expert": 1, "rank": 1, "n_assignments": 1}
        )


def test_a_row_of_the_wrong_width_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"2 values; expected 5: layer, physical_expert"):
        Table(EXPERT_COLUMNS).append_row((1, 2))


def test_codes_become_labels() -> None:
    records = Records()
    row = dict.fromkeys((column.name for column in STEP_COLUMNS), 0.0) | {"pool": Pool.DECODE}
    records.steps.append_row(tuple(row.values()))
    assert records.to_frame("steps")["pool"].tolist() == ["decode"]


def test_a_code_without_a_label_is_a_bug() -> None:
    table = Table(REQUEST_COLUMNS)
    row = dict.fromkeys((column.name for column in REQUEST_COLUMNS), 0) | {"state": 9}
    table.append_row(tuple(row.values()))
    with pytest.raises(InvariantError, match=r"state at row 0: 9.0; expected a code below 4"):
        table.to_arrays()


def test_a_broken_count_is_a_bug() -> None:
    table = Table(EXPERT_COLUMNS)
    table.append_row((0, 0, 0, 0, float("nan")))
    with pytest.raises(InvariantError, match=r"n_assignments at row 0: nan; expected a whole"):
        table.to_arrays()


def test_empty_tables_keep_their_columns() -> None:
    records = Records()
    for name, columns in TABLES.items():
        frame = records.to_frame(name)
        assert frame.shape == (0, len(columns))
        assert list(frame) == [column.name for column in columns]


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(KeyError, match=r"expected one of requests, steps"):
        Records().to_frame("request")
