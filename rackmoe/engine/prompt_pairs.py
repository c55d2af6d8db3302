"""What the prompt chunks of a step attend to, compiled: a step holds few of them."""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.model.architecture import Window

__all__ = ["PromptPairs"]


class PromptPairs:
    """What `model.attention.score_pairs` says of chunks, summed by attention group.

    Parameters
    ----------
    windows : sequence of Window or None
        Local attention of each class of layers.
    """

    def __init__(self, windows: Sequence[Window | None]) -> None:
        self._window_tokens = np.array([w.n_tokens if w else 0 for w in windows], np.int64)
        self._is_chunked = np.array([w is not None and w.is_chunked for w in windows])

    def sums(
        self, chunks: NDArray[np.int64], *, n_groups: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the sums of each attention group.

        Parameters
        ----------
        chunks : ndarray of shape (n_chunks, 3)
            Group, new tokens and tokens before them of each chunk.
        n_groups : int
            Attention groups.

        Returns
        -------
        pairs : ndarray of shape (n_classes, n_groups)
            Scored pairs for each class of layers.
        kv_tokens : ndarray of shape (n_groups,)
            Prompt tokens that are attended to: new ones and those before.
        n_chunks : ndarray of shape (n_groups,)
            Chunks.
        """
        pairs = np.zeros((self._window_tokens.size, n_groups))
        kv_tokens, n_chunks = np.zeros((2, n_groups), np.int64)
        _add_sums(chunks, self._window_tokens, self._is_chunked, pairs, kv_tokens, n_chunks)
        return pairs, kv_tokens, n_chunks


@njit(cache=True)
def _add_sums(
    chunks: NDArray[np.int64],
    window_tokens: NDArray[np.int64],
    is_chunked: NDArray[np.bool_],
    pairs: NDArray[np.float64],
    kv_tokens: NDArray[np.int64],
    n_chunks: NDArray[np.int64],
) -> None:
    for index in range(chunks.shape[0]):
        group, new, past = chunks[index]
        kv_tokens[group] += new + past
        n_chunks[group] += 1
        for kind in range(window_tokens.size):
            width, resets = window_tokens[kind], is_chunked[kind]
            end = _pairs_up_to(new + past, width, resets)
            pairs[kind, group] += end - _pairs_up_to(past, width, resets)


@njit(cache=True)
def _pairs_up_to(context: int, width: int, resets: bool) -> float:  # noqa: FBT001  compiled
    # Pairs of all tokens of a context with those that they see; no window where width is 0.
    if width == 0 or context <= width:
        return context * (context + 1) / 2
    if resets:
        whole, rest = divmod(context, width)
        return whole * (width * (width + 1) / 2) + rest * (rest + 1) / 2
    return width * (width + 1) / 2 + width * (context - width)
