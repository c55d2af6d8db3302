"""Which format a foreign trace has, by its first bytes and the names inside."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from rackmoe.errors import TraceError
from rackmoe.routing.importers.arrays import NPY_MAGIC, npy_names
from rackmoe.routing.importers.mblt import MBLT_MAGIC
from rackmoe.routing.importers.router_logits import LOGITS_NAME
from rackmoe.routing.importers.zips import open_zip

__all__ = ["FORMATS", "sniff_format"]

FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "rackmoe": "rackmoe's own traces, .npz or folder",
        "sglang_recorder": "SGLang expert-distribution recorder, .pt: stat, per_pass, per_token",
        "sglang_responses": "SGLang return_routed_experts, stored responses (base64 int32)",
        "sglang_counts": "SGLang logical_count, JSON",
        "vllm_responses": "vLLM routed_experts, .npy or stored responses (base64 .npy)",
        "vllm_eplb": "vLLM EPLB statistics, JSON lines",
        "tensorrt_llm": "TensorRT-LLM EXPERT_STATISTIC folder: every choice, or counts",
        "tensorrt_llm_counts": "the same: counts even where every choice is there",
        "mblt": "llama.cpp with the mbolt patch, binary route log",
        "route_log": "route log, JSON lines by token or by batch",
        "router_logits": "transformers router logits, .npz",
        "fingerprint": "GPT-OSS-MoE-ExpertFingerprinting examples, JSON",
        "npz": "plain arrays of token ids or counts, .npz",
        "parquet": "plain tables of token ids or counts, .parquet (needs pyarrow)",
    }
)
"""What can be imported, by the word that names it."""

_ZIP_MAGIC = b"PK\x03\x04"
_PARQUET_MAGIC = b"PAR1"
_PICKLE_MAGIC = b"\x80"
_HEAD_BYTES = 1 << 24
# texts of prompts may come before, so the first 16 MiB are looked through
_WORDS = (
    (b'"router_data"', "fingerprint"),
    (b'"eplb_load_meta"', "vllm_eplb"),
    (b'"eplb_load_stats"', "vllm_eplb"),
    (b'"logical_count"', "sglang_counts"),
    (b'"routed_experts"', "responses"),
    (b'"topk_ids"', "route_log"),
    (b'"topk_experts"', "route_log"),
)
_NPY_IN_BASE64 = b'"k05VTVBZ'  # base64 of NPY_MAGIC


def sniff_format(path: Path) -> str:
    """Return the format of a file or folder.

    Parameters
    ----------
    path : pathlib.Path
        The trace.

    Returns
    -------
    str
        One of `FORMATS`.

    Raises
    ------
    TraceError
        If there is no such file, or it is like none of them.
    """
    if path.is_dir():
        return _sniff_folder(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError as error:
        raise TraceError(
            f"{path.name}: cannot be read ({error.strerror}); expected a trace; check the path"
        ) from error
    for magic, name in (
        (NPY_MAGIC, "vllm_responses"),
        (MBLT_MAGIC, "mblt"),
        (_PARQUET_MAGIC, "parquet"),
    ):
        if head.startswith(magic):
            return name
    if head.startswith(_ZIP_MAGIC):
        return _sniff_zip(path)
    if not head:
        raise TraceError(f"{path.name}: an empty file; expected a trace; copy it again")
    if head.lstrip()[:1] in {b"{", b"["}:
        return _sniff_text(head, place=path.name)
    remedy = f"give the format: {', '.join(FORMATS)}"
    if head.startswith(_PICKLE_MAGIC):
        remedy = "save it again with torch.save of version 1.6 or later; bare pickles are refused"
    raise TraceError(f"{path.name}: begins with {head[:8]!r}; expected a known format; {remedy}")


def _sniff_folder(path: Path) -> str:
    for pattern, name in (
        ("meta_info.json", "tensorrt_llm"),
        ("header.json", "rackmoe"),
        ("*.pt", "sglang_recorder"),
        ("*.npy", "vllm_responses"),
        ("*.npz", "npz"),
        ("*_examples.json", "fingerprint"),
    ):
        if any(path.glob(pattern)):
            return name
    first = next(iter(sorted(path.glob("*.json*"))), None)
    if first is None:
        raise TraceError(
            f"{path.name}: a folder without known files; expected a known format; "
            f"give the format: {', '.join(FORMATS)}"
        )
    return sniff_format(first)


def _sniff_zip(path: Path) -> str:
    with open_zip(path) as archive:
        if any(name.endswith("/data.pkl") for name in archive.members):
            return "sglang_recorder"
        names = npy_names(archive)
        if "header" in names:
            size_bytes = archive.members["header.npy"].file_size
            text = archive.read("header.npy", limit_bytes=min(size_bytes, _HEAD_BYTES))
            # numpy writes text in four bytes per character
            if "rackmoe-".encode("utf-32-le") in text:
                return "rackmoe"
        is_logits = any(map(LOGITS_NAME.fullmatch, names))
        return "router_logits" if is_logits else "npz"


def _sniff_text(head: bytes, *, place: str) -> str:
    for word, name in _WORDS:
        if word in head and name == "responses":
            compact = head.replace(b" ", b"")
            return "vllm_responses" if _NPY_IN_BASE64 in compact else "sglang_responses"
        if word in head:
            return name
    raise TraceError(
        f"{place}: JSON without a known key; expected a known format; "
        f"give the format: {', '.join(FORMATS)}"
    )
