"""Read the JSON with `logical_count` that SGLang takes for its first expert location."""

from pathlib import Path

import numpy as np

from rackmoe.errors import TraceError
from rackmoe.routing.importers.bounded import read_json
from rackmoe.routing.importers.drafts import CountDraft
from rackmoe.routing.importers.facts import ImportHints, ModelFacts
from rackmoe.routing.importers.values import field_of, integer_array

__all__ = ["read"]

_STEPS_AXES = 3


def read(
    path: Path,
    *,
    facts: ModelFacts,  # noqa: ARG001 - readers share one signature
    hints: ImportHints,  # noqa: ARG001 - likewise
) -> CountDraft:
    """Return the counts of a file.

    Parameters
    ----------
    path : pathlib.Path
        JSON with ``logical_count``: [layers, experts] or [steps, layers, experts].
    facts : ModelFacts
        Not needed here.
    hints : ImportHints
        Not needed here.

    Returns
    -------
    CountDraft
        The counts.

    Raises
    ------
    TraceError
        If the file is not of this layout.
    """
    place = f"{path.name}: logical_count"
    value = field_of(read_json(path), name="logical_count", place=path.name)
    depth, inner = 0, value
    while isinstance(inner, list) and depth < _STEPS_AXES:
        depth, inner = depth + 1, inner[0] if inner else 0
    counts = integer_array(value, place=place, n_axes=max(depth, 2))
    if not counts.size:
        raise TraceError(f"{place}: empty; expected counts; export it again")
    return CountDraft(
        counts=counts if depth == _STEPS_AXES else np.asarray(counts[None]),
        phase="any",
        notes=("SGLang logical_count, logical ids",),
    )
