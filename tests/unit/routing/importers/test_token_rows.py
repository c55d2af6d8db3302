import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers import token_rows
from rackmoe.routing.importers.token_rows import blocks_of, empty_layers, kept_rows


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(token_rows, "ROWS_AT_ONCE", 2)


def test_blocks_cover_all_rows():
    assert list(blocks_of(5)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert list(blocks_of(0)) == []


def test_layer_is_empty_where_no_token_chose(choices):
    ids = choices(5)
    ids[:, 0] = 0
    ids[:4, 1] = -1
    assert empty_layers(ids).tolist() == [True, False, False]
    assert empty_layers(choices(5)).tolist() == [False, False, False]


def test_rows_are_kept_where_every_moe_layer_chose(choices):
    ids = choices(6)
    ids[:, 0] = 0
    ids[1] = -1
    ids[5] = 0
    offsets = np.array([0, 3, 3, 6])
    kept, notes = kept_rows(ids, columns=np.array([1, 2]), req_offsets=offsets, place="a")
    assert kept.tolist() == [True, False, True, True, True, False]
    assert notes == [
        "left out 1 padding tokens (all -1)",
        "left out 1 last tokens, which were sampled, not forwarded",
    ]


@pytest.mark.parametrize("fill", [0, -1])
def test_row_without_choices_in_one_layer_is_refused(choices, fill):
    ids = choices(6)
    ids[5, 2] = fill
    with pytest.raises(TraceError, match="a: token 5, MoE layer 2: no experts recorded"):
        kept_rows(ids, columns=np.arange(3), req_offsets=np.array([0, 6]), place="a")
