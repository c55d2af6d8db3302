"""What a measured communication time is a time of."""

from dataclasses import replace

import pytest

from rackmoe.backend.collective_files import load_collectives
from rackmoe.backend.collectives import CollectiveKey, Family, Spread
from rackmoe.errors import ConfigError
from rackmoe.hardware.profile import load_machine
from rackmoe.network.traffic import balanced_traffic
from rackmoe.study.network_cases import (
    CollectiveCase,
    ExchangeCase,
    Measurement,
    error_of,
    exchange_group,
    logical_bytes,
    predict_collective,
    predict_exchange,
    split_rows,
)

KEY = CollectiveKey(
    library="sglang-0.5.6.post2", kernel="deepep_ll", operation="dispatch", dtype="fp8"
)


def exchange_case(**changes):
    values = {
        "key": KEY,
        "family": Family.DEEPEP_LOW_LATENCY,
        "payload_dtype": "fp8_block",
        "n_ranks": 16,
        "tokens": 128,
    }
    return ExchangeCase(**(values | changes))


def measurement(*, tokens, **changes):
    case = exchange_case(tokens=tokens, **changes)
    return Measurement(row=str(tokens), hardware="hgx_h200", case=case, measured=1e-4)


def predict(case):
    machine = load_machine("hgx_h200")
    return predict_exchange(case, machine=machine, book=load_collectives("h200"))


def test_kernel_is_answered_by_its_own_constants():
    predicted_s, constants = predict(exchange_case())
    assert constants.key == KEY
    # 128 tokens x 4 remote assignments x 7,392 B over one 400 Gb/s NIC, after 21 us
    assert predicted_s == pytest.approx(102.1e-6, rel=0.05)


def test_unknown_kernel_is_answered_by_its_family():
    key = replace(KEY, library="sglang-9", kernel="deepep_ll_new")
    _, constants = predict(exchange_case(key=key))
    assert constants.family is Family.DEEPEP_LOW_LATENCY


def test_unknown_operation_of_a_kernel_is_answered_by_its_sibling():
    key = replace(KEY, operation="combine", dtype="nvfp4")
    _, constants = predict(exchange_case(key=key, payload_dtype="nvfp4"))
    assert (constants.key.library, constants.key.operation) == (KEY.library, "combine")


def test_large_rows_begin_at_128_tokens_and_at_a_megabyte():
    assert exchange_case(tokens=128).is_large
    assert not exchange_case(tokens=127).is_large
    dense = CollectiveCase(
        key=CollectiveKey(library="l", kernel="l", operation="all_reduce"), n_ranks=8, n_bytes=1e6
    )
    assert dense.is_large
    assert not replace(dense, n_bytes=999e3).is_large


def test_logical_bandwidth_counts_own_copies():
    machine = load_machine("hgx_h200")
    constants = replace(load_collectives("h200").exchanges[0], spread=Spread.EVEN)
    case = exchange_case(n_ranks=8, family=Family.DEEPEP_NORMAL, logical_parts="rank")
    group = exchange_group(case, machine=machine)
    # dealt out evenly, each token has a copy on all 8 ranks
    assert logical_bytes(case, group=group, constants=constants) == pytest.approx(128 * 8 * 7392)
    domain = replace(case, n_ranks=16, logical_parts="domain")
    two = exchange_group(domain, machine=machine)
    assert logical_bytes(domain, group=two, constants=constants) == pytest.approx(128 * 2 * 7392)


def test_logical_bandwidth_of_one_domain_counts_each_token_once():
    machine = load_machine("hgx_h200")
    constants = load_collectives("h200").exchanges[0]
    case = exchange_case(n_ranks=8, logical_parts="domain")
    group = exchange_group(case, machine=machine)
    assert balanced_traffic(1.0, group=group, spread=Spread.RANDOM).node_copies_out[0, 0] == 0
    assert logical_bytes(case, group=group, constants=constants) == 128 * 7392


def test_bandwidth_and_time_of_a_case_agree():
    time_s, _ = predict(exchange_case(n_ranks=8))
    rate, constants = predict(exchange_case(n_ranks=8, logical_parts="rank"))
    group = exchange_group(exchange_case(n_ranks=8), machine=load_machine("hgx_h200"))
    case = exchange_case(n_ranks=8, logical_parts="rank")
    assert rate * time_s == pytest.approx(logical_bytes(case, group=group, constants=constants))


def test_bus_bandwidth_and_time_of_a_collective_agree():
    machine, book = load_machine("hgx_h200"), load_collectives("h200")
    key = CollectiveKey(library="nccl-2.29.2", kernel="nccl-2.29.2", operation="all_reduce")
    case = CollectiveCase(key=key, n_ranks=8, n_bytes=1e9)
    time_s, _ = predict_collective(case, machine=machine, book=book)
    rate, _ = predict_collective(replace(case, is_bus_bandwidth=True), machine=machine, book=book)
    assert rate * time_s == pytest.approx(2 * 7 / 8 * 1e9)


def test_half_of_a_sweep_is_held_out_without_its_ends():
    rows = [measurement(tokens=2**i) for i in range(12)]
    fitted, held = split_rows(rows)
    assert len(fitted) + len(held) == 12
    assert len(held) == 5
    assert {rows[0].row, rows[-1].row} <= {row.row for row in fitted}


def test_split_depends_on_what_was_timed_only():
    rows = [measurement(tokens=2**i) for i in range(12)]
    slower = [replace(row, measured=row.measured * 2) for row in rows]
    kept = [[row.row for row in split_rows(several)[1]] for several in (rows, slower, rows[::-1])]
    assert kept[0] == kept[1] == kept[2][::-1]


def test_repeated_measurements_stay_on_one_side():
    rows = [measurement(tokens=2**i) for i in range(12) for _ in range(2)]
    fitted, held = split_rows(rows)
    assert not {row.fingerprint for row in fitted} & {row.fingerprint for row in held}


def test_sweeps_differ_in_all_but_their_size():
    assert measurement(tokens=1).sweep == measurement(tokens=2).sweep
    assert measurement(tokens=1).sweep != measurement(tokens=1, n_sms=8).sweep
    empty = Measurement(row="1", hardware="x", case=None, measured=1.0)
    assert (empty.size, empty.sweep) == (0.0, "x")


def test_error_is_relative_for_large_rows_and_absolute_for_small_ones():
    assert error_of(11e-6, measured=10e-6, is_large=True) == pytest.approx(0.1)
    assert error_of(11e-6, measured=10e-6, is_large=False) == pytest.approx(1e-6)


@pytest.mark.parametrize("measured", [0.0, -1.0, float("nan")])
def test_row_without_a_positive_number_has_no_error(measured):
    with pytest.raises(ConfigError, match="expected a positive number"):
        error_of(1.0, measured=measured, is_large=True)
