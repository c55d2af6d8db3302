"""Which fitted constants describe the operators of a serving engine on one GPU."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import ClassVar, Final

from pydantic import ConfigDict

from rackmoe.schema.quantities import Kind, Seconds
from rackmoe.units import strip_unit_suffix

__all__ = [
    "KV_FORMATS",
    "WEIGHT_FORMATS",
    "AttentionDecodeConstants",
    "AttentionPrefillConstants",
    "ElementwiseConstants",
    "GemmConstants",
    "GroupedGemmConstants",
    "ModuleConstants",
    "OperatorConstants",
    "free_constants",
    "ideal_constants",
]

# The formats of model.dtypes, which this layer may not import; a test compares them.
WEIGHT_FORMATS: Final = (
    "bf16",
    "fp8",
    "fp8_block",
    "nvfp4",
    "w4a16_mxfp4",
    "w4a8_mxfp4",
    "w4a16_int4",
)
KV_FORMATS: Final = ("bf16", "fp8")

# Constants are written in files without the unit in the key, as in every document.
_IN_FILES = ConfigDict(
    alias_generator=strip_unit_suffix,
    extra="forbid",
    strict=True,
    allow_inf_nan=False,
    validate_by_name=True,
    validate_by_alias=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmConstants:
    """How well one kernel family multiplies matrices; the law is `compute.gemm.GemmLaw`.

    Attributes
    ----------
    launch_s : float
        Fixed time of one call, its activation-quantize kernel included. [s]
    flop_efficiency : float
        Share of the dense peak that large products reach.
    hbm_efficiency : float
        Share of the HBM bandwidth that large products reach.
    quantize_efficiency : float
        Share of the HBM bandwidth at which bf16 activations are quantized, one pass over
        input and output counted; below it, kernels take several passes.
    sharpness : float
        Exponent that joins the bounds; infinite is the plain roofline.
    ramp_length : float
        Elements of k that filling and draining the pipeline of a tile costs, a count.
    k_step_s : float
        Time per element of k that one output tile needs when nothing else binds. [s]
    strip_exponent : float
        How bandwidth falls with the share of columns missing to occupy all units.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _IN_FILES

    launch_s: Seconds
    flop_efficiency: float
    hbm_efficiency: float
    quantize_efficiency: float
    sharpness: float
    ramp_length: float
    k_step_s: Seconds
    strip_exponent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedGemmConstants:
    """How well one kernel family computes routed experts; law: `compute.grouped_gemm`.

    Attributes
    ----------
    launch_s : float
        Fixed time per MoE layer: route, permute, quantize, two products, finalize. [s]
    flop_efficiency, hbm_efficiency : float
        Shares of the dense peak and of the HBM bandwidth that large batches reach.
    token_efficiency : float
        Share of the HBM bandwidth at which tokens are quantized, permuted and summed.
    sharpness : float
        Exponent that joins the bounds; infinite is the plain roofline.
    expert_scan_s : float
        Time per local expert, empty or not, that the tile scheduler needs. [s]
    tile_rows : float
        Rows of the largest tile, a count: kernels given the tokens of all ranks choose
        their tile for all of them and leave it partly empty.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _IN_FILES

    launch_s: Seconds
    flop_efficiency: float
    hbm_efficiency: float
    token_efficiency: float
    sharpness: float
    expert_scan_s: Seconds
    tile_rows: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionDecodeConstants:
    """How well one kernel family attends to cached tokens; law: `compute.attention`.

    Attributes
    ----------
    launch_s : float
        Fixed time of one call. [s]
    flop_efficiency, hbm_efficiency : float
        Shares of the dense peak and of the HBM bandwidth that long contexts reach.
    io_efficiency : float
        Share of the HBM bandwidth at which queries and results move; above one where L2
        serves them.
    sharpness : float
        Exponent that joins the bounds; infinite is the plain roofline.
    tile_s : float
        Time that one SM needs per work tile besides its bytes and FLOP. [s]
    kv_token_s : float
        Time per cached token of one sequence, split over as many SMs as the kernel
        dares, when nothing else binds. [s]
    split_s : float
        Time to merge the parts of a split context, for a long one. [s]
    split_tokens : float
        Context at which half of `split_s` is paid, a count of tokens.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _IN_FILES

    launch_s: Seconds
    flop_efficiency: float
    hbm_efficiency: float
    io_efficiency: float
    sharpness: float
    tile_s: Seconds
    kv_token_s: Seconds
    split_s: Seconds
    split_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPrefillConstants:
    """How well one kernel family attends among new tokens; law: `compute.attention`.

    Attributes
    ----------
    launch_s : float
        Fixed time of one call. [s]
    flop_efficiency : float
        Share of the dense peak that long prompts reach.
    io_efficiency : float
        Share of the HBM bandwidth at which queries, keys, values and results move, their
        quantization included.
    sharpness : float
        Exponent that joins the bounds; infinite is the plain roofline.
    tile_s : float
        Time that one SM needs per tile of queries besides its FLOP. [s]
    kv_token_s : float
        Time per token of context that one tile of queries needs when nothing else
        binds. [s]
    """

    __pydantic_config__: ClassVar[ConfigDict] = _IN_FILES

    launch_s: Seconds
    flop_efficiency: float
    io_efficiency: float
    sharpness: float
    tile_s: Seconds
    kv_token_s: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementwiseConstants:
    """What passes over activations cost: norms, additions, rotations, gates.

    Attributes
    ----------
    launch_s : float
        Fixed time of one call. [s]
    hbm_efficiency : float
        Share of the HBM bandwidth that large arrays reach.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _IN_FILES

    launch_s: Seconds
    hbm_efficiency: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleConstants:
    """What an attention module costs besides its attention kernel and its products.

    Attributes
    ----------
    floor_s : float
        Fixed time per layer: norms, rotations, cache writes, gaps between kernels. [s]
    token_s : float
        The same per token of the step. [s]
    """

    __pydantic_config__: ClassVar[ConfigDict] = _IN_FILES

    floor_s: Seconds
    token_s: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorConstants:
    """The constants of every operator class of one engine on one GPU.

    Attributes
    ----------
    name : str
        Engine and GPU, for messages.
    gemm, grouped_gemm : mapping of str to constants
        By format of the weights.
    mla_decode, mla_prefill, gqa_decode, gqa_prefill : mapping of str to constants
        By format of the KV cache.
    decode_module, prefill_module : mapping of str to ModuleConstants
        By format of the weights of the attention module.
    elementwise : ElementwiseConstants
        For everything else.
    kinds : mapping of str to Kind
        Of each entry, under ``operator.dtype``.
    is_free : bool
        Whether every operator takes no time at all.
    """

    name: str
    gemm: Mapping[str, GemmConstants]
    grouped_gemm: Mapping[str, GroupedGemmConstants]
    mla_decode: Mapping[str, AttentionDecodeConstants]
    mla_prefill: Mapping[str, AttentionPrefillConstants]
    gqa_decode: Mapping[str, AttentionDecodeConstants]
    gqa_prefill: Mapping[str, AttentionPrefillConstants]
    decode_module: Mapping[str, ModuleConstants]
    prefill_module: Mapping[str, ModuleConstants]
    elementwise: ElementwiseConstants
    kinds: Mapping[str, Kind]
    is_free: bool = False


_IDEAL_GEMM: Final = GemmConstants(
    launch_s=0.0,
    flop_efficiency=1.0,
    hbm_efficiency=1.0,
    quantize_efficiency=inf,
    sharpness=inf,
    ramp_length=0.0,
    k_step_s=0.0,
    strip_exponent=0.0,
)
_IDEAL_GROUPED_GEMM: Final = GroupedGemmConstants(
    launch_s=0.0,
    flop_efficiency=1.0,
    hbm_efficiency=1.0,
    token_efficiency=inf,
    sharpness=inf,
    expert_scan_s=0.0,
    tile_rows=0.0,
)
_IDEAL_DECODE: Final = AttentionDecodeConstants(
    launch_s=0.0,
    flop_efficiency=1.0,
    hbm_efficiency=1.0,
    io_efficiency=inf,
    sharpness=inf,
    tile_s=0.0,
    kv_token_s=0.0,
    split_s=0.0,
    split_tokens=1.0,
)
_IDEAL_PREFILL: Final = AttentionPrefillConstants(
    launch_s=0.0,
    flop_efficiency=1.0,
    io_efficiency=inf,
    sharpness=inf,
    tile_s=0.0,
    kv_token_s=0.0,
)


def ideal_constants(*, name: str = "ideal") -> OperatorConstants:
    """Return the constants of the roofline: efficiencies of one, latencies of zero.

    Parameters
    ----------
    name : str
        The name to give them.

    Returns
    -------
    OperatorConstants
        Products cost the larger of FLOP over peak and bytes over bandwidth; passes that a
        fused kernel would hide (quantize, permute, query and result traffic) cost nothing.
    """
    return OperatorConstants(
        name=name,
        gemm=dict.fromkeys(WEIGHT_FORMATS, _IDEAL_GEMM),
        grouped_gemm=dict.fromkeys(WEIGHT_FORMATS, _IDEAL_GROUPED_GEMM),
        mla_decode=dict.fromkeys(KV_FORMATS, _IDEAL_DECODE),
        mla_prefill=dict.fromkeys(KV_FORMATS, _IDEAL_PREFILL),
        gqa_decode=dict.fromkeys(KV_FORMATS, _IDEAL_DECODE),
        gqa_prefill=dict.fromkeys(KV_FORMATS, _IDEAL_PREFILL),
        decode_module=dict.fromkeys(WEIGHT_FORMATS, ModuleConstants(floor_s=0.0, token_s=0.0)),
        prefill_module=dict.fromkeys(WEIGHT_FORMATS, ModuleConstants(floor_s=0.0, token_s=0.0)),
        elementwise=ElementwiseConstants(launch_s=0.0, hbm_efficiency=1.0),
        kinds={},
    )


def free_constants() -> OperatorConstants:
    """Return constants under which every operator takes no time: the network alone counts.

    Returns
    -------
    OperatorConstants
        With `is_free` set.
    """
    return replace(ideal_constants(name="free"), is_free=True)
