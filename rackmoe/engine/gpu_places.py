"""Which GPUs of the machine each replica gets."""

from collections.abc import Sequence

__all__ = ["replica_places", "straddles"]


def replica_places(sizes: Sequence[int], *, domain_gpus: int, n_gpus: int) -> tuple[int, ...]:
    """Return the first GPU of each replica; a replica has GPUs in a row.

    A replica that fits into a scale-up domain is put into one, the first with enough room,
    as operators would; laws of exchanges count on it. Where the machine has no such room
    left, GPUs are given out one after the other.

    Parameters
    ----------
    sizes : sequence of int
        GPUs of each replica.
    domain_gpus : int
        GPUs of a scale-up domain.
    n_gpus : int
        GPUs of the machine.

    Returns
    -------
    tuple of int
        First GPU of each replica, in the same order.

    Examples
    --------
    >>> replica_places([3, 3, 3, 2], domain_gpus=8, n_gpus=16)
    (0, 3, 8, 6)
    >>> replica_places([3, 3, 3, 3], domain_gpus=8, n_gpus=12)
    (0, 3, 6, 9)
    """
    n_domains = -(-n_gpus // domain_gpus)
    free = [[k * domain_gpus, min((k + 1) * domain_gpus, n_gpus)] for k in range(n_domains)]
    found: list[int] = []
    for size in sizes:
        first = _first_fit(size, free, domain_gpus=domain_gpus)
        if first is None:
            return tuple(sum(sizes[:k]) for k in range(len(sizes)))
        found.append(first)
    return tuple(found)


def straddles(first: int, *, size: int, domain_gpus: int) -> bool:
    """Return whether a replica that would fit into one domain is in two.

    Parameters
    ----------
    first, size : int
        Its first GPU and its GPUs.
    domain_gpus : int
        GPUs of a scale-up domain.

    Examples
    --------
    >>> straddles(6, size=4, domain_gpus=8), straddles(8, size=12, domain_gpus=8)
    (True, False)
    """
    return size <= domain_gpus and first // domain_gpus != (first + size - 1) // domain_gpus


def _first_fit(size: int, free: list[list[int]], *, domain_gpus: int) -> int | None:
    """Take GPUs from the free ones at the end of each domain; None if there are not enough."""
    if size <= domain_gpus:
        for room in free:
            if room[1] - room[0] >= size:
                room[0] += size
                return room[0] - size
        return None
    n_whole = -(-size // domain_gpus)
    for k in range(len(free) - n_whole + 1):
        rooms = free[k : k + n_whole]
        is_empty = all(room[0] == (k + at) * domain_gpus for at, room in enumerate(rooms))
        if is_empty and rooms[-1][1] - rooms[0][0] >= size:
            first, left = k * domain_gpus, size
            for room in rooms:
                taken = min(left, room[1] - room[0])
                room[0] += taken
                left -= taken
            return first
    return None
