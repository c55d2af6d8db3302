"""Whether fits find the constants that made the rows."""

from dataclasses import replace

import numpy as np
import pytest

from rackmoe.backend.collectives import (
    CollectiveBook,
    CollectiveKey,
    ExchangeConstants,
    Family,
    FitReport,
    Knots,
    Spread,
)
from rackmoe.hardware.profile import load_machine
from rackmoe.study.calibration.exchange_fit import (
    fit_efficiencies,
    fit_exchange,
    scaled_residuals,
)
from rackmoe.study.network_cases import ExchangeCase, Measurement, predict_exchange

KEY = CollectiveKey(library="lib", kernel="deepep_ll", operation="dispatch", dtype="fp8")
TRUE = ExchangeConstants(
    key=KEY,
    family=Family.DEEPEP_LOW_LATENCY,
    spread=Spread.RANDOM,
    payload_dtype="fp8_block",
    latency_s=Knots(sizes=(1, 2, 8), values=(14e-6, 20e-6, 27e-6)),
    port_efficiency=Knots(sizes=(1, 2, 8), values=(0.6, 0.6, 0.6)),
    nic_efficiency=0.93,
    token_time_s=1e-8,
    sm_bandwidth_bytes_per_s=None,
    n_sms=0,
    ramp=1.0,
    report=FitReport(kind="fitted", file="t.csv", n_rows=0),
)


@pytest.fixture(scope="module")
def h200():
    return load_machine("hgx_h200")


def predict(case, *, constants, machine):
    book = CollectiveBook(gpu="h200", exchanges=(constants,), collectives=())
    return predict_exchange(case, machine=machine, book=book)[0]


def rows_of(constants, *, machine, sizes, ranks, sms=(None,)):
    found = []
    for n_ranks in ranks:
        for n_sms in sms:
            for tokens in sizes:
                case = ExchangeCase(
                    key=constants.key,
                    family=constants.family,
                    payload_dtype=constants.payload_dtype,
                    n_ranks=n_ranks,
                    tokens=tokens,
                    n_sms=n_sms,
                )
                measured = predict(case, constants=constants, machine=machine)
                found.append(
                    Measurement(row="1", hardware="hgx_h200", case=case, measured=measured)
                )
    return found


SIZES = tuple(2**i for i in range(12))


def test_fit_finds_the_constants_of_exact_rows(h200):
    rows = rows_of(TRUE, machine=h200, sizes=SIZES, ranks=(8, 16, 64))
    found = fit_exchange(rows, key=KEY, spread=Spread.RANDOM, machine=h200, file="t.csv")
    assert found.latency_s.values == pytest.approx(TRUE.latency_s.values, rel=0.03)
    assert found.nic_efficiency == pytest.approx(0.93, rel=0.02)
    assert found.port_efficiency.values[0] == pytest.approx(0.6, rel=0.02)
    assert found.report.n_rows == len(rows)


def test_fit_predicts_its_rows_through_the_law(h200):
    rows = rows_of(TRUE, machine=h200, sizes=SIZES, ranks=(8, 16, 64))
    found = fit_exchange(rows, key=KEY, spread=Spread.RANDOM, machine=h200, file="t.csv")
    ratios = [predict(row.case, constants=found, machine=h200) / row.measured for row in rows]
    assert ratios == pytest.approx(np.ones(len(rows)), rel=0.02)


def test_fit_finds_how_much_an_sm_sends(h200):
    sms = replace(
        TRUE,
        key=replace(KEY, kernel="deepep_normal"),
        family=Family.DEEPEP_NORMAL,
        latency_s=Knots(sizes=(1,), values=(25e-6,)),
        port_efficiency=Knots(sizes=(1,), values=(0.7,)),
        sm_bandwidth_bytes_per_s=Knots(sizes=(1,), values=(15e9,)),
        n_sms=24,
    )
    rows = rows_of(sms, machine=h200, sizes=SIZES, ranks=(8,), sms=(8, 16, 24))
    found = fit_exchange(rows, key=sms.key, spread=Spread.RANDOM, machine=h200, file="t.csv")
    assert found.sm_bandwidth_bytes_per_s.values[0] == pytest.approx(15e9, rel=0.05)
    assert found.n_sms == 24


def test_thin_rows_get_the_ends_of_a_power_law_only(h200):
    rows = rows_of(TRUE, machine=h200, sizes=SIZES[::3], ranks=(8, 16, 64))
    found = fit_exchange(rows, key=KEY, spread=Spread.RANDOM, machine=h200, file="t.csv")
    assert found.latency_s.sizes == (1, 8)


def test_one_wrong_row_does_not_move_the_fit(h200):
    rows = rows_of(TRUE, machine=h200, sizes=SIZES, ranks=(8, 16, 64))
    rows[20] = replace(rows[20], measured=rows[20].measured * 5)
    found = fit_exchange(rows, key=KEY, spread=Spread.RANDOM, machine=h200, file="t.csv")
    assert found.nic_efficiency == pytest.approx(0.93, rel=0.03)


def test_few_rows_scale_the_efficiencies_of_a_parent(h200):
    slow = replace(TRUE, nic_efficiency=0.4)
    rows = rows_of(slow, machine=h200, sizes=(128, 256), ranks=(16, 64))
    key = replace(KEY, library="cloud")
    found = fit_efficiencies(rows, key=key, parent=TRUE, machine=h200, file="t.csv")
    assert found.key == key
    assert found.latency_s == TRUE.latency_s
    assert found.nic_efficiency == pytest.approx(0.4, rel=0.05)


def test_residual_of_one_is_the_allowed_error():
    found = scaled_residuals(
        np.array([1.083e-3, 15e-6, 216e-6]),
        measured_s=np.array([1e-3, 10e-6, 200e-6]),
        is_large=np.array([True, False, False]),
    )
    assert found == pytest.approx([1.0, 1.0, 1.0], rel=0.01)
