import math

import pytest

from rackmoe.report.validation import excluded_frame
from rackmoe.study.validation.kernels import KernelPoint


def point(predicted_s, *, excluded=True, reason="measures more"):
    return KernelPoint(
        row=1,
        operator="gemm",
        source="engine",
        kernel="k",
        dtype="bf16",
        phase="decode",
        answered=predicted_s is not None,
        measured_s=1e-5,
        predicted_s=predicted_s,
        excluded=excluded,
        held_out=False,
        reason=reason,
    )


def test_rows_left_out_are_counted_with_their_error():
    points = [point(1.2e-5), point(1.4e-5), point(9e-5, excluded=False, reason="")]
    (row,) = excluded_frame(points).to_dict("records")
    assert (row["reason"], row["n_rows"]) == ("measures more", 2)
    assert row["error_median"] == pytest.approx(0.3, rel=1e-9)


def test_row_without_an_answer_has_no_error():
    (row,) = excluded_frame([point(None)]).to_dict("records")
    assert math.isnan(row["error_median"])


def test_nothing_left_out_is_an_empty_table():
    assert excluded_frame([]).empty
