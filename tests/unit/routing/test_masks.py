from dataclasses import fields

import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.masks import compile_masks, mask_bytes
from rackmoe.routing.placement import contiguous
from rackmoe.routing.replicas import build_replica_table
from rackmoe.routing.tally import Tally, count_rows, count_rows_plain


@pytest.mark.parametrize(
    ("n_experts", "n_ranks", "per_node", "n_redundant"),
    [
        (256, 72, 72, 32),  # four bits for each rank
        (256, 72, 8, 32),
        (256, 32, 8, 32),  # nine bits, seven ranks in a word
        (32, 32, 4, 0),  # one bit
        (128, 2, 2, 0),  # a word for each rank
        (256, 2, 1, 0),  # two words
        (32, 1, 1, 0),
        (160, 2, 2, 2),  # 81 slots in two words
    ],
)
def test_masks_count_as_token_by_token(
    make_placement, make_routed, make_rng, n_experts, n_ranks, per_node, n_redundant
):
    place = make_placement(
        n_layers=3,
        n_experts=n_experts,
        n_ranks=n_ranks,
        n_redundant=n_redundant,
        ranks_per_node=per_node,
    )
    routed = make_routed(n_tokens=90, n_layers=3, n_experts=n_experts, top_k=8)
    table = build_replica_table(place)
    masked = compile_masks(routed, placement=place, table=table)
    for n_rows in (0, 1, 61, 400):
        rows = make_rng(1).integers(0, 90, n_rows)
        row_rank = make_rng(2).integers(0, n_ranks, n_rows).astype(np.int32)
        fast, slow = Tally.zeros(place), Tally.zeros(place)
        masked.count(fast, rows=rows, row_rank=row_rank)
        count_rows(
            routed,
            tally=slow,
            placement=place,
            table=table,
            choice="random",
            rows=rows,
            row_rank=row_rank,
        )
        for field in fields(Tally):
            assert (getattr(fast, field.name) == getattr(slow, field.name)).all(), field.name


def test_masks_count_as_plain_numpy(make_placement, make_routed):
    place = make_placement(n_layers=2, n_experts=32, n_ranks=6, n_redundant=4, ranks_per_node=3)
    routed = make_routed(n_tokens=30, n_layers=2, n_experts=32, top_k=4)
    table = build_replica_table(place)
    rows, row_rank = np.arange(30), (np.arange(30) % 6).astype(np.int32)
    tally = Tally.zeros(place)
    compile_masks(routed, placement=place, table=table).count(tally, rows=rows, row_rank=row_rank)
    twin = count_rows_plain(routed, placement=place, table=table, rows=rows, row_rank=row_rank)
    for field in fields(Tally):
        assert (getattr(tally, field.name) == getattr(twin, field.name)).all(), field.name


def test_memory_of_masks_is_known_beforehand(make_placement, make_routed):
    for per_node in (72, 8):
        place = make_placement(
            n_layers=2, n_experts=256, n_ranks=72, n_redundant=32, ranks_per_node=per_node
        )
        routed = make_routed(n_tokens=5, n_layers=2, n_experts=256, top_k=8)
        masked = compile_masks(routed, placement=place, table=build_replica_table(place))
        held = masked.masks.nbytes + masked.n_destinations.nbytes
        held += masked.node_bits.nbytes if per_node == 8 else 0
        assert mask_bytes(place, n_rows=5) == held


def test_token_that_names_an_expert_twice_is_refused():
    place = contiguous(8, n_layers=1, n_ranks=2)
    routed = np.array([[[1, 2]], [[3, 3]]], np.uint8)
    with pytest.raises(TraceError, match=r"1 \(token, layer\) pairs name an expert twice"):
        compile_masks(routed, placement=place, table=build_replica_table(place))
