"""The law of attention to cached tokens, compiled for the few numbers of one step."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.compute.attention import AttentionDecodeLaw

__all__ = ["AttentionOfSteps"]


class AttentionOfSteps:
    """What `AttentionDecodeLaw` says of layers that read different parts of the context.

    NumPy spends more on each of the law's operations than on the few groups of a step.

    Parameters
    ----------
    law : AttentionDecodeLaw
        The law.
    is_windowed : ndarray of shape (n_classes,), bool
        Which classes of layers read no further than their window.
    """

    def __init__(self, law: AttentionDecodeLaw, *, is_windowed: NDArray[np.bool_]) -> None:
        self._is_windowed = is_windowed
        self._constants_s = (
            law.launch_s,
            law.sequence_s,
            law.split_s,
            law.flop_s,
            law.byte_s,
            law.chain_s,
        )
        self._split_tokens = law.split_tokens
        self._sharpness = law.sharpness

    def time_s(
        self,
        n_sequences: NDArray[np.int64],
        *,
        kv_tokens: NDArray[np.int64] | NDArray[np.float64],
        window_tokens: NDArray[np.int64] | NDArray[np.float64],
        query_tokens: int,
    ) -> NDArray[np.float64]:
        """Return the duration of one layer of each class.

        Parameters
        ----------
        n_sequences : ndarray of shape (n_groups,)
            Sequences of each attention group.
        kv_tokens, window_tokens : ndarray of shape (n_groups,)
            Their cached tokens that are read, and those of them in a window, counts.
        query_tokens : int
            Tokens per sequence that query at once, a count.

        Returns
        -------
        ndarray of shape (n_classes, n_groups)
            Durations; zero where there are no sequences. [s]
        """
        found: NDArray[np.float64] = _time_s(
            n_sequences,
            kv_tokens,
            window_tokens,
            query_tokens,
            self._is_windowed,
            self._constants_s,
            self._split_tokens,
            self._sharpness,
        )
        return found


@njit(cache=True)
def _time_s(
    n_sequences: NDArray[np.int64],
    kv_tokens: NDArray[np.int64] | NDArray[np.float64],
    window_tokens: NDArray[np.int64] | NDArray[np.float64],
    query_tokens: int,
    is_windowed: NDArray[np.bool_],
    constants_s: tuple[float, ...],
    split_tokens: float,
    sharpness: float,
) -> NDArray[np.float64]:
    launch_s, sequence_s, split_s, flop_s, byte_s, chain_s = constants_s
    out = np.zeros((is_windowed.size, n_sequences.size))
    for index in range(is_windowed.size):
        read = window_tokens if is_windowed[index] else kv_tokens
        for group in range(n_sequences.size):
            if n_sequences[group] <= 0:
                continue
            context = read[group] / n_sequences[group]
            math_s = read[group] * (query_tokens * flop_s)
            memory_s = read[group] * byte_s
            serial_s = context * chain_s
            joined_s = max(math_s, memory_s, serial_s)
            if np.isfinite(sharpness):
                total = math_s**sharpness + memory_s**sharpness + serial_s**sharpness
                joined_s = total ** (1.0 / sharpness)
            split = split_s * (context / (context + split_tokens)) if context > 0.0 else 0.0
            queries_s = n_sequences[group] * (query_tokens * sequence_s)
            out[index, group] = launch_s + split + queries_s + joined_s
    return out
