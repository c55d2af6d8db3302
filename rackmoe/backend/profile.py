"""How a serving engine at a date runs a model: scheduler, memory, host and the fits it uses."""

from typing import Annotated, Literal

from pydantic import Field

from rackmoe.backend.collectives import Family
from rackmoe.schema.documents import Document, Sourced, load_document
from rackmoe.schema.quantities import Bytes, Fraction, Seconds
from rackmoe.schema.shipped import shipped_path

__all__ = [
    "BackendProfile",
    "CollectiveChoice",
    "HostTimes",
    "HostsByGpu",
    "KvCaches",
    "MemoryReserve",
    "OperatorChoice",
    "SchedulerDefaults",
    "SpeculationRates",
    "load_backend",
]

Count = Annotated[int, Field(ge=1)]
Stretch = Annotated[float, Field(gt=0)]
Families = Annotated[list[Family], Field(min_length=1)]


class OperatorChoice(Document):
    """Which fitted rows give the operator times.

    Attributes
    ----------
    source : str
        Library and version whose kernels were measured; ``ideal`` for efficiency 1 and no latency.
    other_sources : dict of str to str
        Source of operators whose measured kernels the engine does not serve with.
    kernels : dict of str to str
        Kernel of the grouped expert product by dtype, where several were measured.
    latency_kernels, wide_prefill_kernels, wide_decode_kernels : dict of str to str
        The same where all ranks hold all tokens, and where attention groups dispatch
        theirs to whole experts, by phase; `kernels` where they say nothing.
    is_compute_free : bool
        Whether operators take no time at all, for bounds on communication.
    """

    source: str
    other_sources: dict[str, str] = Field(default_factory=dict)
    kernels: dict[str, str] = Field(default_factory=dict)
    latency_kernels: dict[str, str] = Field(default_factory=dict)
    wide_prefill_kernels: dict[str, str] = Field(default_factory=dict)
    wide_decode_kernels: dict[str, str] = Field(default_factory=dict)
    is_compute_free: bool = False


class CollectiveChoice(Document):
    """Which family of kernels moves tokens, by where the ranks of a group are.

    Attributes
    ----------
    source : str
        Library and version whose collectives were measured; ``ideal`` for the bound.
    one_domain_prefill, one_domain_decode : list of str
        Dispatch and combine families when the group fits one NVLink domain, the
        preferred one first; the first one that the GPU has constants for is used.
    many_domains_prefill, many_domains_decode : list of str
        The same across domains.
    all_reduce : str
        All-reduce of tensor-parallel parts.
    """

    source: str
    one_domain_prefill: Families
    one_domain_decode: Families
    many_domains_prefill: Families
    many_domains_decode: Families
    all_reduce: str


class SchedulerDefaults(Document):
    """What the scheduler does where a scenario says nothing.

    Attributes
    ----------
    policy : str
        How prefill and decode share the steps of an aggregated replica.
    group_choice : str
        How a request finds its attention data-parallel group.
    block_tokens : int
        Tokens of one KV block.
    max_batch_per_rank, max_tokens_per_step : int
        Limits of one attention group.
    kv_watermark_frac : float
        Share of the KV blocks that admission keeps free.
    guarantees_output : bool
        Whether admission keeps memory free for the output that requests declare.
    balance_steps : int
        Steps for which a prompt waits until every attention group has one.
    is_padded_to_largest : bool
        Whether every attention group computes as many tokens as the largest one.
    """

    policy: Literal["mixed", "prefill_first"]
    group_choice: Literal["round_robin", "shortest_queue", "least_kv"]
    block_tokens: Count
    max_batch_per_rank: Count
    max_tokens_per_step: Count
    kv_watermark_frac: Fraction
    guarantees_output: bool = False
    balance_steps: Annotated[int, Field(ge=0)] = 0
    is_padded_to_largest: bool = False


class MemoryReserve(Document):
    """What the engine leaves of the HBM for the KV cache.

    Attributes
    ----------
    usable_frac : Sourced
        Share of the HBM that the engine may use.
    workspace_bytes : Sourced
        Activations, graphs, communication buffers and context of one GPU. [B]
    is_share_of_free : bool
        Whether the share is one of what weights and workspace leave free, all of it cache.
    """

    usable_frac: Sourced[Fraction]
    workspace_bytes: Sourced[Bytes]
    is_share_of_free: bool = False


