"""A closed loop that has been running for long: its first requests are half done."""

from dataclasses import replace

import numpy as np

from rackmoe.serving.workload import RequestTable

__all__ = ["staggered_requests"]


def staggered_requests(
    requests: RequestTable, *, n_first: int, rng: np.random.Generator
) -> RequestTable:
    """Return requests of which the first ones have part of their output in their prompt.

    The point that each has reached is uniform over its output, as in the stationary
    state of a loop of equal steps. Where lengths differ, longer outputs would be met
    more often; for the narrow spreads of benchmarks this is left out.

    Parameters
    ----------
    requests : RequestTable
        Requests of a closed loop.
    n_first : int
        Requests in the loop.
    rng : Generator
        The stream named ``staggered starts``.

    Returns
    -------
    RequestTable
        The same requests; sums of input and output tokens do not change.
    """
    share = rng.random(n_first)[: len(requests)]
    done = np.zeros(len(requests), dtype=np.int64)
    # at least one token is left to emit
    done[:n_first] = np.floor(share * requests.output_tokens[:n_first])
    return replace(
        requests,
        input_tokens=requests.input_tokens + done,
        output_tokens=requests.output_tokens - done,
    )
