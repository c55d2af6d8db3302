"""Which parts of a model are quantized, by its checkpoint or by a scheme the user names."""

import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

from rackmoe.model.architecture import Layers
from rackmoe.model.dtypes import ComponentDtypes
from rackmoe.model.families import Family
from rackmoe.model.fields import ConfigFields

__all__ = ["WEIGHT_SCHEMES", "read_quantization", "scheme_dtypes"]

WEIGHT_SCHEMES: Final = ("bf16", "fp8", "nvfp4", "nvfp4_wo", "mxfp4", "w4a8_mxfp4", "int4")

_METHODS: Final = "fp8, mxfp4, modelopt or compressed-tensors"
_OVERRIDE: Final = "name a scheme instead, for example weights: nvfp4"
_REGEX_MARK: Final = "re:"
# A pattern that could take exponential time on a module name is refused, not tried.
_MAX_PATTERN: Final = 200
_MAX_REPEATS: Final = 4
_REPEAT: Final = re.compile(r"[*+?{]")
_NESTED_REPEAT: Final = re.compile(r"\)[*+?{]")
# The components whose matrices checkpoints quantize; router, embedding and head stay bf16.
_QUANTIZED_PARTS: Final = ("attention", "dense", "routed_expert", "shared_expert")
# compressed-tensors: (type, bits) of the weights to their format.
_TENSOR_FORMATS: Final = {("int", 4): "w4a16_int4", ("float", 8): "fp8", ("float", 4): "nvfp4"}
_MODELOPT_FORMATS: Final = {"NVFP4": "nvfp4", "FP8": "fp8"}


def scheme_dtypes(scheme: str, *, family: Family) -> ComponentDtypes:
    """Return the format of each component under a scheme.

    Parameters
    ----------
    scheme : str
        One of `WEIGHT_SCHEMES`.
    family : Family
        The architecture, because published checkpoints differ in what they leave alone.

    Returns
    -------
    ComponentDtypes
        ``fp8`` and ``nvfp4`` quantize attention, dense layers, shared and routed experts,
        attention as the family's published checkpoints do; ``mxfp4`` and ``int4`` quantize
        the routed experts alone. Router, embedding and head stay in bf16.

    Notes
    -----
    Followed checkpoints: DeepSeek-V3 (fp8 blocks of 128 x 128 in all linear layers [1]_),
    nvidia/DeepSeek-V3-0324-NVFP4 (``exclude_modules``: ``self_attn``, ``mlp.gate``,
    ``lm_head`` and the layer for multi-token prediction [2]_; the same holds for
    DeepSeek-R1), nvidia/Qwen3-30B-A3B-NVFP4 (attention quantized, gates and ``lm_head``
    not [2]_), gpt-oss (MXFP4 experts [3]_), Kimi K2 Thinking (INT4 experts, group of 32
    [4]_). Layers for multi-token prediction take the formats of the others, which is
    lighter than the nvfp4 checkpoints, where they are bf16. ``nvfp4_wo`` is the second
    checkpoint, nvidia/DeepSeek-R1-0528-FP4-v2, which "additionally quantizes the wo module
    in attention layers" (its model card).

    References
    ----------
    .. [1] DeepSeek-AI, "DeepSeek-V3 Technical Report," arXiv:2412.19437, section 3.3.
    .. [2] NVIDIA, ``hf_quant_config.json`` of both checkpoints, as copied in
       ai-dynamo/aiconfigurator.
    .. [3] OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card," arXiv:2508.10925, section 2.1.
    .. [4] Moonshot AI, ``quantization_config`` of Kimi K2 Thinking.
    """
    experts_only = {"mxfp4": "w4a16_mxfp4", "w4a8_mxfp4": "w4a8_mxfp4", "int4": "w4a16_int4"}
    if scheme in experts_only:
        return ComponentDtypes(routed_expert=experts_only[scheme])
    if scheme == "fp8":
        return _all_parts(family.fp8, attention=family.fp8_attention)
    if scheme == "nvfp4_wo":
        parts = _all_parts("nvfp4", attention=family.nvfp4_attention)
        return replace(parts, attention_output="nvfp4")
    if scheme == "nvfp4":
        return _all_parts("nvfp4", attention=family.nvfp4_attention)
    return ComponentDtypes()


def _all_parts(dtype: str, *, attention: str) -> ComponentDtypes:
    return ComponentDtypes(
        attention=attention, dense=dtype, routed_expert=dtype, shared_expert=dtype
    )


