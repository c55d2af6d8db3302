"""Which experts the tokens of a micro-batch choose: by phase, domain and rank."""

import numpy as np
from numpy.typing import NDArray

from rackmoe.engine.micro_batches import MicroBatch
from rackmoe.routing.step import RoutingSource, StepRouting

__all__ = ["BatchRouting"]


class BatchRouting:
    """Tells a source which tokens a micro-batch holds.

    Parameters
    ----------
    source : RoutingSource
        Which experts the tokens choose.
    tp : int
        GPUs of an attention group.
    domain_of_request : ndarray of shape (n_requests,), int64, optional
        What each request is about, where the source tells domains apart.

    Attributes
    ----------
    source : RoutingSource
        May be replaced by one of another placement.
    trace_starts : ndarray of shape (n_outputs,)
        Places in the replayed trace where recorded outputs start; empty without replay.
    """

    def __init__(
        self,
        source: RoutingSource,
        *,
        tp: int,
        domain_of_request: NDArray[np.int64] | None = None,
    ) -> None:
        self.source = source
        self._tp = tp
        self._domain = domain_of_request
        spans = source.spans if source.needs_rows else None
        if spans is None:
            spans = np.empty((0, 2), dtype=np.int64)
        rows = [np.arange(first, first + n) for first, n in spans.tolist()]
        self._trace_order = np.concatenate([np.empty(0, dtype=np.int64), *rows])
        self.trace_starts = np.cumsum(spans[:, 1]) - spans[:, 1]
        # outputs of a domain stand in a row: a sequence that is longer goes on among them
        of_span = np.zeros(len(spans), dtype=np.int64)
        if source.span_domain is not None:
            of_span = source.span_domain
        self._n_starts = np.bincount(of_span, minlength=1)
        n_rows = np.bincount(of_span, weights=spans[:, 1], minlength=1).astype(np.int64)
        self._n_rows = np.maximum(n_rows, 1)
        self._first_row = np.cumsum(n_rows) - n_rows

    def first_rows(self, n_requests: int, *, rng: np.random.Generator) -> NDArray[np.int64]:
        """Give each request a recorded output that its tokens follow first.

        Parameters
        ----------
        n_requests : int
            Requests of the run.
        rng : numpy.random.Generator
            Picks them.

        Returns
        -------
        ndarray of shape (n_requests,)
            Places in the replayed trace; zeros without replay.
        """
        if not self.trace_starts.size:
            return np.zeros(n_requests, dtype=np.int64)
        if self._domain is None:
            return self.trace_starts[rng.integers(0, len(self.trace_starts), size=n_requests)]
        first = np.cumsum(self._n_starts) - self._n_starts
        picked = rng.integers(0, self._n_starts[self._domain])
        return np.asarray(self.trace_starts[first[self._domain] + picked])

    def route(self, part: MicroBatch, *, sender: int | None = None) -> StepRouting:
        """Return the routing of all tokens, or of those that one rank decodes.

        Parameters
        ----------
        part : MicroBatch
            The tokens.
        sender : int, optional
            The rank, where decode tokens are followed.

        Returns
        -------
        StepRouting
            Its arrays are reused by the next call.
        """
        source, batch = self.source, part.batch
        source.begin()
        if batch.has_decode:
            if source.needs_rows:
                self._add_followed(part, sender)
            elif self._domain is None:
                source.add(self._spread(batch.decode_tokens), phase="decode")
            else:
                self._add_decode_by_domain(part, self._domain)
        if batch.chunks and sender is None:
            if self._domain is None:
                source.add(self._spread(batch.prefill_tokens), phase="prefill")
            else:
                self._add_prompts_by_domain(part, self._domain)
        return source.finish()

    def _add_followed(self, part: MicroBatch, sender: int | None) -> None:
        """Add decode tokens with the rows of the trace that they follow."""
        batch = part.batch
        n = batch.tokens_per_sequence
        wanted = part.trace_rows
        rank = self._row_rank(np.repeat(part.groups, n))
        wanted = (wanted[:, None] + np.arange(n)).reshape(-1)
        if self._domain is None:
            wanted = wanted % self._n_rows[0]
        else:
            domain = np.repeat(self._domain[part.requests], n)
            first = self._first_row[domain]
            wanted = first + (wanted - first) % self._n_rows[domain]
        rows = self._trace_order[wanted]
        spread = self._spread(batch.decode_tokens)
        if sender is not None:
            is_own = rank == sender
            rows, rank = rows[is_own], rank[is_own]
            spread = np.bincount(rank, minlength=len(spread))
        self.source.add(spread, phase="decode", rows=rows, row_rank=rank)

    def _add_decode_by_domain(self, part: MicroBatch, domain: NDArray[np.int64]) -> None:
        n_groups = len(part.batch.decode_sequences)
        of_sequence = domain[part.requests]
        for one in np.unique(of_sequence).tolist():
            held = np.bincount(part.groups[of_sequence == one], minlength=n_groups)
            tokens = self._spread(held * part.batch.tokens_per_sequence)
            self.source.add(tokens, phase="decode", domain=one)

    def _add_prompts_by_domain(self, part: MicroBatch, domain: NDArray[np.int64]) -> None:
        tokens: dict[int, NDArray[np.int64]] = {}
        for chunk in part.batch.chunks:
            one = int(domain[chunk.request])
            if one not in tokens:
                tokens[one] = np.zeros_like(part.batch.prefill_tokens)
            tokens[one][chunk.group] += chunk.n_tokens
        for one in sorted(tokens):
            self.source.add(self._spread(tokens[one]), phase="prefill", domain=one)

    def _spread(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Deal the tokens of each attention group to its GPUs."""
        n_ranks = self.source.placement.n_ranks
        if n_ranks == 1:
            return tokens if len(tokens) == 1 else np.array([tokens.sum()])
        if self._tp == 1:
            return tokens
        share = np.arange(self._tp)
        return ((tokens[:, None] + share[::-1]) // self._tp).reshape(-1)

    def _row_rank(self, groups: NDArray[np.int64]) -> NDArray[np.int32]:
        if self.source.placement.n_ranks == 1:
            return np.zeros(len(groups), dtype=np.int32)
        first = groups * self._tp
        return (first + np.arange(len(groups)) % self._tp).astype(np.int32)
