"""The fastest step that a given bandwidth allows when nothing but expert traffic counts."""

__all__ = ["communication_bound_s"]


def communication_bound_s(
    n_tokens: int,
    *,
    n_layers: int,
    n_destinations: int,
    hidden: int,
    bytes_per_element: float,
    bandwidth_bytes_per_s: float,
    n_micro_batches: int = 2,
) -> float:
    r"""Return the time of one decode step that only dispatch and combine take.

    Parameters
    ----------
    n_tokens : int
        Tokens of a rank in one micro-batch.
    n_layers : int
        Layers with experts.
    n_destinations : int
        Copies of each token, shared expert and own rank included.
    hidden : int
        Width of the hidden vector.
    bytes_per_element : float
        Dispatch and combine together, for example 1 + 2. [B]
    bandwidth_bytes_per_s : float
        Of one rank, one direction. [B/s]
    n_micro_batches : int
        Micro-batches whose computing hides behind the other's traffic.

    Returns
    -------
    float
        Time per output token. [s]

    Notes
    -----
    .. math:: t = L M T D h b / B

    from C. Zhao et al., "Insights into DeepSeek-V3: Scaling Challenges and Reflections
    on Hardware for AI Architectures," ISCA 2025, section 2.3.2.

    Examples
    --------
    >>> bound_s = communication_bound_s(
    ...     32, n_layers=61, n_destinations=9, hidden=7000, bytes_per_element=3,
    ...     bandwidth_bytes_per_s=50e9,
    ... )
    >>> round(1e3 * bound_s, 2)
    14.76
    """
    n_copies = n_layers * n_micro_batches * n_tokens * n_destinations
    return n_copies * hidden * bytes_per_element / bandwidth_bytes_per_s
