"""How long a chain of matrix products takes, looked up by its number of rows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rackmoe.compute.operators import OperatorLaws
from rackmoe.model.costs import Gemm, Work
from rackmoe.model.dtypes import activation_bits, weight_bits

__all__ = ["TokenTable"]

_BITS_PER_BYTE = 8


class TokenTable:
    """Time and work of a chain of matrix products for every possible number of rows.

    A step needs the same products for ever changing token counts, so their
    times are computed once.

    Parameters
    ----------
    gemms : sequence of Gemm
        The products, one after the other.
    laws : OperatorLaws
        Operator laws of the GPU and backend.
    max_rows : int
        Largest number of rows.
    """

    def __init__(self, gemms: Sequence[Gemm], *, laws: OperatorLaws, max_rows: int) -> None:
        rows = np.arange(max_rows + 1, dtype=np.float64)
        time_s = np.zeros(max_rows + 1)
        self._flop_per_row = 0.0
        self._bytes_per_row = 0.0
        self._weight_bytes = 0.0
        for gemm in gemms:
            time_s += laws.gemm_time_s(
                rows, n=gemm.n, k=gemm.k, dtype=gemm.dtype, batch=gemm.batch
            )
            self._flop_per_row += 2.0 * gemm.n_weights
            self._weight_bytes += gemm.n_weights * weight_bits(gemm.dtype) / _BITS_PER_BYTE
            moved_bits = gemm.k * activation_bits(gemm.dtype) + gemm.n * activation_bits("bf16")
            self._bytes_per_row += gemm.batch * moved_bits / _BITS_PER_BYTE
        time_s[0] = 0.0
        self._time_s = time_s
        # two passes over what one row reads, less one, are a pass without its launch
        one_row_bytes = self._weight_bytes + self._bytes_per_row
        stream_s = laws.elementwise_time_s(2 * one_row_bytes)
        stream_s -= laws.elementwise_time_s(one_row_bytes)
        self._beside_s = np.minimum(time_s, time_s - time_s[min(1, max_rows)] + stream_s)
        self._beside_s[0] = 0.0

    def time_s(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the duration of the chain.

        Parameters
        ----------
        rows : ndarray of int
            Rows of each attention group.

        Returns
        -------
        ndarray
            Durations; zero without rows. [s]
        """
        return self._time_s[rows]

    def beside_s(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what the chain adds to larger products that run on other units at once.

        Launches and half-empty units are hidden; the bytes of the weights and the time of
        further rows are not, for both share bandwidth and peak.

        Parameters
        ----------
        rows : ndarray of int
            Rows of each attention group.

        Returns
        -------
        ndarray
            Durations; zero without rows. [s]
        """
        return np.asarray(self._beside_s[rows])

    def work(self, rows: NDArray[np.int64]) -> Work:
        """Return the work of the chain, summed over the groups.

        Parameters
        ----------
        rows : ndarray of int
            Rows of each attention group.

        Returns
        -------
        Work
            FLOP and HBM bytes.
        """
        total = float(rows.sum())
        return Work(
            tensor_flop=self._flop_per_row * total,
            hbm_bytes=self._bytes_per_row * total
            + self._weight_bytes * float(np.count_nonzero(rows)),
        )
