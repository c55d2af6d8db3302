"""What a run writes down: the columns, units and types of every table."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rackmoe.errors import InvariantError, ShapeError

__all__ = [
    "BREAKDOWN_COLUMNS",
    "EXPERT_COLUMNS",
    "LINK_COLUMNS",
    "POWER_COLUMNS",
    "REQUEST_COLUMNS",
    "STEP_COLUMNS",
    "TABLES",
    "Column",
    "Part",
    "Pool",
    "Records",
    "State",
    "Table",
    "Tier",
]


class Pool(IntEnum):
    """The pool that a replica belongs to."""

    AGGREGATED = 0
    PREFILL = 1
    DECODE = 2


class State(IntEnum):
    """Where a request stands when the run ends (LAW-04)."""

    WAITING = 0
    RUNNING = 1
    DONE = 2
    REJECTED = 3


class Tier(IntEnum):
    """The fabric that a port belongs to."""

    SCALE_UP = 0
    SCALE_OUT = 1
    HOST = 2
    LEAF = 3


class Part(IntEnum):
    """A part of the rack that draws power."""

    GPU = 0
    CPU = 1
    NIC = 2
    SWITCH = 3
    FAN = 4
    FIXED = 5
    CONVERSION = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    name : str
        Name with its unit as suffix.
    dtype : str
        NumPy type of the column; a column with `labels` holds their codes.
    unit : str
        Unit, ``1`` for counts and ratios.
    meaning : str
        What one value says, for the documentation of result files.
    labels : tuple of str
        Names of the codes 0, 1, ... of a categorical column; empty otherwise.
    """

    name: str
    dtype: str
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()


def _count(name: str, meaning: str) -> Column:
    return Column(name=name, dtype="int64", unit="1", meaning=meaning)


def _real(name: str, unit: str, meaning: str) -> Column:
    return Column(name=name, dtype="float64", unit=unit, meaning=meaning)


def _label(name: str, kind: type[IntEnum], meaning: str) -> Column:
    labels = tuple(member.name.lower() for member in kind)
    return Column(name=name, dtype="int8", unit="1", meaning=meaning, labels=labels)


REQUEST_COLUMNS = (
    _count("request_id", "row of the request table"),
    _real("arrival_s", "s", "the client sends the request"),
    _real("scheduled_s", "s", "its first prefill step starts; NaN before that"),
    _real("prefill_end_s", "s", "its prompt has been processed; NaN before that"),
    _real("transfer_end_s", "s", "its KV cache is at the decode replica; NaN where none moves"),
    _real("first_token_s", "s", "its first output token is out; NaN before that"),
    _real("last_token_s", "s", "its latest output token is out; NaN before the first"),
    _count("n_input_tokens", "prompt length"),
    _count("n_output_tokens", "output tokens emitted so far: all of them once it is done"),
    _count("n_preemptions", "times that it lost its KV cache and was queued again"),
    _count("prefill_replica", "replica that processed the prompt; -1 before that"),
    _count("decode_replica", "replica that generates; -1 before that"),
    _count("decode_rank", "attention rank within that replica; -1 before that"),
    _label("state", State, "where it stands when the run ends"),
    _count("n_cached_tokens", "prompt tokens found in the prefix cache when it was scheduled"),
    replace(_count("application", "which one sent it"), dtype="int16", labels=("default",)),
)

_BREAKDOWN = (
    _real("attention_s", "s", "attention kernels"),
    _real("dense_s", "s", "projections, dense layers, router, norms and output head"),
    _real("dispatch_s", "s", "tokens on their way to experts"),
    _real("dispatch_wait_s", "s", "waiting for tokens of slower ranks"),
    _real("expert_s", "s", "routed experts"),
    _real("shared_expert_s", "s", "shared expert that nothing hides"),
    _real("combine_s", "s", "expert outputs on their way back"),
    _real("combine_wait_s", "s", "waiting for expert outputs of slower ranks"),
    _real("host_s", "s", "GPU idle while the host prepares or post-processes the step"),
    _real("other_s", "s", "everything else: sampling, tensor-parallel and pipeline collectives"),
)

BREAKDOWN_COLUMNS = tuple(column.name for column in _BREAKDOWN)
"""Parts of a step's duration, each a mean over the ranks; they sum to `duration_s`."""

