"""How the constants of communication libraries are kept in YAML."""

from dataclasses import replace
from functools import cache
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, PositiveInt, model_validator

from rackmoe.backend.collectives import (
    Algorithm,
    AlgorithmConstants,
    CollectiveBook,
    CollectiveConstants,
    CollectiveKey,
    ExchangeConstants,
    Family,
    FitReport,
    Knots,
    Spread,
)
from rackmoe.errors import ConfigError
from rackmoe.schema.documents import Document, Sourced, load_document
from rackmoe.schema.quantities import BytesPerSecond, Fraction, Kind, Seconds
from rackmoe.schema.shipped import shipped_names, shipped_path

__all__ = [
    "COLLECTIVES_FOLDER",
    "AlgorithmEntry",
    "CollectiveEntry",
    "CollectivesDocument",
    "ErrorEntry",
    "ExchangeEntry",
    "load_collectives",
]

COLLECTIVES_FOLDER = "scenarios/backends/collectives"

_C = TypeVar("_C", ExchangeConstants, CollectiveConstants)
_Ratio = Annotated[float, Field(ge=0)]
_Sizes = Annotated[list[PositiveInt], Field(min_length=1)]


class ErrorEntry(Document):
    """How many rows were fitted and what error is left.

    Attributes
    ----------
    rows, held_out : int
        Rows of the fit and of its test.
    median, p90 : float
        Relative error of large rows.
    small_s : float
        Median absolute error of small rows. [s]
    """

    rows: int
    held_out: int = 0
    median: _Ratio = 0.0
    p90: _Ratio = 0.0
    small_s: Seconds = 0.0


class _Entry(Document):
    """What every entry says about its origin."""

    library: str
    kernel: str
    operation: str
    dtype: str = ""
    file: Sourced[str]
    error: ErrorEntry
    caveat: str = ""

    def key(self) -> CollectiveKey:
        """Return what was measured."""
        return CollectiveKey(
            library=self.library, kernel=self.kernel, operation=self.operation, dtype=self.dtype
        )

    def report(self) -> FitReport:
        """Return where the constants come from."""
        return FitReport(
            kind=self.file.kind.value,
            file=self.file.value,
            n_rows=self.error.rows,
            n_held_out=self.error.held_out,
            median_error_frac=self.error.median,
            p90_error_frac=self.error.p90,
            median_error_s=self.error.small_s,
            caveat=self.caveat,
        )


class ExchangeEntry(_Entry):
    """A dispatch, combine or prepare kernel; see `ExchangeConstants` for the fields.

    The lists have one value for each number of nodes in ``nodes``.
    """

    family: Family
    spread: Spread
    payload_dtype: str
    nodes: _Sizes
    latency_s: list[Seconds]
    port_efficiency: list[Fraction]
    nic_efficiency: Fraction
    token_time_s: Seconds
    sm_bandwidth_bytes_per_s: list[BytesPerSecond] | None = None
    sms: int = 0
    ramp: _Ratio

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.constants()
        return self

    def constants(self) -> ExchangeConstants:
        """Return the constants as the laws take them."""
        nodes = tuple(self.nodes)
        sm = self.sm_bandwidth_bytes_per_s
        return ExchangeConstants(
            key=self.key(),
            family=self.family,
            spread=self.spread,
            payload_dtype=self.payload_dtype,
            latency_s=Knots(sizes=nodes, values=tuple(self.latency_s)),
            port_efficiency=Knots(sizes=nodes, values=tuple(self.port_efficiency)),
            nic_efficiency=self.nic_efficiency,
            token_time_s=self.token_time_s,
            sm_bandwidth_bytes_per_s=None if sm is None else Knots(sizes=nodes, values=tuple(sm)),
            n_sms=self.sms,
            ramp=self.ramp,
            report=self.report(),
        )


class AlgorithmEntry(Document):
    """One way to run a collective; see `AlgorithmConstants` for the fields."""

    algorithm: Algorithm
    ranks: _Sizes
    latency_s: list[Seconds]
    port_efficiency: list[Fraction]
    nic_efficiency: Fraction
    ramp: _Ratio

    def constants(self) -> AlgorithmConstants:
        """Return the constants as the laws take them."""
        ranks = tuple(self.ranks)
        return AlgorithmConstants(
            algorithm=self.algorithm,
            latency_s=Knots(sizes=ranks, values=tuple(self.latency_s)),
            port_efficiency=Knots(sizes=ranks, values=tuple(self.port_efficiency)),
            nic_efficiency=self.nic_efficiency,
            ramp=self.ramp,
        )


class CollectiveEntry(_Entry):
    """A collective of dense buffers and the ways to run it."""

    algorithms: Annotated[list[AlgorithmEntry], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.constants()
        return self

    def constants(self) -> CollectiveConstants:
        """Return the constants as the laws take them."""
        return CollectiveConstants(
            key=self.key(),
            algorithms=tuple(one.constants() for one in self.algorithms),
            report=self.report(),
        )


class CollectivesDocument(Document):
    """The constants measured on one GPU, and the GPUs that borrow them.

    Attributes
    ----------
    name : str
        The GPU; equals the file stem.
    date : str
        Day of the fit.
    lends_to : list of str
        GPUs that take these constants, as assumed, where their own file has none.
    """

    schema_id: Literal["rackmoe/collectives/1"] = Field(alias="schema")
    name: str
    date: str
    lends_to: list[str]
    exchanges: list[ExchangeEntry]
    collectives: list[CollectiveEntry]
    sources: dict[str, str]


@cache
def load_collectives(gpu: str) -> CollectiveBook:
    """Return all constants that apply to a GPU: its own first, then borrowed ones.

    Parameters
    ----------
    gpu : str
        Name of the GPU, as in `rackmoe.hardware.machine.Gpu`.

    Returns
    -------
    CollectiveBook
        Borrowed constants carry the kind ``assumed``.

    Raises
    ------
    ConfigError
        If no file measures the GPU or lends to it.
    """
    documents = [_load(name) for name in shipped_names(COLLECTIVES_FOLDER)]
    own = [one for one in documents if one.name == gpu]
    lent = [one for one in documents if gpu in one.lends_to]
    if not own and not lent:
        known = sorted({name for one in documents for name in (one.name, *one.lends_to)})
        raise ConfigError(
            f"{gpu}: no communication constants; expected one of {', '.join(known)}; "
            f"calibrate them, or let a file of {COLLECTIVES_FOLDER} lend to it"
        )
    exchanges = [entry.constants() for one in own for entry in one.exchanges]
    collectives = [entry.constants() for one in own for entry in one.collectives]
    exchanges += [_assumed(e.constants()) for one in lent for e in one.exchanges]
    collectives += [_assumed(e.constants()) for one in lent for e in one.collectives]
    return CollectiveBook(gpu=gpu, exchanges=tuple(exchanges), collectives=tuple(collectives))


def _load(name: str) -> CollectivesDocument:
    return load_document(shipped_path(COLLECTIVES_FOLDER, name=name), model=CollectivesDocument)


def _assumed(constants: _C) -> _C:
    """Return constants moved from another machine."""
    report = replace(constants.report, kind=Kind.ASSUMED.value)
    return replace(constants, report=report)
