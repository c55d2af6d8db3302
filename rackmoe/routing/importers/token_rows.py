"""Which layers and tokens of a recording hold choices, block by block."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError

__all__ = ["ROWS_AT_ONCE", "blocks_of", "empty_layers", "kept_rows"]

ROWS_AT_ONCE = 8192
"""Rows worked on at a time, so that a memory-mapped file stays on disk."""


def blocks_of(n_rows: int) -> Iterator[slice]:
    """Yield slices that together cover some rows.

    Parameters
    ----------
    n_rows : int
        The rows.

    Yields
    ------
    slice
        At most `ROWS_AT_ONCE` of them.
    """
    for first in range(0, n_rows, ROWS_AT_ONCE):
        yield slice(first, min(first + ROWS_AT_ONCE, n_rows))


def empty_layers(experts: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Tell in which layers no token has choices.

    Parameters
    ----------
    experts : ndarray of shape (N, L, K), integer
        Recorded ids; -1 or only zeros where nothing was recorded.

    Returns
    -------
    ndarray of shape (L,), bool
        True where nothing was recorded.
    """
    is_empty = np.ones(experts.shape[1], np.bool_)
    for block in blocks_of(experts.shape[0]):
        is_absent, is_zero = _unrecorded(experts[block])
        is_empty &= (is_absent | is_zero).all(axis=0)
        if not is_empty.any():
            break
    return is_empty


def kept_rows(
    experts: NDArray[np.integer],
    *,
    columns: NDArray[np.int64],
    req_offsets: NDArray[np.int64],
    place: str,
) -> tuple[NDArray[np.bool_], list[str]]:
    """Leave out padding, and the last token of a request if it was never forwarded.

    Parameters
    ----------
    experts : ndarray of shape (N, L, K), integer
        Recorded ids.
    columns : ndarray of shape (n,), int64
        The MoE layers on the layer axis.
    req_offsets : ndarray of shape (n_requests + 1,), int64
        Where requests begin and end.
    place : str
        The file, for the message.

    Returns
    -------
    kept : ndarray of shape (N,), bool
        The tokens with choices in every MoE layer.
    notes : list of str
        What was left out.

    Raises
    ------
    TraceError
        If another token lacks choices in some layer.
    """
    n_rows = experts.shape[0]
    is_last = np.zeros(n_rows, np.bool_)
    is_last[req_offsets[1:][np.diff(req_offsets) > 0] - 1] = True
    is_padding = np.zeros(n_rows, np.bool_)
    is_sampled = np.zeros(n_rows, np.bool_)
    for block in blocks_of(n_rows):
        is_absent, is_zero = _unrecorded(experts[block][:, columns])
        is_padding[block] = is_absent.all(axis=1)
        is_sampled[block] = is_zero.all(axis=1) & is_last[block]
        is_out = is_padding[block] | is_sampled[block]
        broken = np.argwhere((is_absent | is_zero) & ~is_out[:, None])
        if broken.size:
            row, layer = broken[0].tolist()
            raise TraceError(
                f"{place}: token {block.start + row}, MoE layer {layer}: no experts recorded; "
                "expected some in each layer; tokens of CUDA-graph padding or of a kernel that "
                "bypasses the recorder: record without them"
            )
    notes = []
    if is_padding.any():
        notes.append(f"left out {int(is_padding.sum())} padding tokens (all -1)")
    if is_sampled.any():
        n_sampled = int(is_sampled.sum())
        notes.append(f"left out {n_sampled} last tokens, which were sampled, not forwarded")
    return ~(is_padding | is_sampled), notes


def _unrecorded(experts: NDArray[np.integer]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where all ids of a token and layer are -1, and where all are 0."""
    is_absent = np.asarray((experts == -1).all(axis=2))
    # with one expert per token, expert 0 is a choice like others
    has_several = experts.shape[2] > 1
    is_zero = np.asarray((experts == 0).all(axis=2)) & has_several
    return is_absent, is_zero
