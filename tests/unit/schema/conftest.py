"""A small document of each feature, and a text that it accepts."""

from typing import Annotated, Literal, Self

import pytest
from pydantic import Field, model_validator

from rackmoe.errors import ConfigError
from rackmoe.schema.documents import Document, Sourced
from rackmoe.schema.quantities import BytesPerSecond, FlopPerSecond, Fraction, Seconds

GOOD = """\
schema: rackmoe/rocket/1
name: saturn
status: shipping
engine:
  thrust_rate: {value: 8 TB/s, kind: datasheet, source: manual}
  efficiency: {value: 0.85, kind: assumed, source: guess}
  peak:
    bf16: {value: 2.5 PFLOP/s, kind: datasheet, source: manual}
flight: {stages: 3, spread: [0.5, 1.0], delay: 20 ms}
sources:
  manual: the manual, 1969
  guess: to be measured
"""


class Engine(Document):
    thrust_rate_bytes_per_s: Sourced[BytesPerSecond]
    efficiency: Sourced[Fraction]
    peak_flop_per_s: dict[str, Sourced[FlopPerSecond]]
    dry_rate_bytes_per_s: Sourced[BytesPerSecond] | None = None
    fuel: dict[Literal["oxygen", "methane"], float] = Field(default_factory=dict)


class Flight(Document):
    stages: Annotated[int, Field(ge=1, le=9)]
    spread: tuple[float, float] = (1.0, 1.0)
    delay_s: Annotated[Seconds, Field(gt=0)] | None = None
    mode: Literal["orbit"] | int | None = None
    rest: Seconds | Literal["none"] = "none"

    @model_validator(mode="after")
    def _check_spread(self) -> Self:
        low, high = self.spread
        if low > high:
            raise ConfigError(f"spread: {low} is above {high}; expected low <= high; swap them")
        return self


class Rocket(Document):
    schema_id: Literal["rackmoe/rocket/1"] = Field(alias="schema")
    name: str
    status: Literal["shipping", "announced"] = "shipping"
    engine: Engine
    flight: Flight
    sources: dict[str, str]
    variants: dict[str, dict[str, object]] = Field(default_factory=dict)


@pytest.fixture(scope="session")
def rocket():
    return Rocket


@pytest.fixture
def good():
    return GOOD
