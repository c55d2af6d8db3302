from types import SimpleNamespace

from rackmoe.study.network_groups import (
    CALIBRATION_FILES,
    MIN_SCALED,
    fitted_rows,
    row_groups,
    split_group,
)


def test_roles_of_the_shipped_rows_are_known():
    assert set(fitted_rows().values()) == {"fitted", "held out"}
    assert len(CALIBRATION_FILES) == 4


def test_the_rows_of_a_group_come_from_one_machine():
    for group in row_groups():
        assert {row.hardware for row in group.rows} == {group.profile}


def test_a_small_group_is_fitted_whole():
    group = SimpleNamespace(rows=("a",) * MIN_SCALED)
    assert split_group(group) == (["a"] * MIN_SCALED, [])
