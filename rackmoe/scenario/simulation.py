"""How a run is computed, and what breaks in it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rackmoe.schema.documents import Document
from rackmoe.schema.quantities import Fraction, Seconds

__all__ = ["Fault", "FaultKind", "Simulation"]

FaultKind = Literal[
    "link",
    "plane",
    "switch_tray",
    "gpu",
    "compute_tray",
    "nic",
    "leaf",
    "spine",
    "slow_link",
]

_WITH_RATE = ("gpu", "compute_tray", "nic", "leaf", "spine")


class Fault(Document):
    """A part that fails, once at a given time or again and again at random.

    Attributes
    ----------
    kind : str
        ``link`` (one scale-up link of a GPU), ``plane`` (a switch chip), ``switch_tray``,
        ``gpu``, ``compute_tray`` (a node), ``nic``, ``leaf``, ``spine``, or ``slow_link`` (the
        scale-up port of a GPU, or its NICs, at a part of the bandwidth).
    at_s : float or None
        When it fails; absent for failures at random, by the mean times between
        failures of the hardware profile. [s]
    for_s : float or None
        Until it is repaired; the repair time of the profile if absent. [s]
    where : int or None
        Number of the GPU (``link``, ``gpu``, ``slow_link``), switch chip, switch tray,
        node, NIC, leaf or spine in the machine, from 0; drawn for failures at random.
    fabric : str
        Port of a ``slow_link``: ``scale_up`` or ``scale_out``.
    factor : float
        Share of its bandwidth that a ``slow_link`` keeps.
    rate_scale : float
        Factor on the failure rate of the profile, so that short runs see failures.
    """

    kind: FaultKind
    at_s: Seconds | None = None
    for_s: Seconds | None = None
    where: Annotated[int, Field(ge=0)] | None = None
    fabric: Literal["scale_up", "scale_out"] = "scale_up"
    factor: Fraction = 0.5
    rate_scale: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _check_when(self) -> Self:
        if (self.at_s is None) != (self.where is None):
            given, missing = ("where", "at") if self.at_s is None else ("at", "where")
            raise ValueError(
                f"'{given}' without '{missing}'; write both for one fault, none for random ones"
            )
        if self.at_s is not None and self.rate_scale != 1.0:
            raise ValueError("rate_scale goes with random faults only; remove it or 'at'")
        if self.for_s is not None and self.for_s <= 0.0:
            raise ValueError("for: 0; a fault lasts; remove it")
        if self.at_s is None and self.kind not in _WITH_RATE:
            raise ValueError(
                f"kind: no rate of '{self.kind}' is known; write 'at' and 'where', or one of "
                f"{', '.join(_WITH_RATE)} for random faults"
            )
        if self.kind == "slow_link" and self.factor <= 0.0:
            raise ValueError("factor: 0; a slow link carries something; use kind 'link' or 'nic'")
        return self


class Simulation(Document):
    """How a run is computed, and what breaks in it.

    Attributes
    ----------
    fidelity : str
        How closely the exchanges of every step are looked at: ``plan`` by closed forms in
        which each rank starts when it is ready, ``phase`` with a barrier before each,
        ``flow`` by links that the pairs of ranks share, ``packet`` copy by copy. ``auto``
        is ``plan``, and ``flow`` with a warning while transfers meet that cross ports of
        exchanges, where the closed form is known to fall short; more than 32 ranks keep
        the closed form, on shares of the ports that are solved.
    audit : int
        Compare one step in so many with single packets; 0 for none.
    kv_path : str or None
        ``scale_out`` or ``scale_up``: how KV caches travel; the backend's way if absent.
    combine_in_network : bool
        What if the switches of the scale-up fabric summed the expert outputs of a token, so
        that its rank receives one. What the ranks of experts send stays, so balanced
        combines gain little. No shipped kernel does it.
    faults : tuple of Fault
        What fails.
    """

    fidelity: Literal["plan", "phase", "flow", "packet", "auto"] = "auto"
    audit: Annotated[int, Field(ge=0)] = 0
    kv_path: Literal["scale_out", "scale_up"] | None = None
    combine_in_network: bool = False
    faults: tuple[Fault, ...] = ()
