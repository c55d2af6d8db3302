"""Which sequences lose their KV memory when decode cannot grow."""

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import InvariantError
from rackmoe.serving.running import RunningSequences
from rackmoe.serving.step_batch import Preempted

__all__ = ["evict_latest"]


def evict_latest(
    running: RunningSequences,
    *,
    growth_tokens: int,
    held_blocks: NDArray[np.int64],
    kv_blocks: int,
    priorities: NDArray[np.int64] | None = None,
) -> tuple[Preempted, ...]:
    """Remove the latest sequences of each group until the others can grow.

    Where requests have priorities, those of the lowest one go first.

    Parameters
    ----------
    running : RunningSequences
        The decoding sequences; the evicted ones leave it.
    growth_tokens : int
        Tokens by which a step may lengthen a sequence.
    held_blocks : ndarray of shape (n_groups,)
        Blocks that prompts and transfers hold.
    kv_blocks : int
        Blocks of a group.
    priorities : ndarray of shape (n_requests,), optional
        Priority of each request.

    Returns
    -------
    tuple of Preempted
        In the order of eviction, group after group.

    Raises
    ------
    InvariantError
        If an eviction removed nothing.
    """
    free = kv_blocks - held_blocks - running.kv_blocks
    out: list[Preempted] = []
    for group in np.flatnonzero(running.blocks_wanted(growth_tokens) > free).tolist():
        while running.blocks_wanted(growth_tokens)[group] > _free(
            running, group=group, held_blocks=held_blocks, kv_blocks=kv_blocks
        ):
            before = len(running)
            alone = running.n_sequences[group] == 1 and held_blocks[group] == 0
            request, context, remaining = running.pop_latest(group, priorities=priorities)
            if len(running) != before - 1:
                raise InvariantError(f"preemption freed nothing in group {group}")
            out.append(
                Preempted(
                    request=request,
                    group=group,
                    context=context,
                    remaining=remaining,
                    is_stuck=bool(alone),
                )
            )
    return tuple(out)


def _free(
    running: RunningSequences, *, group: int, held_blocks: NDArray[np.int64], kv_blocks: int
) -> int:
    return int(kv_blocks - held_blocks[group] - running.kv_blocks[group])
