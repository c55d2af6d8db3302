import json
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest

from rackmoe.report.plain import digest_of, json_text, to_plain
from rackmoe.schema.quantities import Kind


@dataclass(frozen=True)
class Point:
    x: float
    tags: tuple[str, ...] = ()


class Color(Enum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (float("nan"), None),
        (np.float64("inf"), None),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.True_, True),
        (Kind.ASSUMED, "assumed"),
        (Color.RED, 1),
        (PurePosixPath("a/b"), "a/b"),
        (Point(x=1.0, tags=("t",)), {"x": 1.0, "tags": ["t"]}),
        (MappingProxyType({1: (2, 3)}), {"1": [2, 3]}),
        (np.array([[1.5, np.nan]]), [[1.5, None]]),
        (frozenset({"b", "a"}), ["a", "b"]),
        (pd.DataFrame({"a": [1], "b": [np.nan]}), [{"a": 1, "b": None}]),
    ],
)
def test_values_of_results_become_plain_data(value, plain):
    found = to_plain(value)
    assert found == plain
    assert type(found) is type(plain)


def test_documents_become_mappings_with_units_in_their_keys(tiny_scenario):
    plain = to_plain(tiny_scenario.document)
    assert plain["slo"] == {"ttft_s": None, "tpot_s": 0.02, "e2e_s": None}
    assert to_plain(tiny_scenario.machine)["gpu"]["hbm_bandwidth_bytes_per_s"] == 4.8e12


def test_value_that_results_do_not_hold_is_refused():
    with pytest.raises(TypeError, match="object: cannot be written to a result"):
        to_plain({"a": object()})


def test_json_is_sorted_ends_in_a_newline_and_keeps_every_float():
    text = json_text({"b": 0.1 + 0.2, "a": float("nan")})
    assert text == '{\n "a": null,\n "b": 0.30000000000000004\n}\n'
    assert json.loads(text)["b"] == 0.1 + 0.2
    assert list(json.loads(json_text({"b": 1, "a": 2}, is_sorted=False))) == ["b", "a"]


def test_digest_depends_on_values_and_not_on_their_order():
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
    assert len(digest_of({})) == 64
