"""How many replicas serve, and what a replica does before it does."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rackmoe.schema.documents import Document
from rackmoe.schema.quantities import BytesPerSecond, Fraction, Seconds

__all__ = ["Autoscaling", "StartUp"]

Count = Annotated[int, Field(ge=1, le=4096)]


class StartUp(Document):
    """What a replica does before it serves, after a repair or when it is switched on.

    Attributes
    ----------
    weights_from : str
        ``host``: each GPU fetches its weights from the memory of its CPU, over a link that
        it shares with whatever else crosses it. ``storage``: at a given bandwidth.
    bandwidth_bytes_per_s : float or None
        Of the storage, for each GPU. [B/s]
    delay_s : float
        Start of the processes, capture of graphs and all else that no byte takes. [s]
    """

    weights_from: Literal["host", "storage"] = "host"
    bandwidth_bytes_per_s: BytesPerSecond | None = None
    delay_s: Seconds = 0.0

    @model_validator(mode="after")
    def _check_bandwidth(self) -> Self:
        if (self.weights_from == "storage") != (self.bandwidth_bytes_per_s is not None):
            raise ValueError(
                "bandwidth goes with weights_from: storage, and storage has no other; "
                "write both, or none"
            )
        if self.bandwidth_bytes_per_s is not None and self.bandwidth_bytes_per_s <= 0.0:
            raise ValueError("bandwidth: 0; expected a speed; raise it")
        return self


class Autoscaling(Document):
    """When replicas of a pool are switched on and off, as a horizontal autoscaler does it.

    The pool has GPUs for all of its ``replicas``; this many serve at most.

    Attributes
    ----------
    min_replicas : int
        Replicas that serve at least.
    start_replicas : int or None
        Replicas that serve at the start; the fewest if absent.
    waiting_per_replica : float or None
        Wanted requests in the queue of a replica.
    kv_memory_frac : float or None
        Wanted share of the KV memory in use; with a queue, the larger answer counts.
    interval_s : float
        Time between two looks. [s]
    tolerance_frac : float
        Relative distance from the target at which nothing is done.
    stabilization_s : float
        Time in which the largest answer decides about switching off. [s]
    inactive : str
        ``kept``: GPUs that are switched off are paid for; ``released``: they are not. Their
        idle power is drawn in both cases.
    """

    min_replicas: Count = 1
    start_replicas: Count | None = None
    waiting_per_replica: Annotated[float, Field(gt=0)] | None = None
    kv_memory_frac: Fraction | None = None
    interval_s: Seconds = 15.0
    tolerance_frac: Fraction = 0.1
    stabilization_s: Seconds = 300.0
    inactive: Literal["kept", "released"] = "kept"

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        if self.waiting_per_replica is None and not self.kv_memory_frac:
            raise ValueError("no target; write waiting_per_replica, kv_memory, or both")
        if self.interval_s <= 0.0:
            raise ValueError("interval: 0; expected a time between two looks; raise it")
        if self.start_replicas is not None and self.start_replicas < self.min_replicas:
            raise ValueError(
                f"start_replicas: {self.start_replicas}; at least min_replicas = "
                f"{self.min_replicas} serve; raise it"
            )
        return self
