import numpy as np

from rackmoe.serving.trace_cells import TraceCells
from rackmoe.serving.trace_columns import number_blocks, number_names


def test_names_are_numbered_as_they_appear() -> None:
    codes, names = number_names(["b", None, "a", "b", 7])
    assert codes.tolist() == [0, -1, 1, 0, 2]
    assert names == ("b", "a", "7")


def test_hash_ids_are_numbered_as_they_appear() -> None:
    cells = TraceCells(
        place="t", first_line=1, names=("t", "i", "o"), cells=([0, 1], [20, 20], [1, 1])
    )
    tokens = np.array([20, 20])
    blocks = number_blocks(cells, hash_ids=[[9, 2**63], [9]], input_tokens=tokens, block_tokens=10)
    assert blocks.ids.tolist() == [0, 1, 0]
    assert number_blocks(cells, hash_ids=[[], []], input_tokens=tokens, block_tokens=10) is None
