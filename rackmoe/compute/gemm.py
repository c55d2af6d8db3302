"""How long a matrix product takes on a GPU."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from rackmoe.backend.operators import GemmConstants
from rackmoe.compute.bounds import Floats, join_bounds, peak_flop_per_s
from rackmoe.hardware.machine import Gpu
from rackmoe.model.costs import Gemm, Work
from rackmoe.model.dtypes import BITS_PER_BYTE, activation_bits, weight_bits

__all__ = ["GemmLaw", "gemm_law"]

# Columns of weights that keep every memory channel busy: strips of 64 columns on some 160
# SMs (kind: assumed; source: the widths at which measured products of few rows reach their
# streaming rate on H200 and GB200, scenarios/calibration/kernels/gemm_*.csv).
FULL_COLUMNS: Final = 10_240

_BF16_BITS: Final = activation_bits("bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmLaw:
    """The duration of one product as a function of its rows.

    Attributes
    ----------
    launch_s : float
        Fixed time of a call. [s]
    quantize_s : float
        Time per row of the activation-quantize pass. [s]
    flop_s : float
        Time per row at the achievable FLOP rate. [s]
    weight_s : float
        Time to read the weights. [s]
    row_s : float
        Time per row to read the input and write the output. [s]
    loop_s : float
        Time of one tile's loop over k. [s]
    sharpness : float
        Exponent that joins the bounds.
    fixed_work, row_work : Work
        What the product asks of the GPU: once, and per row.
    """

    launch_s: float
    quantize_s: float
    flop_s: float
    weight_s: float
    row_s: float
    loop_s: float
    sharpness: float
    fixed_work: Work
    row_work: Work

    def __call__(self, m: Floats) -> Floats:
        r"""Return the duration for a number of rows.

        Parameters
        ----------
        m : float or ndarray
            Rows, a count of any shape.

        Returns
        -------
        float or ndarray
            Duration; zero where there are no rows. [s]

        Notes
        -----
        For an m x k by k x n product of F FLOP, weights of W bytes, other traffic of Q
        bytes and a quantize pass over q bytes, with peak P and HBM bandwidth B:

        .. math::

            t = t_0 + \frac{q}{e_q B} + \left[
                \left(\frac{F (1 + k_0 / k)}{e_f P}\right)^p
                + \left(\frac{W / u + Q}{e_b B}\right)^p + (k \tau)^p \right]^{1/p},
            \quad u = \min(1, n / n_0)^g

        The last bound is the chain of one tile: however few tiles there are, each walks
        its k in order (split-K shortens :math:`\tau`). :math:`k_0` fills and drains a
        tile's pipeline. :math:`u`: few columns cannot keep all memory channels busy.
        """
        joined = join_bounds(
            m * self.flop_s,
            second_s=self.weight_s + m * self.row_s,
            third_s=self.loop_s,
            sharpness=self.sharpness,
        )
        duration: Floats = (self.launch_s + m * self.quantize_s + joined) * np.greater(m, 0)
        return duration

    def work(self, m: Floats) -> Work:
        """Return what a product of m rows asks of the GPU.

        Parameters
        ----------
        m : float or ndarray
            Rows, a count.

        Returns
        -------
        Work
            FLOP and HBM bytes.
        """
        used = np.greater(m, 0)
        return Work(
            tensor_flop=m * self.row_work.tensor_flop,
            hbm_bytes=self.fixed_work.hbm_bytes * used + m * self.row_work.hbm_bytes,
        )


def gemm_law(gpu: Gpu, *, constants: GemmConstants, gemm: Gemm) -> GemmLaw:
    """Return the law of a product on a GPU.

    Parameters
    ----------
    gpu : Gpu
        The GPU.
    constants : GemmConstants
        How well its kernels do, for the format of the product.
    gemm : Gemm
        Columns, length of the sums, independent products and format.

    Returns
    -------
    GemmLaw
        A function of the rows.

    Raises
    ------
    ConfigError
        If the GPU cannot compute the format.
    """
    peak = peak_flop_per_s(gpu, dtype=gemm.dtype)
    bandwidth = gpu.hbm_bandwidth_bytes_per_s
    input_bits = activation_bits(gemm.dtype)
    in_bytes = gemm.batch * gemm.k * input_bits / BITS_PER_BYTE
    out_bytes = gemm.batch * gemm.n * _BF16_BITS / BITS_PER_BYTE
    bf16_bytes = gemm.batch * gemm.k * _BF16_BITS / BITS_PER_BYTE
    quantize_bytes = bf16_bytes + in_bytes if input_bits < _BF16_BITS else 0.0
    weight_bytes = gemm.n_weights * weight_bits(gemm.dtype) / BITS_PER_BYTE
    row_flop = 2.0 * gemm.n_weights
    columns = min(1.0, gemm.batch * gemm.n / FULL_COLUMNS)
    streaming = constants.hbm_efficiency * bandwidth
    return GemmLaw(
        launch_s=constants.launch_s,
        quantize_s=quantize_bytes / (constants.quantize_efficiency * bandwidth),
        flop_s=row_flop
        * (1 + constants.ramp_length / gemm.k)
        / (constants.flop_efficiency * peak),
        weight_s=weight_bytes / (streaming * columns**constants.strip_exponent),
        row_s=(in_bytes + out_bytes) / streaming,
        loop_s=gemm.k * constants.k_step_s,
        sharpness=constants.sharpness,
        fixed_work=Work(tensor_flop=0.0, hbm_bytes=weight_bytes),
        row_work=Work(tensor_flop=row_flop, hbm_bytes=in_bytes + out_bytes + quantize_bytes),
    )