def read_quantization(
    fields: ConfigFields | None, *, family: Family, layers: Layers
) -> ComponentDtypes:
    """Return the format of each component from ``quantization_config``.

    Parameters
    ----------
    fields : ConfigFields or None
        The keys of ``quantization_config``; None where the checkpoint is not quantized.
    family : Family
        The architecture, which knows the names of its modules.
    layers : Layers
        Order of the layers.

    Returns
    -------
    ComponentDtypes
        A part is quantized unless the file excludes its modules in most layers.
    """
    if fields is None:
        return ComponentDtypes()
    dtype = _quantized_dtype(fields)
    if dtype is None:
        return ComponentDtypes()
    if dtype == "w4a16_mxfp4":  # this method converts expert layers only
        return ComponentDtypes(routed_expert=dtype)
    patterns: list[str] = []
    for key in ("ignore", "exclude_modules", "modules_to_not_convert", "ignored_layers"):
        patterns += fields.texts(key) or ()
    matchers = _compile(patterns, fields=fields)
    names = _module_names(family, layers=layers)
    kept = {
        part: "bf16"
        for part in _QUANTIZED_PARTS
        if _is_excluded(names[part], globs=matchers[0], expressions=matchers[1])
    }
    return replace(_all_parts(dtype, attention=dtype), **kept)


def _quantized_dtype(fields: ConfigFields) -> str | None:
    method = fields.text("quant_method", default="modelopt" if fields.get("quant_algo") else "")
    if method == "fp8":
        return "fp8" if fields.get("weight_block_size") is None else "fp8_block"
    if method == "mxfp4":
        return "w4a16_mxfp4"
    if method == "modelopt":
        algorithm = fields.text("quant_algo", default="")
        if algorithm in _MODELOPT_FORMATS:
            return _MODELOPT_FORMATS[algorithm]
        fields.note("quant_algo", value=algorithm, expected="NVFP4 or FP8", remedy=_OVERRIDE)
        return None
    if method == "compressed-tensors":
        return _compressed_dtype(fields)
    fields.note("quant_method", value=method, expected=_METHODS, remedy=_OVERRIDE)
    return None


def _compressed_dtype(fields: ConfigFields) -> str | None:
    groups = fields.section("config_groups")
    found: set[str | None] = set()
    for name in [] if groups is None else groups.keys():
        group = groups.section(name) if groups is not None else None
        weights = None if group is None else group.section("weights")
        found.add(None if weights is None else _tensor_format(weights))
    if len(found) == 1:
        dtype = found.pop()
        if dtype is not None:
            return dtype
    fields.note(
        "config_groups",
        value=fields.get("config_groups"),
        expected="one format of weights: 4-bit int, 8-bit float or 4-bit float",
        remedy=_OVERRIDE,
    )
    return None


def _tensor_format(weights: ConfigFields) -> str | None:
    kind, bits = weights.text("type", default="int"), weights.count("num_bits")
    if weights.text("strategy", default="") == "block" and (kind, bits) == ("float", 8):
        return "fp8_block"
    return _TENSOR_FORMATS.get((kind, bits))


def _module_names(family: Family, *, layers: Layers) -> dict[str, list[str]]:
    """Return module names of each part in its first, middle and last layer."""
    moe = [layer for layer, is_moe in enumerate(layers.is_moe) if is_moe]
    dense = [layer for layer, is_moe in enumerate(layers.is_moe) if not is_moe]
    prefix = "language_model.model.layers" if family.is_nested else "model.layers"

    def names(members: Sequence[int], module: str) -> list[str]:
        chosen = {members[0], members[len(members) // 2], members[-1]} if members else set()
        return [f"{prefix}.{layer}.{module}" for layer in sorted(chosen)]

    every = range(len(layers.is_moe))
    return {
        "attention": names(every, "self_attn.o_proj"),
        "dense": names(dense, family.dense),
        "routed_expert": names(moe, family.routed_expert),
        "shared_expert": names(moe, family.shared_expert),
    }


def _compile(
    patterns: Sequence[str], *, fields: ConfigFields
) -> tuple[list[str], list[re.Pattern[str]]]:
    """Split exclusion patterns into globs of module names and regular expressions."""
    globs: list[str] = []
    expressions: list[re.Pattern[str]] = []
    for pattern in patterns:
        if not pattern.startswith(_REGEX_MARK):
            globs.append(pattern)
            continue
        expression = _expression(pattern.removeprefix(_REGEX_MARK))
        if expression is None:
            fields.note(
                "ignore",
                value=pattern,
                expected="a simple regular expression",
                remedy="list the modules by name",
            )
        else:
            expressions.append(expression)
    return globs, expressions


def _expression(body: str) -> re.Pattern[str] | None:
    if not _is_harmless(body):
        return None
    try:
        return re.compile(body)
    except re.error:
        return None


def _is_harmless(body: str) -> bool:
    return (
        len(body) <= _MAX_PATTERN
        and len(_REPEAT.findall(body)) <= _MAX_REPEATS
        and not _NESTED_REPEAT.search(body)
    )


def _is_excluded(
    names: Sequence[str], *, globs: Sequence[str], expressions: Sequence[re.Pattern[str]]
) -> bool:
    """Return whether most of the names are excluded."""
    n_excluded = sum(
        any(_covers(glob, name=name) for glob in globs)
        or any(expression.match(name) for expression in expressions)
        for name in names
    )
    return 2 * n_excluded > len(names)


def _covers(glob: str, *, name: str) -> bool:
    """Return whether a glob names a module, one that holds it, or its last parts."""
    return any(fnmatchcase(name, form) for form in (glob, f"{glob}.*", f"*.{glob}", f"*.{glob}.*"))
