"""What it costs a worker to take a request, as routers that know the caches count it."""

__all__ = ["kv_aware_cost"]


def kv_aware_cost(
    new_tokens: int, *, waiting_tokens: int, held_tokens: int, overlap_weight: float
) -> float:
    r"""Return the cost of a request at one worker; the cheapest worker gets it.

    Parameters
    ----------
    new_tokens : int
        Tokens of its prompt that the prefix cache of the worker does not have.
    waiting_tokens : int
        Tokens that the worker has to compute for prompts that were given to it before.
    held_tokens : int
        Tokens in the KV cache of the sequences that the worker has in hand.
    overlap_weight : float
        Weight of prompt tokens to compute; 0 balances the caches alone.

    Returns
    -------
    float
        In tokens.

    Notes
    -----
    .. math:: c = w \, (n_\mathrm{new} + n_\mathrm{waiting}) + n_\mathrm{held}

    the cost of [1]_ in tokens instead of blocks; what the request itself will hold
    is the same at every worker and left out.

    References
    ----------
    .. [1] NVIDIA, Dynamo, "Router design", section "Cost calculation" (cost =
       overlap_score_weight x prefill_blocks + decode_blocks), 2026.

    Examples
    --------
    >>> costs = [
    ...     kv_aware_cost(new, waiting_tokens=0, held_tokens=held, overlap_weight=1.0)
    ...     for new, held in ((8, 10), (5, 5), (2, 9))
    ... ]
    >>> costs
    [18.0, 10.0, 11.0]
    """
    return overlap_weight * (new_tokens + waiting_tokens) + held_tokens
