"""Whether fits find the ways that made the rows of a dense collective."""

from dataclasses import replace

import numpy as np
import pytest

from rackmoe.backend.collectives import (
    Algorithm,
    AlgorithmConstants,
    CollectiveBook,
    CollectiveConstants,
    CollectiveKey,
    FitReport,
    Knots,
)
from rackmoe.hardware.profile import load_machine
from rackmoe.study.calibration.collective_fit import fit_collective, fit_share
from rackmoe.study.network_cases import CollectiveCase, Measurement, predict_collective

KEY = CollectiveKey(library="nccl-1", kernel="nccl-1", operation="all_gather")


def way(algorithm, *, latency_s, share):
    return AlgorithmConstants(
        algorithm=algorithm,
        latency_s=Knots(sizes=(2, 8), values=latency_s),
        port_efficiency=Knots(sizes=(2, 8), values=share),
        nic_efficiency=0.91,
        ramp=1.0,
    )


TRUE = CollectiveConstants(
    key=KEY,
    algorithms=(
        way(Algorithm.RING, latency_s=(5e-6, 10e-6), share=(0.1, 0.1)),
        way(Algorithm.RING, latency_s=(15e-6, 30e-6), share=(0.6, 0.7)),
    ),
    report=FitReport(kind="fitted", file="t.csv", n_rows=0),
)
SIZES = tuple(2.0**i for i in range(9, 30))


@pytest.fixture(scope="module")
def h200():
    return load_machine("hgx_h200")


def predict(case, *, constants, machine):
    book = CollectiveBook(gpu="h200", exchanges=(), collectives=(constants,))
    return predict_collective(case, machine=machine, book=book)[0]


def rows_of(constants, *, machine, ranks=(2, 4, 8), sizes=SIZES):
    found = []
    for n_ranks in ranks:
        for n_bytes in sizes:
            case = CollectiveCase(key=constants.key, n_ranks=n_ranks, n_bytes=n_bytes)
            measured = predict(case, constants=constants, machine=machine)
            found.append(Measurement(row="1", hardware="hgx_h200", case=case, measured=measured))
    return found


def test_fit_explains_exact_rows(h200):
    rows = rows_of(TRUE, machine=h200)
    found = fit_collective(rows, key=KEY, machine=h200, file="t.csv")
    ratios = [predict(row.case, constants=found, machine=h200) / row.measured for row in rows]
    assert np.median(np.abs(np.array(ratios) - 1)) < 0.02
    assert np.abs(np.array(ratios) - 1).max() < 0.15


def test_ways_have_constants_at_the_smallest_and_largest_group(h200):
    found = fit_collective(rows_of(TRUE, machine=h200), key=KEY, machine=h200, file="t.csv")
    assert {one.latency_s.sizes for one in found.algorithms} == {(2, 8)}
    assert max(one.port_efficiency.at(8) for one in found.algorithms) == pytest.approx(
        0.7, rel=0.05
    )


def test_group_of_one_size_has_one_knot(h200):
    rows = rows_of(TRUE, machine=h200, ranks=(8,))
    found = fit_collective(rows, key=KEY, machine=h200, file="t.csv")
    assert {one.latency_s.sizes for one in found.algorithms} == {(8,)}
    ratios = [predict(row.case, constants=found, machine=h200) / row.measured for row in rows]
    assert np.median(np.abs(np.array(ratios) - 1)) < 0.03


def test_custom_all_reduce_chooses_between_one_and_two_shots(h200):
    key = CollectiveKey(library="trtllm-1", kernel="trtllm-1", operation="all_reduce")
    true = CollectiveConstants(
        key=key,
        algorithms=(
            way(Algorithm.ONE_SHOT, latency_s=(3e-6, 3e-6), share=(0.7, 0.7)),
            way(Algorithm.TWO_SHOT, latency_s=(15e-6, 20e-6), share=(0.8, 0.8)),
        ),
        report=TRUE.report,
    )
    found = fit_collective(rows_of(true, machine=h200), key=key, machine=h200, file="t.csv")
    assert [one.algorithm for one in found.algorithms] == [Algorithm.ONE_SHOT, Algorithm.TWO_SHOT]


def test_two_fits_of_the_same_rows_are_equal(h200):
    rows = rows_of(TRUE, machine=h200, ranks=(2, 8), sizes=SIZES[::3])
    two = [fit_collective(rows, key=KEY, machine=h200, file="t.csv") for _ in range(2)]
    assert two[0] == two[1]


def test_few_rows_scale_the_shares_of_a_parent(h200):
    rows = [
        replace(row, measured=row.measured / 0.8)
        for row in rows_of(TRUE, machine=h200, ranks=(8,), sizes=(1e9, 2e9))
    ]
    key = replace(KEY, library="other")
    found = fit_share(rows, key=key, parent=TRUE, machine=h200, file="t.csv")
    assert found.algorithms[1].port_efficiency.at(8) == pytest.approx(0.7 * 0.8, rel=0.02)
    assert found.algorithms[1].latency_s == TRUE.algorithms[1].latency_s
