"""What hash ids and names of foreign trace files stand for."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.serving.prefixes import PrefixBlocks
from rackmoe.serving.trace_cells import TraceCells, raise_problems

__all__ = ["number_blocks", "number_names"]

IntArray = NDArray[np.int64]


def number_blocks(
    cells: TraceCells, *, hash_ids: Sequence[Any], input_tokens: IntArray, block_tokens: int
) -> PrefixBlocks | None:
    """Return the prompt blocks that the hash ids of a trace name.

    Parameters
    ----------
    cells : TraceCells
        The other columns, for messages.
    hash_ids : sequence
        A list of whole numbers for each row, possibly empty.
    input_tokens : ndarray of shape (n_rows,)
        Prompt lengths.
    block_tokens : int
        Tokens of one block.

    Returns
    -------
    PrefixBlocks or None
        Blocks numbered in the order of their first appearance; None if no row has any.

    Raises
    ------
    TraceError
        If a cell is not such a list, or has more blocks than its prompt.
    """
    raise_problems(
        f"{cells.place_of(row)}: hash_ids: {str(ids)[:40]}; expected a list of whole numbers;"
        " repair or remove this line"
        for row, ids in enumerate(hash_ids)
        if not isinstance(ids, list) or not all(type(value) is int for value in ids)
    )
    if not any(hash_ids):
        return None
    n_blocks = np.array([len(ids) for ids in hash_ids], np.int64)
    most = -(-input_tokens // block_tokens)
    raise_problems(
        f"{cells.place_of(int(row))}: hash_ids: {n_blocks[row]} blocks; expected at most"
        f" {most[row]} of {block_tokens} tokens for {input_tokens[row]} input tokens;"
        " set block_size in a header line"
        for row in np.flatnonzero(n_blocks > most)
    )
    offsets = np.concatenate(([0], np.cumsum(n_blocks))).astype(np.int64)
    # ids of other traces are 64-bit hashes: number them in the order of their first appearance
    numbers: dict[int, int] = {}
    flat = itertools.chain.from_iterable(hash_ids)
    ids = np.fromiter((numbers.setdefault(i, len(numbers)) for i in flat), np.int64)
    return PrefixBlocks(offsets=offsets, ids=ids, block_tokens=block_tokens)


def number_names(values: Sequence[Any]) -> tuple[IntArray, tuple[str, ...]]:
    """Return a column of names as numbers.

    Parameters
    ----------
    values : sequence
        A name for each row; None where there is none.

    Returns
    -------
    codes : ndarray of shape (n_rows,)
        Index into the names; -1 for none.
    names : tuple of str
        In the order of their first appearance.
    """
    names = tuple(dict.fromkeys(str(value) for value in values if value is not None))
    codes = {name: code for code, name in enumerate(names)}
    codes_of_rows = (-1 if value is None else codes[str(value)] for value in values)
    return np.fromiter(codes_of_rows, np.int64, len(values)), names
