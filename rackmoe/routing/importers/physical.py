"""Turn physical experts, the slots of a placement, back into logical ones."""

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError

__all__ = ["check_map", "is_trivial", "logical_counts", "logical_ids"]

_EMPTY_SLOT = -1  # what engines write for a slot without an expert, and for padding


def check_map(
    physical_to_logical: NDArray[np.integer], *, n_experts: int | None, place: str
) -> int:
    """Check a map from slots to logical experts and return how many experts it knows.

    Parameters
    ----------
    physical_to_logical : ndarray of shape (L, P), integer
        Logical expert in each slot; -1 for an empty slot.
    n_experts : int or None
        Logical experts of a layer, where known.
    place : str
        The map, for the message.

    Returns
    -------
    int
        Logical experts of a layer.

    Raises
    ------
    TraceError
        If the map has other axes, or leaves out an expert.
    """
    if physical_to_logical.ndim != 2 or not physical_to_logical.size:  # noqa: PLR2004 - layers and slots
        raise TraceError(
            f"{place}: a map of shape {physical_to_logical.shape}; expected [layers, slots]; "
            "give the physical_to_logical_map of the run"
        )
    highest = int(physical_to_logical.max())
    n_found = highest + 1 if n_experts is None else n_experts
    n_slots = physical_to_logical.shape[1]
    # a map of P slots names at most P experts; a larger id would make a huge table
    is_outside = int(physical_to_logical.min()) < _EMPTY_SLOT or highest >= min(n_found, n_slots)
    if is_outside or any(
        np.unique(row[row >= 0]).size != n_found for row in np.asarray(physical_to_logical)
    ):
        raise TraceError(
            f"{place}: a map to experts up to {highest}; expected each of {n_found} experts in "
            "each layer; give the physical_to_logical_map of the run"
        )
    return n_found


def is_trivial(physical_to_logical: NDArray[np.integer], *, n_experts: int) -> bool:
    """Tell whether slot i of every layer holds expert i modulo the experts.

    Parameters
    ----------
    physical_to_logical : ndarray of shape (L, P), integer
        Logical expert in each slot.
    n_experts : int
        Logical experts of a layer.

    Returns
    -------
    bool
        True where engines start before they know any load.
    """
    start = np.arange(physical_to_logical.shape[1]) % n_experts
    return bool((physical_to_logical == start).all())


def logical_counts(
    counts: NDArray[np.integer],
    *,
    physical_to_logical: NDArray[np.integer],
    n_experts: int,
    place: str,
) -> NDArray[np.int64]:
    """Add up the counts of the slots of each logical expert.

    Parameters
    ----------
    counts : ndarray of shape (L, P), integer
        Assignments of each slot.
    physical_to_logical : ndarray of shape (L, P), integer
        Logical expert in each slot; checked by `check_map`.
    n_experts : int
        Logical experts of a layer.
    place : str
        The counts, for the message.

    Returns
    -------
    ndarray of shape (L, E), int64
        Assignments of each expert.

    Raises
    ------
    TraceError
        If counts and map differ in shape, or an empty slot was chosen.
    """
    if counts.shape != physical_to_logical.shape:
        raise TraceError(
            f"{place}: counts of shape {counts.shape} for a map of {physical_to_logical.shape}; "
            "expected one count for each slot; record both in one run"
        )
    if counts[physical_to_logical < 0].any():
        raise TraceError(
            f"{place}: assignments to a slot without an expert; expected none; "
            "give the map that was in force"
        )
    out = np.zeros((counts.shape[0], n_experts + 1), np.int64)
    # slots without an expert have index -1, the spare column
    np.add.at(out, (np.arange(counts.shape[0])[:, None], physical_to_logical), counts)
    return out[:, :n_experts]


def logical_ids(
    ids: NDArray[np.integer],
    *,
    physical_to_logical: NDArray[np.integer],
    n_experts: int,
    place: str,
) -> NDArray[np.int64]:
    """Replace physical experts by logical ones.

    Parameters
    ----------
    ids : ndarray of shape (N, L, K), integer
        Physical experts; -1 stays, and ids behind the slots, which are fused shared
        experts, come to stand behind the logical experts.
    physical_to_logical : ndarray of shape (L, P), integer
        Logical expert in each slot; checked by `check_map`.
    n_experts : int
        Logical experts of a layer.
    place : str
        The ids, for the message.

    Returns
    -------
    ndarray of shape (N, L, K), int64
        Logical experts.

    Raises
    ------
    TraceError
        If the map has another number of layers.
    """
    n_layers, n_slots = physical_to_logical.shape
    if ids.shape[1] != n_layers:
        raise TraceError(
            f"{place}: {ids.shape[1]} layers for a map of {n_layers}; expected the same layers; "
            "give the map of this run"
        )
    layer = np.arange(n_layers)[None, :, None]
    wide = ids.astype(np.int64)
    is_slot = (wide >= 0) & (wide < n_slots)
    mapped = physical_to_logical[layer, np.where(is_slot, wide, 0)]
    shifted = np.where(wide >= n_slots, wide - n_slots + n_experts, wide)
    return np.where(is_slot, mapped, shifted).astype(np.int64)
