"""Pipelines by hand."""

import numpy as np
import pytest

from rackmoe.network.pipeline import pipeline_ends_s


def ends_of(n_batches, n_stages, *, send_s=0.0):
    """Let equal micro-batches of one second a stage enter an empty pipeline at once."""
    free_s = np.zeros(n_stages)
    for _ in range(n_batches):
        free_s = pipeline_ends_s(
            np.ones(n_stages), free_s=free_s, send_s=np.full(n_stages - 1, send_s)
        )
    return free_s


@pytest.mark.parametrize(("m", "p"), [(1, 1), (1, 4), (4, 4), (3, 5), (8, 2)])
def test_m_micro_batches_leave_p_equal_stages_after_m_plus_p_minus_1(m, p):
    assert ends_of(m, p)[-1] == m + p - 1


def test_transfers_lengthen_the_way_but_not_the_pace():
    assert ends_of(1, 4, send_s=0.25)[-1] == 4 + 3 * 0.25
    assert ends_of(5, 4, send_s=0.25)[-1] == 4 + 3 * 0.25 + 4


def test_the_slowest_stage_sets_the_pace():
    stage_s, send_s = np.array([1.0, 3.0, 1.0]), np.zeros(2)
    free_s = np.zeros(3)
    seen = []
    for _ in range(3):
        free_s = pipeline_ends_s(stage_s, free_s=free_s, send_s=send_s)
        seen.append(free_s[-1])
    assert seen == [5.0, 8.0, 11.0]
