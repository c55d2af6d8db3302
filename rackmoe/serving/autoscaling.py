"""How many replicas a load asks for: the rule of a horizontal autoscaler."""

import math
from collections import deque

__all__ = ["ReplicaCount", "wanted_replicas"]


def wanted_replicas(n_now: int, *, load: float, target: float, tolerance_frac: float) -> int:
    r"""Return the replicas that would bring the load of each to its target.

    Parameters
    ----------
    n_now : int
        Replicas that serve or will soon.
    load : float
        Sum of the load over all of them, in the unit of the target.
    target : float
        Wanted load of one replica.
    tolerance_frac : float
        Relative distance from the target at which the number stays.

    Returns
    -------
    int
        A number of replicas, not bounded.

    Notes
    -----
    .. math:: n' = \lceil n \, m / m^* \rceil

    with the mean load m of a replica and its target m*; n where m / m* is within the
    tolerance of 1 [1]_.

    References
    ----------
    .. [1] Kubernetes documentation, "Horizontal Pod Autoscaling", section "Algorithm
       details", 2026.

    Examples
    --------
    >>> wanted_replicas(2, load=30.0, target=10.0, tolerance_frac=0.1)
    3
    >>> wanted_replicas(2, load=21.0, target=10.0, tolerance_frac=0.1)
    2
    """
    ratio = load / (max(n_now, 1) * target)
    if abs(ratio - 1.0) <= tolerance_frac:
        return n_now
    return math.ceil(load / target)


class ReplicaCount:
    """A wanted number of replicas that rises at once and falls late.

    Parameters
    ----------
    least, most : int
        Bounds of the number.
    stabilization_ps : int
        Time in which the largest recent number counts. [ps]
    """

    def __init__(self, *, least: int, most: int, stabilization_ps: int) -> None:
        self._least, self._most = least, most
        self._stabilization_ps = stabilization_ps
        self._recent: deque[tuple[int, int]] = deque()

    def settle(self, wanted: int, *, n_now: int, now_ps: int) -> int:
        """Return the number to have from now on.

        Parameters
        ----------
        wanted : int
            What the load asks for.
        n_now : int
            What there is.
        now_ps : int
            Time. [ps]

        Returns
        -------
        int
            Within the bounds; less than there is only if no recent wish was higher.
        """
        wanted = min(max(wanted, self._least), self._most)
        recent = self._recent
        recent.append((now_ps, wanted))
        while recent[0][0] < now_ps - self._stabilization_ps:
            recent.popleft()
        if wanted >= n_now:
            return wanted
        return min(n_now, max(one for _, one in recent))
