"""The columns that a run writes agree with each other."""

from rackmoe.records.columns import BREAKDOWN_COLUMNS, REQUEST_COLUMNS, STEP_COLUMNS, TABLES, State

UNIT_OF_SUFFIX = {"_bytes_per_s": "B/s", "_s": "s", "_bytes": "B", "_w": "W", "_j": "J"}


def test_the_breakdown_belongs_to_the_steps() -> None:
    assert set(BREAKDOWN_COLUMNS) < {column.name for column in STEP_COLUMNS}
    assert len(BREAKDOWN_COLUMNS) == 10


def test_units_agree_with_the_suffix_of_the_name() -> None:
    for columns in TABLES.values():
        for column in columns:
            suffixes = [suffix for suffix in UNIT_OF_SUFFIX if column.name.endswith(suffix)]
            expected = UNIT_OF_SUFFIX[suffixes[0]] if suffixes else {"1", "FLOP"}
            assert column.unit in expected, column.name


def test_state_codes_match_their_labels() -> None:
    labels = next(column for column in REQUEST_COLUMNS if column.name == "state").labels
    assert labels[State.DONE] == "done"
    assert labels[State.REJECTED] == "rejected"
