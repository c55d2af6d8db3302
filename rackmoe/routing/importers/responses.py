"""Read the routed experts that SGLang and vLLM return with a request."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.arrays import NPY_MAGIC, map_npy, parse_npy
from rackmoe.routing.importers.bounded import decode_base64, files_in, json_lines, read_json
from rackmoe.routing.importers.drafts import TokenDraft, join_requests, known_prompts
from rackmoe.routing.importers.facts import ImportHints, ModelFacts, needed
from rackmoe.routing.importers.values import integer_array, is_count

__all__ = ["read"]

_N_AXES = 3  # tokens, layers, experts
_BYPASS = (
    "expected the base64 text of an array; the MoE kernel bypassed the recorder (monolithic "
    "FlashInfer or TensorRT-LLM kernels), or the request did not ask for it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Response:
    """What one request returned.

    Attributes
    ----------
    payload : object
        Its routed experts, as base64 text or lists; a pair where prompt and output are
        apart.
    n_prompt, n_output : int or None
        Tokens, where the response says them.
    n_skipped : int
        Leading tokens that the client did not ask for.
    place : str
        Name for messages.
    """

    payload: Any
    n_prompt: int | None
    n_output: int | None
    n_skipped: int
    place: str


def read(path: Path, *, facts: ModelFacts, hints: ImportHints) -> TokenDraft:
    """Return the routed experts of stored responses or ``.npy`` files.

    Parameters
    ----------
    path : pathlib.Path
        JSON with a response or a list of them, JSON lines, an ``.npy`` file of one
        request, or a folder of these.
    facts : ModelFacts
        The model, as far as it is known; SGLang's bytes have no shape of their own.
    hints : ImportHints
        What the user says.

    Returns
    -------
    TokenDraft
        One request for each response or file.

    Raises
    ------
    TraceError
        If a response holds no routed experts, or fewer or more rows than tokens.
    """
    suffix = ".npy" if path.is_dir() and any(path.glob("*.npy")) else ".json*"
    files = files_in(path, suffix=suffix)
    if files[0].suffix == ".npy":
        return _read_arrays(files, hints=hints, place=path.name)
    responses = [one for file in files for one in _responses(file)]
    parts = [_rows(one, facts=facts) for one in responses]
    notes = _check_lengths(parts, responses=responses)
    prompts = known_prompts(hints, n_requests=len(parts), place=path.name)
    said = [one.n_prompt for one in responses]
    if prompts is None and None not in said:
        prompts = tuple(max(0, (one.n_prompt or 0) - one.n_skipped) for one in responses)
    return join_requests(
        parts,
        n_prompt_rows=prompts,
        phase="any" if prompts is None else "both",
        place=path.name,
        notes=("routed experts of responses, logical ids", *notes),
    )


def _read_arrays(files: list[Path], *, hints: ImportHints, place: str) -> TokenDraft:
    parts = [_check_axes(map_npy(file), place=file.name) for file in files]
    prompts = known_prompts(hints, n_requests=len(parts), place=place)
    return join_requests(
        parts,
        n_prompt_rows=prompts,
        phase="any" if prompts is None else "both",
        place=place,
        notes=("vLLM routed_experts, one file per request, logical ids",),
    )


def _responses(file: Path) -> Iterator[_Response]:
    if file.suffix == ".jsonl":
        values = [one for one in json_lines(file) if one[1] is not None]
    else:
        value = read_json(file)
        listed = value if isinstance(value, list) else [value]
        values = [(f"{file.name}: response {number}", one) for number, one in enumerate(listed)]
    for place, value in values:
        yield from _unpack(value, place=place)


def _unpack(value: object, *, place: str) -> Iterator[_Response]:
    """Find the answers in a response; both engines also speak OpenAI's protocol."""
    if not isinstance(value, dict):
        raise TraceError(
            f"{place}: {type(value).__name__}; expected a response; store it unchanged"
        )
    answers = value.get("choices", value.get("outputs", [value]))
    if not isinstance(answers, list) or not all(isinstance(one, dict) for one in answers):
        raise TraceError(f"{place}: choices are no records; expected answers; store it unchanged")
    usage = value.get("usage") if isinstance(value.get("usage"), dict) else {}
    for number, answer in enumerate(answers):
        at = place if len(answers) == 1 else f"{place}: choice {number}"
        told = {**value, **(usage or {}), **_meta(value), **answer, **_meta(answer)}
        n_output = told.get("completion_tokens")
        is_shared = len(answers) > 1 and "completion_tokens" not in {**answer, **_meta(answer)}
        payload = told.get("routed_experts")
        if "prompt_routed_experts" in told:
            payload = (told["prompt_routed_experts"], payload)
        yield _Response(
            payload=payload,
            n_prompt=_count(told.get("prompt_tokens")),
            n_output=None if is_shared else _count(n_output),
            n_skipped=_count(told.get("routed_experts_start_len")) or 0,
            place=at,
        )


