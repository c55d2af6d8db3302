"""The prefix caches of a run: one for each replica that computes prompts."""

from collections.abc import Sequence
from functools import partial

from rackmoe.engine.replica import Replica
from rackmoe.records import Pool
from rackmoe.scenario.document import PrefixCacheChoice
from rackmoe.serving.prefix_cache import PrefixCache
from rackmoe.serving.workload import RequestTable

__all__ = ["install_prefix_caches"]

_NO_BLOCKS = (
    "prefix_cache: the requests have no prompt blocks, so none is ever found; "
    "use a trace with hash ids or sessions, or remove it"
)


def install_prefix_caches(
    replicas: Sequence[Replica], *, requests: RequestTable, choice: PrefixCacheChoice | None
) -> tuple[str, ...]:
    """Give replicas a memory of prompts.

    Parameters
    ----------
    replicas : sequence of Replica
        All replicas; those that only decode compute no prompt.
    requests : RequestTable
        The traffic.
    choice : PrefixCacheChoice or None
        What the scenario says; None for no cache.

    Returns
    -------
    tuple of str
        What a reader of the figures has to know.
    """
    if choice is None:
        return ()
    prefixes = requests.prefixes
    if prefixes is None:
        return (_NO_BLOCKS,)
    for replica in replicas:
        if replica.pool is Pool.DECODE:
            continue
        n_groups = replica.batcher.limits.n_groups
        capacity_blocks = None
        if choice.tokens_per_rank is not None:
            n_shared = n_groups if choice.shared else 1
            # the schedulers of a pipeline divide the store of its stages
            n_stages = 1 if replica.stages is None else len(replica.stages.first_gpus)
            n_tokens = choice.tokens_per_rank * n_shared // n_stages
            capacity_blocks = n_tokens // prefixes.block_tokens
        replica.remember_prompts(
            partial(
                PrefixCache,
                prefixes,
                n_groups=n_groups,
                is_shared=choice.shared,
                capacity_blocks=capacity_blocks,
                is_in_free_memory=choice.free_memory,
            )
        )
    return ()
