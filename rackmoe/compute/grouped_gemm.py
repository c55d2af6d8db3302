"""How long the routed experts of a rank take on a GPU."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from rackmoe.backend.operators import GroupedGemmConstants
from rackmoe.compute.bounds import Floats, join_bounds, peak_flop_per_s
from rackmoe.hardware.machine import Gpu
from rackmoe.model.costs import Work, expert_work
from rackmoe.model.dtypes import BITS_PER_BYTE, activation_bits

__all__ = ["ExpertShape", "GroupedGemmLaw", "grouped_gemm_law"]

_BF16_BITS: Final = activation_bits("bf16")
# Every measured table holds whole experts, so its rows cannot tell passes over tokens from
# products that run below their peak. No pass is slower than this share of the HBM bandwidth
# (kind: derived; source: quantization of activations, the slowest one that was measured,
# reaches 0.30 on H200 and 0.33 on GB200); what a fit books beyond it shrinks with the width.
_SLOWEST_PASS_FRAC: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertShape:
    """The experts that one rank holds of one layer.

    Attributes
    ----------
    hidden, inter : int
        Widths of the residual stream and of one expert on this rank, counts.
    dtype : str
        Format of the weights.
    n_local_experts : int
        Physical experts of the rank, a count.
    split : int
        Ranks that share the width of an expert, a count.
    """

    hidden: int
    inter: int
    dtype: str
    n_local_experts: int
    split: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedGemmLaw:
    """The duration of a rank's routed experts as a function of its load.

    Attributes
    ----------
    launch_s : float
        Fixed time per MoE layer. [s]
    flop_s : float
        Time per assignment at the achievable FLOP rate. [s]
    expert_s : float
        Time to read the weights of one expert. [s]
    assignment_s : float
        Time per assignment to move its activations. [s]
    finalize_s : float
        Time per assignment to add its result to its token. [s]
    token_s : float
        Time per token to quantize it and to write its sum. [s]
    scan_s : float
        Time in which the tile scheduler walks the rank's experts. [s]
    sharpness : float
        Exponent that joins the bounds.
    tile_rows : float
        Rows of the largest tile, a count.
    assignment_work, expert_work : Work
        What one assignment and one active expert ask of the GPU.
    token_bytes : float
        HBM bytes of the passes over one token. [B]
    """

    launch_s: float
    flop_s: float
    expert_s: float
    assignment_s: float
    finalize_s: float
    token_s: float
    scan_s: float
    sharpness: float
    tile_rows: float
    assignment_work: Work
    expert_work: Work
    token_bytes: float

    def __call__(
        self,
        assignments: Floats,
        active_experts: Floats,
        tokens: Floats | None = None,
        planned_rows: Floats | None = None,
    ) -> Floats:
        r"""Return the duration for the load of each rank.

        Parameters
        ----------
        assignments : float or ndarray
            Pairs of token and expert that the rank computes, a count of any shape.
        active_experts : float or ndarray
            Experts of the rank with at least one assignment, a count.
        tokens : float or ndarray, optional
            Tokens that the kernel is given, a count; every assignment counts as one
            where omitted, which is how dispatch by assignment delivers them.
        planned_rows : float or ndarray, optional
            Rows per local expert that the kernel chooses its tile for, a count; larger
            than what arrives where it is given the tokens of all ranks, of which most
            belong elsewhere. The rows that arrive where omitted.

        Returns
        -------
        float or ndarray
            Duration. [s]

        Notes
        -----
        For A assignments on X of L local experts, with F and Q of
        `model.costs.expert_work`, and r bytes of passes over tokens:

        .. math::

            t = t_0 + \frac{r}{e_t B} + \left[ \left(\frac{F}{e_f P}\right)^p
                + \left(\frac{Q}{e_b B}\right)^p + (L \tau)^p \right]^{1/p}

        F counts at least :math:`X \min(R, R_{planned})` rows, R being the largest tile.
        Only experts with a token are read, so a skewed decode batch is faster than a
        balanced one, and a skewed prefill batch slower. The scan bounds kernels that
        walk all groups of a large table to find few tokens.
        """
        given = assignments if tokens is None else tokens
        rows = assignments
        if planned_rows is not None:
            tile = np.minimum(planned_rows, self.tile_rows)
            rows = np.maximum(assignments, active_experts * tile)
        joined = join_bounds(
            rows * self.flop_s,
            second_s=active_experts * self.expert_s + assignments * self.assignment_s,
            third_s=self.scan_s,
            sharpness=self.sharpness,
        )
        return self.launch_s + assignments * self.finalize_s + given * self.token_s + joined

    def work(
        self, assignments: Floats, *, active_experts: Floats, tokens: Floats | None = None
    ) -> Work:
        """Return what the load of each rank asks of the GPU.

        Parameters
        ----------
        assignments, active_experts, tokens : float or ndarray
            As for the duration, counts.

        Returns
        -------
        Work
            FLOP and HBM bytes.
        """
        given = assignments if tokens is None else tokens
        moved = (
            assignments * self.assignment_work.hbm_bytes
            + active_experts * self.expert_work.hbm_bytes
            + given * self.token_bytes
        )
        return Work(tensor_flop=assignments * self.assignment_work.tensor_flop, hbm_bytes=moved)


def grouped_gemm_law(
    gpu: Gpu, *, constants: GroupedGemmConstants, shape: ExpertShape
) -> GroupedGemmLaw:
    """Return the law of a rank's routed experts on a GPU.

    Parameters
    ----------
    gpu : Gpu
        The GPU.
    constants : GroupedGemmConstants
        How well its kernels do, for the format of the experts.
    shape : ExpertShape
        The experts.

    Returns
    -------
    GroupedGemmLaw
        A function of the load.

    Raises
    ------
    ConfigError
        If the GPU cannot compute the format.
    """
    peak = peak_flop_per_s(gpu, dtype=shape.dtype)
    bandwidth = gpu.hbm_bandwidth_bytes_per_s
    widths = {"hidden": shape.hidden, "inter": shape.inter}
    per_assignment = expert_work(1.0, active_experts=0.0, dtype=shape.dtype, **widths)
    per_expert = expert_work(0.0, active_experts=1.0, dtype=shape.dtype, **widths)
    streaming = constants.hbm_efficiency * bandwidth
    fitted_passing = constants.token_efficiency * bandwidth
    pass_s_per_byte = 1.0 / max(fitted_passing, _SLOWEST_PASS_FRAC * bandwidth)
    pass_s_per_byte += (1.0 / fitted_passing - pass_s_per_byte) / shape.split
    vector_bytes = shape.hidden * _BF16_BITS / BITS_PER_BYTE
    input_bits = activation_bits(shape.dtype)
    quantized_bits = input_bits if input_bits < _BF16_BITS else 0.0
    token_bytes = 2 * vector_bytes + shape.hidden * quantized_bits / BITS_PER_BYTE
    return GroupedGemmLaw(
        launch_s=constants.launch_s,
        flop_s=float(per_assignment.tensor_flop) / (constants.flop_efficiency * peak),
        expert_s=float(per_expert.hbm_bytes) / streaming,
        assignment_s=float(per_assignment.hbm_bytes) / streaming,
        finalize_s=vector_bytes * pass_s_per_byte,
        token_s=token_bytes * pass_s_per_byte,
        scan_s=shape.n_local_experts * constants.expert_scan_s,
        sharpness=constants.sharpness,
        tile_rows=constants.tile_rows,
        assignment_work=per_assignment,
        expert_work=per_expert,
        token_bytes=token_bytes,
    )