STEP_COLUMNS = (
    _count("replica", "replica that ran the step"),
    _label("pool", Pool, "pool of that replica"),
    _real("start_s", "s", "the step starts"),
    _real("duration_s", "s", "until its outputs are out and the next step can start"),
    _real("gpu_busy_s", "s", "part of the duration in which the GPUs work, mean over the ranks"),
    _count("n_decode_tokens", "output tokens emitted by its decoding sequences"),
    _count("n_prefill_tokens", "prompt tokens processed"),
    _count("n_sequences", "sequences that decode in the step, over all ranks"),
    *_BREAKDOWN,
    _real("flop", "FLOP", "arithmetic of the step, over all ranks"),
    _real("bf16_flop", "FLOP", "part of `flop` at the 16-bit peak"),
    _real("fp8_flop", "FLOP", "part of `flop` at the 8-bit peak"),
    _real("fp4_flop", "FLOP", "part of `flop` at the 4-bit peak"),
    _real("hbm_bytes", "B", "HBM traffic, over all ranks"),
    _real("scale_up_bytes", "B", "bytes sent into the scale-up fabric, over all ranks"),
    _real("scale_out_bytes", "B", "bytes sent into the scale-out fabric, over all ranks"),
    _real("imbalance", "1", "max / mean expert load of the ranks, mean over the layers"),
)

LINK_COLUMNS = (
    _count("replica", "replica of the GPU that has the port; -1 without one"),
    _count("rank", "rank of that GPU in the replica; -1 without one"),
    _label("tier", Tier, "fabric of the port; a leaf has all its uplinks as one"),
    _count("port", "number of the GPU, NIC or leaf in the machine"),
    _real("capacity_bytes_per_s", "B/s", "peak bandwidth of the port, one direction"),
    _real("sent_bytes", "B", "bytes sent through it: away from the GPU, up from a leaf"),
    _real("received_bytes", "B", "bytes received through it"),
    _real("collective_bytes", "B", "of both: exchanges among the ranks of a replica"),
    _real("kv_bytes", "B", "of both: KV caches"),
    _real("expert_bytes", "B", "of both: experts that move"),
    _real("other_bytes", "B", "of both: weights and pipeline stages"),
    _real("mean_utilization_frac", "1", "mean over the run, busier direction"),
    _real("p99_utilization_frac", "1", "99th percentile over windows of at least 1 ms, same"),
    _real("busy_s", "s", "time with exchanges plus time with transfers, at most the run"),
)

EXPERT_COLUMNS = (
    _count("layer", "MoE layer, by its number in the model"),
    _count("physical_expert", "slot that holds a copy"),
    _count("logical_expert", "expert in the weights"),
    _count("rank", "rank that holds the slot"),
    _count("n_assignments", "(token, expert) pairs computed"),
)

POWER_COLUMNS = (
    _label("part", Part, "part of the rack"),
    _real("start_s", "s", "the interval starts"),
    _real("duration_s", "s", "length of the interval"),
    _real("power_w", "W", "mean power in the interval"),
    _real("idle_power_w", "W", "power of the idle part"),
    _real("max_power_w", "W", "highest power that the part can draw"),
    _real("energy_j", "J", "energy of the interval"),
)

TABLES: Mapping[str, tuple[Column, ...]] = MappingProxyType(
    {
        "requests": REQUEST_COLUMNS,
        "steps": STEP_COLUMNS,
        "links": LINK_COLUMNS,
        "experts": EXPERT_COLUMNS,
        "power": POWER_COLUMNS,
    }
)
"""Columns of every table of a run, by table name."""


