"""How the constants of communication libraries are read."""

import pytest

from rackmoe.backend.collective_files import (
    COLLECTIVES_FOLDER,
    CollectivesDocument,
    load_collectives,
)
from rackmoe.backend.collectives import Algorithm, Family
from rackmoe.errors import ConfigError
from rackmoe.schema.documents import parse_document
from rackmoe.schema.shipped import shipped_names

TEXT = """
schema: rackmoe/collectives/1
name: h200
date: "2026-11-21"
lends_to: [h100]
exchanges:
  - library: "lib-1"
    kernel: "low"
    operation: dispatch
    dtype: "fp8"
    family: deepep_low_latency
    spread: random
    payload_dtype: fp8_block
    nodes: [1, 2]
    latency: [10 us, 20 us]
    port_efficiency: [0.5, 0.5]
    nic_efficiency: 0.9
    token_time: 10 ns
    sm_bandwidth: [15 GB/s, 12 GB/s]
    sms: 24
    ramp: 1
    error: {rows: 20, held_out: 10, median: 0.02, p90: 0.05, small: 1 us}
    file: {value: "table.csv", kind: fitted, source: source-1}
collectives:
  - library: "nccl"
    kernel: "nccl"
    operation: all_reduce
    algorithms:
      - algorithm: ring
        ranks: [8]
        latency: [16 us]
        port_efficiency: [0.8]
        nic_efficiency: 0.9
        ramp: 1.5
    error: {rows: 20}
    file: {value: "table.csv", kind: derived, source: source-1}
sources:
  source-1: a table
"""


def parse(text):
    return parse_document(text, model=CollectivesDocument, place="h200.yaml")


def test_quantities_are_read_into_base_units():
    constants = parse(TEXT).exchanges[0].constants()
    assert constants.latency_s.values == pytest.approx((10e-6, 20e-6))
    assert constants.latency_s.sizes == (1, 2)
    assert constants.token_time_s == pytest.approx(10e-9)
    assert constants.sm_bandwidth_bytes_per_s.at(2) == pytest.approx(12e9)
    assert constants.family is Family.DEEPEP_LOW_LATENCY
    assert constants.report.median_error_s == pytest.approx(1e-6)


def test_algorithms_of_a_collective_are_read_in_order():
    constants = parse(TEXT).collectives[0].constants()
    assert [way.algorithm for way in constants.algorithms] == [Algorithm.RING]
    assert constants.algorithms[0].ramp == 1.5
    assert constants.report.kind == "derived"
    assert constants.key.dtype == ""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("latency: [10 us, 20 us]", "latency: [10 us]", "one value for each size"),
        ("port_efficiency: [0.5, 0.5]", "port_efficiency: [0.5, 1.5]", "1.5"),
        ("family: deepep_low_latency", "family: deepep_fast", "deepep_fast"),
        ("kind: derived, source: source-1", "kind: derived, source: source-2", "not in sources"),
        ("latency: [16 us]", "latency: [16]", "unit"),
    ],
)
def test_damaged_file_is_refused_with_its_place(old, new, words):
    with pytest.raises(ConfigError, match=rf"h200\.yaml.*{words}"):
        parse(TEXT.replace(old, new))


@pytest.mark.parametrize(
    "name", ["gb200", "gb300", "b200", "b300", "h200", "h100", "h800", "rubin"]
)
def test_every_gpu_has_constants(name):
    book = load_collectives(name)
    assert book.gpu == name
    assert book.exchanges
    assert book.collectives


def test_borrowed_constants_are_called_assumed():
    kinds = {one.report.kind for one in load_collectives("rubin").exchanges}
    assert kinds == {"assumed"}
    own = [one for one in load_collectives("h100").exchanges if one.report.kind == "fitted"]
    assert own
    assert load_collectives("h100").exchanges.index(own[-1]) == len(own) - 1


def test_unknown_gpu_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"mi300: no communication constants.*gb200"):
        load_collectives("mi300")


def test_shipped_files_are_named_after_their_gpus():
    assert set(shipped_names(COLLECTIVES_FOLDER)) == {"b200", "gb200", "h100", "h200", "h800"}
