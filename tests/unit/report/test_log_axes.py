import numpy as np
import pytest

from rackmoe.report.log_axes import draw_diagonal
from rackmoe.report.theme import Drawing


@pytest.mark.parametrize(
    ("values", "labels"),
    [([10.0, 60.0], {"10", "20", "50"}), ([1e-3, 1e4], {"1", "100"})],
)
def test_axes_are_equal_and_say_plain_numbers(values, labels):
    axis = Drawing().subplots()
    low, high = draw_diagonal(axis, values=np.array(values))
    assert (low, high) == pytest.approx((min(values) / 1.5, max(values) * 1.5))
    assert axis.get_xlim() == axis.get_ylim() == (low, high)
    assert axis.get_xscale() == axis.get_yscale() == "log"
    shown = {axis.xaxis.get_major_formatter()(tick) for tick in axis.get_xticks()}
    assert labels <= shown