class Table:
    """Rows of one table, grown one at a time at little cost.

    Values are kept as one flat run of doubles, which represents counts
    exactly up to 2**53; `to_arrays` gives each column its own type.

    Parameters
    ----------
    columns : tuple of Column
        What one row holds, in order.

    Examples
    --------
    >>> table = Table(EXPERT_COLUMNS)
    >>> table.append_row((3, 17, 9, 2, 640))
    >>> table.to_arrays()["n_assignments"]
    array([640])
    """

    __slots__ = ("_values", "_width", "columns")

    def __init__(self, columns: tuple[Column, ...]) -> None:
        self.columns = columns
        self._width = len(columns)
        self._values = array("d")

    def __len__(self) -> int:
        return len(self._values) // self._width

    def append_row(self, row: Sequence[float]) -> None:
        """Add one row.

        Parameters
        ----------
        row : sequence of float
            One value for each column, in the units of the columns; codes
            for categorical ones.

        Raises
        ------
        ShapeError
            If the row does not have one value for each column.
        """
        if len(row) != self._width:
            raise ShapeError(self._shape_problem(len(row)))
        self._values.extend(row)

    def append_columns(self, values: Mapping[str, ArrayLike]) -> None:
        """Add many rows, given as columns.

        Parameters
        ----------
        values : mapping of str to array_like of shape (n_rows,)
            A column for each name of the table, in its unit; scalars are
            repeated.

        Raises
        ------
        ShapeError
            If a column is missing or unknown, or their lengths differ.
        """
        names = {column.name for column in self.columns}
        if odd := sorted(names ^ set(values)):
            raise ShapeError(
                f"{odd[0]}: column missing or unknown; expected one array for each of"
                f" {', '.join(column.name for column in self.columns)}"
            )
        try:
            matrix = np.broadcast_arrays(
                *(np.atleast_1d(np.asarray(values[c.name], np.float64)) for c in self.columns)
            )
        except ValueError as error:
            raise ShapeError(f"columns: {error}; expected arrays of one length") from error
        self._values.frombytes(np.ascontiguousarray(np.stack(matrix, axis=1)).tobytes())

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return a copy of each column in its own type.

        Returns
        -------
        dict of str to ndarray of shape (n_rows,)
            By column name, in the unit of the column.

        Raises
        ------
        InvariantError
            If a count is not a whole number or a code has no label.
        """
        matrix = np.array(self._values, dtype=np.float64).reshape(-1, self._width)
        return {
            column.name: _typed(matrix[:, position], column)
            for position, column in enumerate(self.columns)
        }

    def to_frame(self) -> pd.DataFrame:
        """Return the table as a DataFrame, codes replaced by their labels.

        Returns
        -------
        DataFrame
            One row for each row written, in that order.
        """
        arrays = self.to_arrays()
        frame = pd.DataFrame(arrays)
        for column in self.columns:
            if column.labels:
                codes = arrays[column.name]
                frame[column.name] = pd.Categorical.from_codes(
                    codes, dtype=pd.CategoricalDtype(list(column.labels))
                )
        return frame

    def _shape_problem(self, n_values: int) -> str:
        names = ", ".join(column.name for column in self.columns)
        return f"row: {n_values} values; expected {self._width}: {names}"


def _typed(values: NDArray[np.float64], column: Column) -> NDArray[Any]:
    if column.dtype == "float64":
        return values.copy()
    wrong = ~(np.isfinite(values) & (np.rint(values) == values))
    if column.labels:
        wrong |= ~((values >= 0) & (values < len(column.labels)))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InvariantError(
            f"{column.name} at row {row}: {float(values[row])!r}; expected {_expectation(column)}"
        )
    return values.astype(column.dtype)


def _expectation(column: Column) -> str:
    return f"a code below {len(column.labels)}" if column.labels else "a whole number"


class Records:
    """All tables of one run.

    Parameters
    ----------
    applications : tuple of str, optional
        Names of the applications of the run: the labels of that column of requests.

    Attributes
    ----------
    requests, steps, links, experts, power : Table
        The tables of `TABLES`, empty at first.
    """

    __slots__ = ("experts", "links", "power", "requests", "steps")

    def __init__(self, applications: tuple[str, ...] = ("default",)) -> None:
        self.requests = Table(
            tuple(
                replace(column, labels=applications) if column.name == "application" else column
                for column in REQUEST_COLUMNS
            )
        )
        self.steps = Table(STEP_COLUMNS)
        self.links = Table(LINK_COLUMNS)
        self.experts = Table(EXPERT_COLUMNS)
        self.power = Table(POWER_COLUMNS)

    def to_frame(self, name: str) -> pd.DataFrame:
        """Return one table as a DataFrame.

        Parameters
        ----------
        name : str
            A key of `TABLES`.

        Returns
        -------
        DataFrame
            The table, categorical columns labelled.

        Raises
        ------
        KeyError
            If there is no table of that name.
        """
        if name not in TABLES:
            raise KeyError(f"{name}: no such table; expected one of {', '.join(TABLES)}")
        table: Table = getattr(self, name)
        return table.to_frame()
