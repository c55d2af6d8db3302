"""When micro-batches leave the stages of a pipeline."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["pipeline_ends_s"]


def pipeline_ends_s(
    stage_s: NDArray[np.float64],
    *,
    free_s: NDArray[np.float64],
    send_s: NDArray[np.float64],
) -> NDArray[np.float64]:
    r"""Return when a micro-batch that is ready now leaves each stage.

    Parameters
    ----------
    stage_s : ndarray of shape (n_stages,)
        Time that it takes in each stage. [s]
    free_s : ndarray of shape (n_stages,)
        Time from now until each stage has finished what came before. [s]
    send_s : ndarray of shape (n_stages - 1,)
        Time from each stage to the next one. [s]

    Returns
    -------
    ndarray of shape (n_stages,)
        End of its work in each stage, from now on. [s]

    Notes
    -----
    Stages take micro-batches in the order in which they came:

    .. math:: e_s = \max(f_s, e_{s-1} + x_{s-1}) + t_s

    so m equal micro-batches leave p equal stages after (m + p - 1) t [1]_.

    References
    ----------
    .. [1] Y. Huang et al., "GPipe: efficient training of giant neural networks using
       pipeline parallelism," NeurIPS 2019, section 2.2.

    Examples
    --------
    >>> pipeline_ends_s(np.array([2.0, 2.0]), free_s=np.array([0.0, 5.0]), send_s=np.array([1.0]))
    array([2., 7.])
    """
    ends = np.empty_like(stage_s)
    ready = 0.0
    for stage, time_s in enumerate(stage_s.tolist()):
        ends[stage] = max(float(free_s[stage]), ready) + time_s
        if stage < len(send_s):
            ready = float(ends[stage] + send_s[stage])
    return ends
