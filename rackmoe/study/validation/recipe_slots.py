"""How many users the decode engines of a benchmark recipe have room for."""

import math
from typing import Final

__all__ = ["recipe_slots"]

# Largest batches in the names of the recipes (InferenceX, .github/configs/nvidia-master.yaml:
# "gen1_dep32_batch16", "gen4_tep8_batch8" and so on): powers of two, and three halves of two
# of them.
_SIZES: Final[tuple[int, ...]] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 384, 512, 768, 1024)
# Below so many users of an instance there is a recipe with one slot; up to the second number
# recipes of more users serve them without a queue.
_ONE_SLOT, _FEW = 1.5, 3.0


def recipe_slots(
    n_users: int, *, n_instances: int, n_groups: int, most_users: int, default: int
) -> int:
    """Return the sequences that an attention group of a disaggregated TensorRT-LLM decodes.

    The recipes build the engine (its largest batch and CUDA graphs) for the load and then
    send 1.05 to 1.5 times as many users as it has slots, so that it never runs dry: the
    others wait with their first token. A sweep over powers of two has room for all instead.

    Parameters
    ----------
    n_users : int
        Users of the closed loop over all instances.
    n_instances, n_groups : int
        Decode replicas, and attention groups of each.
    most_users : int
        Most users that the same curve sends to the same instances; with tensor-parallel
        attention one engine serves all its points.
    default : int
        Sequences of a group where the recipe does not limit them.

    Returns
    -------
    int
        Sequences of one attention group.
    """
    load = n_users / (n_instances * n_groups)
    room = max(default, math.ceil(load))
    if load <= 1 or n_users & (n_users - 1) == 0:
        return room
    if n_groups > 1:
        return _size_below(load)
    if load < _ONE_SLOT:
        return 1
    if load <= _FEW:
        return room
    return _size_below(max(n_users, most_users) / n_instances)


def _size_below(load: float) -> int:
    return max(size for size in _SIZES if size <= load)
