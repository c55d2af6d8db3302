"""Write and read the YAML of TensorRT-LLM's load balancer, `moe_load_balancer.yaml`."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError, TraceError
from rackmoe.routing.importers.bounded import read_file
from rackmoe.routing.importers.values import field_of, integer_array, is_count
from rackmoe.routing.placement import Placement
from rackmoe.schema.tree import node_data
from rackmoe.schema.yaml import parse_yaml

__all__ = ["read_balancer", "write_balancer"]

_LIMIT_BYTES = 1 << 20  # as our YAML reader's own
_LAYER_KEY = re.compile(r"^(\s+)([0-9]+)(\s*:)", re.MULTILINE)


def write_balancer(
    placement: Placement,
    *,
    path: Path,
    moe_layer_ids: tuple[int, ...],
    layer_updates_per_iter: int = 0,
) -> None:
    """Write a placement as the slots with which TensorRT-LLM starts.

    Parameters
    ----------
    placement : Placement
        What to write; ``num_slots / ep`` consecutive slots belong to a rank there too.
    path : pathlib.Path
        The file.
    moe_layer_ids : tuple of int
        Number of each MoE layer within the model.
    layer_updates_per_iter : int
        Layers that the engine may place anew per iteration; 0 keeps the placement.
    """
    lines = [
        f"num_slots: {placement.n_physical}",
        f"layer_updates_per_iter: {layer_updates_per_iter}",
        "initial_global_assignments:",
    ]
    for layer, row in zip(moe_layer_ids, placement.slots.tolist(), strict=True):
        lines.append(f"  {layer}: [{', '.join(map(str, row))}]")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_balancer(path: Path) -> tuple[tuple[int, ...], NDArray[np.int64]]:
    """Return the layers and their slots.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    layer_ids : tuple of int
        Number of each layer within the model, rising.
    slots : ndarray of shape (L, P), int64
        Logical expert in each slot.

    Raises
    ------
    TraceError
        If the file is no such YAML, or a layer has other than ``num_slots`` slots.
    """
    text = read_file(path, limit_bytes=_LIMIT_BYTES).decode("utf-8", errors="replace")
    try:
        # our YAML has words for keys; the layers here are bare numbers
        tree = node_data(parse_yaml(_LAYER_KEY.sub(r"\1'\2'\3", text), place=path.name))
    except ConfigError as error:
        raise TraceError(
            f"{path.name}: {error.problems[0]}; expected a load-balancer file; export it again"
        ) from error
    place = f"{path.name}: initial_global_assignments"
    layers = field_of(tree, name="initial_global_assignments", place=path.name)
    n_slots = field_of(tree, name="num_slots", place=path.name)
    if not isinstance(layers, dict) or not layers or not all(map(str.isdigit, layers)):
        raise TraceError(f"{place}: no layers; expected their numbers as keys; export it again")
    ids = sorted(map(int, layers))
    rows = integer_array(
        [layers[str(layer)] for layer in ids if str(layer) in layers], place=place, n_axes=2
    )
    if not is_count(n_slots) or rows.shape != (len(ids), n_slots):
        raise TraceError(
            f"{place}: shape {rows.shape}; expected {len(ids)} layers of num_slots {n_slots!r}; "
            "export it again"
        )
    return tuple(ids), rows