def _meta(answer: dict[str, Any]) -> dict[str, Any]:
    meta = answer.get("meta_info")
    return meta if isinstance(meta, dict) else {}


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and is_count(value) else None


def _rows(response: _Response, *, facts: ModelFacts) -> NDArray[np.integer]:
    listed = response.payload if isinstance(response.payload, tuple) else (response.payload,)
    parts = [_decode(text, response=response, facts=facts) for text in listed]
    if len({part.shape[1:] for part in parts}) != 1:
        raise TraceError(
            f"{response.place}: routed experts of prompt and output differ in shape; expected "
            "one model; store the response unchanged"
        )
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _decode(text: object, *, response: _Response, facts: ModelFacts) -> NDArray[np.integer]:
    place = f"{response.place}: routed_experts"
    if not text:
        raise TraceError(f"{place}: empty; {_BYPASS}")
    if isinstance(text, list):
        return integer_array(text, place=place, n_axes=_N_AXES)
    data = decode_base64(text, place=place)
    if data.startswith(NPY_MAGIC):
        return _check_axes(parse_npy(data, place=place), place=place)
    top_k = needed(facts.top_k, what="top_k", place=place)
    layers = facts.n_layers or (max(facts.moe_layer_ids) + 1 if facts.moe_layer_ids else None)
    n_layers = needed(layers, what="n_layers", place=place)
    row_bytes = n_layers * top_k * np.int32().nbytes
    if len(data) % row_bytes:
        raise TraceError(
            f"{place}: {len(data)} bytes; expected a multiple of {row_bytes}, which is {n_layers} "
            f"layers of {top_k} int32; name the model that was recorded"
        )
    return np.frombuffer(data, "<i4").reshape(-1, n_layers, top_k)


def _check_axes(array: NDArray[Any], *, place: str) -> NDArray[np.integer]:
    if array.dtype.kind not in "iu" or array.ndim != _N_AXES:
        raise TraceError(
            f"{place}: {array.dtype} of shape {array.shape}; expected integers "
            "[tokens, layers, experts]; check what was stored"
        )
    if not array.size:
        raise TraceError(f"{place}: empty; {_BYPASS}")
    return array


def _check_lengths(parts: list[NDArray[np.integer]], *, responses: list[_Response]) -> list[str]:
    """Compare rows with tokens: the last token is sampled, never forwarded."""
    n_short = 0
    for part, response in zip(parts, responses, strict=True):
        if response.n_prompt is None or response.n_output is None:
            continue
        n_tokens = response.n_prompt + response.n_output - response.n_skipped
        if part.shape[0] not in {n_tokens - 1, n_tokens}:
            raise TraceError(
                f"{response.place}: {part.shape[0]} rows for {response.n_prompt} prompt and "
                f"{response.n_output} output tokens; expected {n_tokens - 1}, as the last one is "
                "never forwarded; more are CUDA-graph padding, fewer a cached prefix: record "
                "without them"
            )
        n_short += part.shape[0] == n_tokens - 1
    return [f"{n_short} requests lack their last token, which is never forwarded"] * (n_short > 0)
