"""Board power of a serving GPU, held against a measurement that nothing was fitted to."""

import pytest

from rackmoe.schema.shipped import shipped_folder
from rackmoe.study.validation.power import validate_power


def test_board_power_of_gpt_oss_on_one_b200_is_near_the_measured_one():
    """ML.ENERGY, leaderboard data of 2026-02-27: 699.7 W with 16 sequences.

    The activity terms are fitted on kernels, not on this row; half of the range between idle
    and limit would say nothing.
    """
    path = shipped_folder("scenarios/calibration") / "power_points.csv"
    found = validate_power(path, only="mle-b200x1-gpt-oss-120b-gpqa-b16", jobs=1)
    (point,) = found.points
    assert point.measured == pytest.approx(699.7)
    assert point.predicted == pytest.approx(point.measured, rel=0.2)
