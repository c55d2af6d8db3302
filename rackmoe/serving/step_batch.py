"""What bounds the forward passes of a replica, and what one of them holds."""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from rackmoe.model.architecture import Window
from rackmoe.serving.prompt_gate import PromptPace

__all__ = ["BatchLimits", "BatchPolicy", "GroupChoice", "Preempted", "PrefillChunk", "StepBatch"]


class BatchPolicy(StrEnum):
    """How prefill and decode share the steps of a replica."""

    MIXED = "mixed"
    """Decode tokens first, prompt chunks in what is left of the token budget."""
    PREFILL_FIRST = "prefill_first"
    """A step holds prompts only while any wait, and decodes otherwise."""


class GroupChoice(StrEnum):
    """How a request finds its attention data-parallel group."""

    ROUND_ROBIN = "round_robin"
    SHORTEST_QUEUE = "shortest_queue"
    LEAST_KV = "least_kv"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """What bounds a step; one attention group is the unit of every limit.

    Attributes
    ----------
    n_groups : int
        Attention data-parallel groups of the replica.
    max_sequences : int
        Sequences that a group decodes or prefills at once.
    max_tokens_per_step : int
        Tokens of one group in one forward pass.
    kv_blocks : int
        KV blocks of a group.
    block_tokens : int
        Tokens of one KV block.
    policy : BatchPolicy
        How prefill and decode share the steps.
    group_choice : GroupChoice
        How a request finds its group.
    kv_watermark_frac : float
        Share of the blocks that admission keeps free, so that running sequences can grow.
    window : Window or None
        Local attention of the layers that have it.
    draft_tokens : int
        Speculative tokens of a sequence that a decode step verifies beside its own one.
    declared_output_tokens : int
        Output for which admission keeps memory free; 0 lets sequences outgrow it.
    pace : PromptPace
        How often new prompts are taken.
    """

    n_groups: int
    max_sequences: int
    max_tokens_per_step: int
    kv_blocks: int
    block_tokens: int
    policy: BatchPolicy = BatchPolicy.MIXED
    group_choice: GroupChoice = GroupChoice.SHORTEST_QUEUE
    kv_watermark_frac: float = 0.0
    window: Window | None = None
    draft_tokens: int = 0
    declared_output_tokens: int = 0
    pace: PromptPace = field(default_factory=PromptPace)

    def blocks(self, n_tokens: int) -> int:
        """Return the KV blocks that a context occupies.

        Parameters
        ----------
        n_tokens : int
            Context length.

        Returns
        -------
        int
            Blocks.
        """
        return -(-n_tokens // self.block_tokens)

    def fits(self, n_tokens: int) -> bool:
        """Return whether a context could ever be held by one group.

        Parameters
        ----------
        n_tokens : int
            Context length.

        Returns
        -------
        bool
            False if the request has to be rejected.
        """
        return self.blocks(n_tokens) <= self.kv_blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillChunk:
    """A piece of one prompt that a step computes.

    Attributes
    ----------
    request : int
        Request id.
    group : int
        Attention group.
    n_tokens : int
        Tokens of the piece.
    past_tokens : int
        Tokens of the prompt computed before, or found in the prefix cache.
    is_first, is_last : bool
        Whether the piece starts or completes its prompt.
    """

    request: int
    group: int
    n_tokens: int
    past_tokens: int
    is_first: bool
    is_last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Preempted:
    """A sequence that lost its KV memory.

    Attributes
    ----------
    request : int
        Request id.
    group : int
        Attention group that it lost.
    context : int
        Tokens that must be computed again.
    remaining : int
        Output tokens still to come.
    is_stuck : bool
        Whether it was alone in its group: no memory would ever suffice.
    """

    request: int
    group: int
    context: int
    remaining: int
    is_stuck: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBatch:
    """What one forward pass computes; arrays have one entry for each attention group.

    Attributes
    ----------
    decode_sequences, decode_kv_tokens, decode_window_tokens : ndarray of shape (n_groups,)
        Sequences that decode, the sum of their contexts, and of what a window keeps of them.
    prefill_tokens : ndarray of shape (n_groups,)
        Prompt tokens.
    chunks : tuple of PrefillChunk
        The prompt pieces.
    preempted : tuple of Preempted
        Sequences that lost their memory before the step.
    tokens_per_sequence : int
        Tokens that a decoding sequence computes: its own one, and drafts to verify.
    """

    decode_sequences: NDArray[np.int64]
    decode_kv_tokens: NDArray[np.int64]
    decode_window_tokens: NDArray[np.int64]
    prefill_tokens: NDArray[np.int64]
    chunks: tuple[PrefillChunk, ...]
    preempted: tuple[Preempted, ...]
    tokens_per_sequence: int = 1

    @property
    def decode_tokens(self) -> NDArray[np.int64]:
        """Tokens of the decoding sequences, shape (n_groups,); not to be written to."""
        if self.tokens_per_sequence == 1:
            return self.decode_sequences
        return self.decode_sequences * self.tokens_per_sequence

    @property
    def has_decode(self) -> bool:
        """Whether any sequence decodes."""
        # a list: the array method costs more than so few numbers
        return any(self.decode_sequences.tolist())

    @property
    def is_empty(self) -> bool:
        """Whether nothing is computed: the sequences that ran lost their memory."""
        return not self.chunks and not self.has_decode
