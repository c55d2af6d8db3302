import pytest

from rackmoe.report.balance import balance_frame
from rackmoe.study.balance import BalanceRow


def row(rate, problem=""):
    return BalanceRow(
        setting="a",
        ep=8,
        n_redundant=0,
        imbalance=1.2,
        output_tokens_per_s_per_gpu=rate,
        tpot_p50_s=0.01,
        expert_weight_bytes_per_rank=1e9,
        problem=problem,
    )


def test_speedup_is_over_the_first_row():
    frame = balance_frame([row(100.0), row(150.0)])
    assert frame["speedup"].tolist() == pytest.approx([1.0, 1.5])
    assert "problem" not in frame.columns


def test_problems_are_shown_where_there_are_any():
    frame = balance_frame([row(100.0), row(float("nan"), "does not fit")])
    assert frame["problem"].tolist() == ["", "does not fit"]
