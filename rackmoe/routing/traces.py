"""Recorded expert choices, token by token or as counts, as rackmoe keeps them in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rackmoe.routing.paging import PageRelease

__all__ = [
    "CountTrace",
    "TokenTrace",
    "TraceHeader",
    "TracePhase",
    "count_experts",
    "join_domains",
]

_ROWS_AT_ONCE = 8192  # counted at a time, so that a memory-mapped trace stays on disk

TracePhase = Literal["decode", "prefill", "both", "any"]
"""What the rows are: one phase; prompts then outputs of each request; or rows fit for either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceHeader:
    """Where a trace comes from and which model it belongs to.

    Attributes
    ----------
    model : str
        Model that was recorded or imitated.
    n_experts, top_k : int
        Routed experts of a layer; experts per token.
    moe_layer_ids : tuple of int
        Number of each MoE layer within the model.
    phase : TracePhase
        What the rows are.
    source, licence, note : str
        Origin, licence and remarks, repeated with every result.
    """

    model: str
    n_experts: int
    top_k: int
    moe_layer_ids: tuple[int, ...]
    phase: TracePhase
    source: str
    licence: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTrace:
    """The experts that each token of some requests chose in each MoE layer.

    Attributes
    ----------
    routed_experts : ndarray of shape (N, L, K), uint8 or uint16
        Logical experts; may be memory-mapped.
    req_offsets : ndarray of shape (n_requests + 1,), int64
        Rows of request i are ``req_offsets[i]`` to ``req_offsets[i + 1]``.
    n_prompt_rows : ndarray of shape (n_requests,), int32
        Leading rows of each request that are prompt tokens.
    header : TraceHeader
        Origin and model.
    domain : ndarray of shape (n_requests,), int64
        Index into `domain_names`, -1 where unknown; empty where no domain is known.
    domain_names : tuple of str
        What the requests are about.
    """

    routed_experts: NDArray[np.unsignedinteger]
    req_offsets: NDArray[np.int64]
    n_prompt_rows: NDArray[np.int32]
    header: TraceHeader
    domain: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    domain_names: tuple[str, ...] = ()

    @property
    def n_tokens(self) -> int:
        """Rows of the trace."""
        return int(self.routed_experts.shape[0])

    @property
    def n_layers(self) -> int:
        """MoE layers."""
        return int(self.routed_experts.shape[1])

    def spans(self, phase: Literal["prefill", "decode"]) -> NDArray[np.int64]:
        """Return the rows of each request that belong to a phase.

        Parameters
        ----------
        phase : {"prefill", "decode"}
            Which rows to return.

        Returns
        -------
        ndarray of shape (n, 2), int64
            First row and number of rows, of the requests that have any.
        """
        first, last = self.req_offsets[:-1], self.req_offsets[1:]
        border = first + self.n_prompt_rows
        if self.header.phase != "any":
            first, last = (first, border) if phase == "prefill" else (border, last)
        spans = np.stack([first, last - first], axis=1)
        return spans[spans[:, 1] > 0]

    def phase_rows(self, phase: Literal["prefill", "decode"]) -> NDArray[np.int64]:
        """Return all rows that belong to a phase, request after request.

        Parameters
        ----------
        phase : {"prefill", "decode"}
            Which rows to return.

        Returns
        -------
        ndarray of shape (n,), int64
            Row numbers; empty if the phase was not recorded.
        """
        parts = [np.arange(first, first + n) for first, n in self.spans(phase).tolist()]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def of_domain(self, name: str) -> "TokenTrace":
        """Return the requests of one domain, copied.

        Parameters
        ----------
        name : str
            One of `domain_names`.

        Returns
        -------
        TokenTrace
            With its requests in their order.
        """
        kept = np.flatnonzero(self.domain == self.domain_names.index(name))
        first, size = self.req_offsets[kept], np.diff(self.req_offsets)[kept]
        rows = [np.arange(start, start + n) for start, n in zip(first, size, strict=True)]
        return replace(
            self,
            routed_experts=self.routed_experts[np.concatenate(rows)],
            req_offsets=np.concatenate(([0], np.cumsum(size))),
            n_prompt_rows=self.n_prompt_rows[kept],
            domain=np.zeros(kept.size, np.int64),
            domain_names=(name,),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CountTrace:
    """How often each expert was chosen in each step (or request) and MoE layer.

    Attributes
    ----------
    counts : ndarray of shape (S, L, E), integer
        Assignments.
    step_tokens : ndarray of shape (S,), int64
        Tokens of each step.
    header : TraceHeader
        Origin and model.
    """

    counts: NDArray[np.integer]
    step_tokens: NDArray[np.int64]
    header: TraceHeader


def count_experts(trace: TokenTrace, *, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each expert is chosen by some rows of a trace.

    Parameters
    ----------
    trace : TokenTrace
        The trace.
    rows : ndarray of shape (n,), int64
        Rows to count.

    Returns
    -------
    ndarray of shape (L, E), int64
        Assignments; each row of it adds up to ``n * top_k``.
    """
    n_experts = trace.header.n_experts
    size = trace.n_layers * n_experts
    offset = np.arange(trace.n_layers)[:, None] * n_experts
    counts = np.zeros(size, np.int64)
    pages = PageRelease(trace.routed_experts)
    for first in range(0, rows.size, _ROWS_AT_ONCE):
        part = trace.routed_experts[rows[first : first + _ROWS_AT_ONCE]].astype(np.int64)
        pages.read(len(part))
        counts += np.bincount((part + offset).ravel(), minlength=size)
    return counts.reshape(trace.n_layers, n_experts)


def join_domains(parts: Sequence[TokenTrace], *, names: Sequence[str]) -> TokenTrace:
    """Return traces of several domains as one.

    Parameters
    ----------
    parts : sequence of TokenTrace
        Of the same model and phase.
    names : sequence of str
        Domain of each.

    Returns
    -------
    TokenTrace
        The requests of one domain after those of the other.
    """
    starts = np.cumsum([0, *(part.n_tokens for part in parts)])
    offsets = [part.req_offsets[:-1] + at for part, at in zip(parts, starts[:-1], strict=True)]
    sizes = [part.n_prompt_rows.size for part in parts]
    return replace(
        parts[0],
        routed_experts=np.concatenate([part.routed_experts for part in parts]),
        req_offsets=np.concatenate([*offsets, starts[-1:]]),
        n_prompt_rows=np.concatenate([part.n_prompt_rows for part in parts]),
        domain=np.repeat(np.arange(len(parts)), sizes),
        domain_names=tuple(names),
    )
