"""Put the forward passes that SGLang recorded token by token together to requests."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.drafts import TokenDraft, join_requests
from rackmoe.routing.importers.physical import logical_ids
from rackmoe.routing.importers.sglang_passes import Record

__all__ = ["tokens_of"]


@dataclass(slots=True)
class _Request:
    """The rows of one request so far."""

    rows: list[NDArray[np.int64]] = field(default_factory=list)
    next_position: int = 0
    last_pass: int = -1
    n_prompt: int = 0
    has_output: bool = False


def tokens_of(
    records: Sequence[Record],
    *,
    physical_to_logical: NDArray[np.int64],
    n_experts: int,
    place: str,
) -> TokenDraft:
    """Return the tokens of the passes as requests.

    The recorder does not write request ids. A segment of a pass continues the
    request of the same rank that ended one position before it; where several did,
    the one that was active last.

    Parameters
    ----------
    records : sequence of Record
        Passes with ``topk_ids_of_layer``.
    physical_to_logical : ndarray of shape (L, P), int64
        Logical expert in each slot.
    n_experts : int
        Logical experts of a layer.
    place : str
        The files, for the message.

    Returns
    -------
    TokenDraft
        Requests in the order of their first pass, rank by rank.

    Raises
    ------
    TraceError
        If lengths do not fit together.
    """
    ranks = sorted({record.rank for record in records})
    by_rank = {rank: [one for one in records if one.rank == rank] for rank in ranks}
    notes = ["SGLang recorder, mode per_token: requests joined by token position"]
    if len(ranks) > 1 and _are_copies(by_rank):
        by_rank = {ranks[0]: by_rank[ranks[0]]}
        notes.append("all ranks recorded the same tokens; kept one")
    requests: list[_Request] = []
    n_doubtful = 0
    for own in by_rank.values():
        waiting: defaultdict[int, list[_Request]] = defaultdict(list)
        for record in own:
            ids = logical_ids(
                record.array("topk_ids_of_layer", n_axes=3).transpose(1, 0, 2),
                physical_to_logical=physical_to_logical,
                n_experts=n_experts,
                place=record.place,
            )
            n_doubtful += _extend(record, ids=ids, waiting=waiting, requests=requests)
    if n_doubtful:
        notes.append(f"{n_doubtful} segments fit several requests")
    return join_requests(
        [np.concatenate(one.rows) for one in requests],
        n_prompt_rows=[one.n_prompt for one in requests],
        phase="both",
        place=place,
        notes=notes,
    )


def _are_copies(by_rank: dict[int, list[Record]]) -> bool:
    """Whether all ranks saw the same tokens, as without data-parallel attention."""
    first, *others = (
        [
            (one.forward_pass_id, one.integers("input_ids"), one.integers("positions"))
            for one in own
        ]
        for own in by_rank.values()
    )
    return all(first == other for other in others)


def _extend(
    record: Record,
    *,
    ids: NDArray[np.int64],
    waiting: defaultdict[int, list[_Request]],
    requests: list[_Request],
) -> int:
    """Give the segments of a pass to requests; return how many fit several."""
    positions = record.integers("positions")
    is_prompt = record.fields.get("extend_seq_lens") is not None
    lengths = record.integers("extend_seq_lens") if is_prompt else [1] * len(positions)
    if not len(positions) == sum(lengths) == ids.shape[0]:
        raise TraceError(
            f"{record.place}: {ids.shape[0]} tokens, {len(positions)} positions, lengths that add "
            f"up to {sum(lengths)}; expected the same; check the version of the recorder"
        )
    n_doubtful = 0
    moved: list[_Request] = []
    first = 0
    for length in lengths:
        if not length:
            continue
        request, is_doubtful = _continued(waiting, position=positions[first])
        n_doubtful += is_doubtful
        is_output = not is_prompt or (length == 1 and bool(request.rows))  # or a mixed pass
        if not request.rows:
            requests.append(request)
        request.rows.append(ids[first : first + length])
        request.has_output |= is_output
        request.n_prompt += 0 if request.has_output else length
        request.next_position = positions[first] + length
        request.last_pass = record.forward_pass_id
        moved.append(request)
        first += length
    for request in moved:  # only now, so that no request takes two segments of one pass
        waiting[request.next_position].append(request)
    return n_doubtful


def _continued(
    waiting: defaultdict[int, list[_Request]], *, position: int
) -> tuple[_Request, bool]:
    """Take the request that goes on at a position; tell whether several could."""
    candidates = waiting[position] if position else []
    if not candidates:
        return _Request(), False
    latest = max(one.last_pass for one in candidates)
    active = [at for at, one in enumerate(candidates) if one.last_pass == latest]
    return candidates.pop(active[0]), len(active) > 1
