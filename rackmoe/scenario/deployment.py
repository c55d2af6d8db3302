"""How GPUs are divided into replicas, and replicas into pools."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rackmoe.scenario.autoscaling import Autoscaling, StartUp
from rackmoe.scenario.policies import PreemptionChoice, RouterChoice
from rackmoe.scenario.rebalance import Rebalance
from rackmoe.schema.documents import Document
from rackmoe.schema.quantities import Fraction

__all__ = ["Deployment", "Experts", "PlacementFile", "Pool"]

Degree = Annotated[int, Field(ge=1, le=4096)]
Count = Annotated[int, Field(ge=0)]


class Pool(Document):
    """Equal replicas of the model that share a role.

    Attributes
    ----------
    replicas : int
        Copies of the model.
    tp : int
        GPUs over which one attention group splits its heads.
    attention_dp : int
        Attention groups of a replica, each with its own sequences.
    ep : int
        GPUs over which the routed experts of a replica are spread; 1 splits each
        expert over all GPUs of the replica instead.
    pp : int
        Stages of a pipeline, each with a part of the layers on GPUs of its own; as many
        groups of sequences are on their way at a time.
    cp : int
        Parts into which an attention group of a prefill pool divides its prompts, each on
        ``tp`` GPUs of its own.
    redundant_experts : int
        Physical experts beyond the routed ones, over the whole replica.
    max_batch_per_rank : int or None
        Sequences of one attention group; the backend's default if absent.
    max_tokens_per_step : int or None
        Tokens of one attention group in a step; the backend's default if absent.
    two_batch_overlap : bool
        Split every step into two micro-batches that hide each other's communication.
    draft_tokens : int
        Tokens that a decode step drafts with the layer for multi-token prediction and
        verifies in the next one; 0 decodes token by token.
    offloads_weights : bool
        Keep weights that do not fit the HBM in the memory of the CPUs and stream them in
        during every step.
    """

    replicas: Degree = 1
    tp: Degree = 1
    attention_dp: Degree = 1
    ep: Degree = 1
    pp: Degree = 1
    cp: Degree = 1
    redundant_experts: Count = 0
    max_batch_per_rank: Degree | None = None
    max_tokens_per_step: Annotated[int, Field(ge=1)] | None = None
    two_batch_overlap: bool = False
    draft_tokens: Annotated[int, Field(ge=0, le=8)] = 0
    offloads_weights: bool = False

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        attention = self.n_gpus_per_stage
        if self.ep not in (1, attention):
            factors = "tp x attention_dp" if self.cp == 1 else "tp x cp x attention_dp"
            raise ValueError(
                f"ep: {self.ep} differs from {factors} = {attention}; "
                f"write ep: {attention}, or ep: 1 to split every expert"
            )
        return self

    @property
    def n_attention_ranks(self) -> int:
        """Parts of a stage that compute tokens of their own."""
        return self.cp * self.attention_dp

    @property
    def n_gpus_per_stage(self) -> int:
        """GPUs of one pipeline stage."""
        return self.tp * self.n_attention_ranks

    @property
    def n_gpus_per_replica(self) -> int:
        """GPUs of one replica."""
        return self.pp * self.n_gpus_per_stage

    @property
    def n_gpus(self) -> int:
        """GPUs of the pool."""
        return self.replicas * self.n_gpus_per_replica


class Deployment(Document):
    """The pools: either one that does everything, or one for prefill and one for decode.

    Attributes
    ----------
    aggregated : Pool or None
        Replicas that prefill and decode.
    prefill, decode : Pool or None
        Replicas that do one phase and hand the KV cache over.
    router : RouterChoice
        Which replica of a pool a request goes to.
    preemption : PreemptionChoice
        What happens to a sequence that has to give up its KV memory.
    start_up : StartUp or None
        What a replica does before it serves after a repair; nothing if absent.
    autoscaling : dict of str to Autoscaling
        When replicas of a pool are switched on and off, by role.
    intake_every_steps : int or None
        Steps between two looks at new prompts; those of the backend if absent.
    """

    aggregated: Pool | None = None
    prefill: Pool | None = None
    decode: Pool | None = None
    router: RouterChoice = Field(default_factory=RouterChoice)
    preemption: PreemptionChoice = Field(default_factory=PreemptionChoice)
    start_up: StartUp | None = None
    autoscaling: dict[Literal["aggregated", "prefill", "decode"], Autoscaling] = Field(
        default_factory=dict
    )
    intake_every_steps: Degree | None = None

    @model_validator(mode="after")
    def _check_pools(self) -> Self:
        split = self.prefill is not None or self.decode is not None
        if split == (self.aggregated is not None):
            raise ValueError("write either 'aggregated', or both 'prefill' and 'decode'")
        if split and (self.prefill is None or self.decode is None):
            missing = "decode" if self.decode is None else "prefill"
            raise ValueError(f"'{missing}' is missing; a split deployment has both pools")
        return self

    @model_validator(mode="after")
    def _check_autoscaling(self) -> Self:
        for role, choice in self.autoscaling.items():
            if role not in self.pools:
                raise ValueError(
                    f"autoscaling.{role}: there is no such pool; expected one of "
                    f"{', '.join(self.pools)}; rename it"
                )
            there, wanted = self.pools[role].replicas, choice.start_replicas or choice.min_replicas
            if wanted > there:
                raise ValueError(
                    f"autoscaling.{role}: {wanted} replicas at the start; the pool has GPUs for "
                    f"{there}; raise {role}.replicas or lower it"
                )
        if self.autoscaling and self.start_up is None:
            raise ValueError(
                "autoscaling: replicas load their weights when they are switched on; "
                "write start_up: {weights_from: host, delay: 30 s} or the like"
            )
        return self

    @property
    def pools(self) -> dict[str, Pool]:
        """The pools by role, in the order of the request's way."""
        named = {"aggregated": self.aggregated, "prefill": self.prefill, "decode": self.decode}
        return {role: pool for role, pool in named.items() if pool is not None}

    @property
    def n_gpus(self) -> int:
        """GPUs that the deployment uses."""
        return sum(pool.n_gpus for pool in self.pools.values())