class HostTimes(Document):
    """What serving adds to the kernels of a step; a step lasts ``max(GPU, host) + gap``.

    Attributes
    ----------
    step_s : Sourced
        Host work of a step that overlaps the GPU. [s]
    gap_s : Sourced
        GPU idle between two steps. [s]
    sequence_s : Sourced
        More idle for each sequence of the attention group that has most: sampling,
        results, the next inputs. [s]
    layer_s : Sourced
        Host work per layer of a step with prompts, which no captured graph replays. [s]
    request_s : Sourced
        Time of a request before its queue: client, frontend and tokenizer. [s]
    poll_steps : Sourced
        Steps between two looks at new prompts, a count.
    decode_stretch, prompt_stretch : Sourced
        How many times longer kernels take in a served model than alone, in steps that only
        decode and in steps with prompts.
    """

    step_s: Sourced[Seconds]
    gap_s: Sourced[Seconds]
    sequence_s: Sourced[Seconds]
    layer_s: Sourced[Seconds]
    request_s: Sourced[Seconds]
    poll_steps: Sourced[Count]
    decode_stretch: Sourced[Stretch]
    prompt_stretch: Sourced[Stretch]

    def work_s(self, n_layers: int, *, has_prompts: bool) -> float:
        """Return the host work of a step, beside the GPU.

        Parameters
        ----------
        n_layers : int
            Layers of the model.
        has_prompts : bool
            Whether the step holds prompts, which no captured graph replays.

        Returns
        -------
        float
            Time. [s]
        """
        return self.step_s.value + has_prompts * n_layers * self.layer_s.value

    def stretch(self, *, has_prompts: bool) -> float:
        """Return how many times longer the kernels of a step take than alone.

        Parameters
        ----------
        has_prompts : bool
            Whether the step holds prompts.

        Returns
        -------
        float
            A factor.
        """
        return (self.prompt_stretch if has_prompts else self.decode_stretch).value


class HostsByGpu(HostTimes):
    """Host times of an engine, and others where it runs beside certain GPUs.

    Attributes
    ----------
    by_gpu : dict of str to HostTimes
        Host times beside a GPU, by its name, in place of the general ones.
    weights_stretch : dict of str to Sourced
        How many times longer still the kernels of a step that only decodes take, by the
        format in which the weights of experts are stored; 1 for formats that are not named.
    """

    by_gpu: dict[str, HostTimes] = Field(default_factory=dict)
    weights_stretch: dict[str, Sourced[Stretch]] = Field(default_factory=dict)


class KvCaches(Document):
    """What KV caches hold, and how they go from prefill to decode.

    Attributes
    ----------
    dtype : str
        Format where a scenario says nothing.
    path : str
        ``scale_out`` over the NICs, or ``scale_up`` over NVLink.
    setup_s : Sourced
        Handshake and descriptors of one request. [s]
    cold_start_s : Sourced
        Time after the start in which no cache arrives: connections are made lazily. [s]
    frees_windows : bool
        Whether layers with a sliding window give tokens back that left it.
    """

    dtype: Literal["bf16", "fp8"]
    path: Literal["scale_out", "scale_up"]
    setup_s: Sourced[Seconds]
    cold_start_s: Sourced[Seconds]
    frees_windows: bool = True


class SpeculationRates(Document):
    """How often the model accepts the tokens that its own extra layer drafted.

    Attributes
    ----------
    acceptance_frac : Sourced
        Chance of each draft to be accepted after all before it were, first draft first; the
        last value holds for further ones.
    """

    acceptance_frac: Sourced[Annotated[tuple[Fraction, ...], Field(min_length=1)]]


class BackendProfile(Document):
    """A serving engine at a date.

    Attributes
    ----------
    name, title : str
        File stem, and name for people.
    engine : str
        ``trtllm``, ``sglang``, ``vllm`` or ``ideal``.
    operators, collectives, scheduler, memory, host, kv, speculation
        The parts.
    sources : dict of str to str
        What the source keys stand for.
    """

    schema_id: Literal["rackmoe/backend/1"] = Field(alias="schema")
    name: str
    title: str
    engine: Literal["trtllm", "sglang", "vllm", "ideal"]
    operators: OperatorChoice
    collectives: CollectiveChoice
    scheduler: SchedulerDefaults
    memory: MemoryReserve
    host: HostsByGpu
    kv: KvCaches
    speculation: SpeculationRates
    sources: dict[str, str]

    def host_on(self, gpu_name: str, *, weights: str = "") -> HostTimes:
        """Return the host times with a GPU; the general ones if it has none of its own.

        Parameters
        ----------
        gpu_name : str
            Name of the GPU.
        weights : str, optional
            Format in which the weights of experts are stored; its kernels may stretch more or
            less than others.

        Returns
        -------
        HostTimes
            Seconds, counts and factors.
        """
        host = self.host.by_gpu.get(gpu_name, self.host)
        more = self.host.weights_stretch.get(weights)
        if more is None:
            return host
        stretch = host.decode_stretch
        both = stretch.model_copy(update={"value": stretch.value * more.value})
        return host.model_copy(update={"decode_stretch": both})


def load_backend(name: str) -> BackendProfile:
    """Read a backend profile.

    Parameters
    ----------
    name : str
        Name of a shipped profile, or path of a file.

    Returns
    -------
    BackendProfile
        The profile; every source checked.

    Raises
    ------
    ConfigError
        If the file is missing or wrong; all its problems at once.
    """
    path = shipped_path("scenarios/backends", name=name)
    return load_document(path, model=BackendProfile)
