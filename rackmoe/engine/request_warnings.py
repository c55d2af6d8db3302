"""What a reader has to know of requests that did not go as their users wished."""

import numpy as np

from rackmoe.engine.ledger import NEVER, Ledger
from rackmoe.records import State

__all__ = ["request_warnings"]


def request_warnings(
    ledger: Ledger, *, n_unfinished: int, most_kv_tokens: int, max_context: int
) -> tuple[str, ...]:
    """Say what happened to requests that did not get all their tokens, and why.

    Parameters
    ----------
    ledger : Ledger
        The requests of the run.
    n_unfinished : int
        Measured requests that had not ended.
    most_kv_tokens : int
        Context that fits the KV memory of a rank of every pool on the way, a count.
    max_context : int
        Context that the model was made for, a count.

    Returns
    -------
    tuple of str
        One sentence for each kind.
    """
    has_come = ledger.arrival != NEVER
    is_rejected = ledger.state == State.REJECTED
    context = ledger.n_input_tokens + ledger.n_output_tokens
    is_long = has_come & (context > max_context)
    rejected_tokens = int(ledger.n_input_tokens[is_rejected].max(initial=0))
    found = {
        "measured requests had not ended when the run stopped, so their latencies are missing; "
        "lower the arrival rate or lengthen the window": n_unfinished,
        "requests were rejected: their context never fits the KV memory of a rank, which holds "
        f"{most_kv_tokens:,} tokens (the longest prompt has {rejected_tokens:,}); spread the "
        "model over more GPUs, choose a smaller KV format, or shorten them": ledger.n_rejected,
        "requests ended before their last token: their context outgrew the KV memory of a rank, "
        f"which holds {most_kv_tokens:,} tokens": ledger.n_cut_short,
        f"requests have a longer context than the {max_context:,} tokens that the model was made "
        "for: a real engine refuses them": int(np.count_nonzero(is_long)),
    }
    told = [f"{n} {what}" for what, n in found.items() if n]
    is_done = ledger.state == State.DONE
    if is_done.any() and int(ledger.n_output_tokens[is_done].max()) == 1:
        told.append(
            "no request got a second token: TPOT and the gaps between tokens are not defined"
        )
    return tuple(told)