class PlacementFile(Document):
    """A placement that was computed elsewhere.

    Attributes
    ----------
    file : str
        JSON with ``physical_to_logical_map`` (SGLang), or a TensorRT-LLM load-balancer
        YAML, of as many slots as the pools have; found from where rackmoe runs.
    """

    file: Annotated[str, Field(min_length=1)]


PlacementPolicy = Literal[
    "contiguous",
    "round_robin",
    "eplb",
    "eplb_global",
    "eplb_hierarchical",
    "eplb_vec",
    "affinity",
]


class Experts(Document):
    """Where the experts are.

    Attributes
    ----------
    placement : str or PlacementFile
        ``contiguous`` and ``round_robin`` do not look at loads. The others see the routing's
        long-run counts: ``eplb_global`` balances them over all ranks, ``eplb_hierarchical``
        keeps the groups of the gate together on nodes, ``eplb`` is hierarchical wherever the
        nodes divide the groups; ``eplb_vec`` lowers the sum over steps of the busiest slot,
        ``affinity`` puts experts that the same tokens choose on one rank, at up to 5 % more
        load; these two need tokens (a trace, or the source ``replay`` or ``block``). Or
        ``{file: PATH}``: a placement from elsewhere.
    replica_choice : str
        Which copy of a replicated expert a token takes.
    balance_on_frac : float
        Share of the routing's tokens, from its start, whose counts the balancer sees.
    balance_on_domain : str or None
        Domain whose tokens the balancer sees; those of the whole workload if absent.
    rebalance : Rebalance or None
        Place the experts again during the run; where they are at first if absent.
    """

    placement: PlacementPolicy | PlacementFile = "contiguous"
    replica_choice: Literal["random", "round_robin", "nearest", "least_loaded"] = "random"
    balance_on_frac: Fraction = 1.0
    balance_on_domain: str | None = None
    rebalance: Rebalance | None = None
