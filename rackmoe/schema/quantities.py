"""Which typed values a document holds: quantities with units, and values with sources."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from rackmoe.errors import UnitError
from rackmoe.units import (
    Dimension,
    example_quantity,
    format_quantity,
    noun,
    parse_quantity,
    quantity_pattern,
)

__all__ = [
    "Bytes",
    "BytesPerSecond",
    "Flop",
    "FlopPerSecond",
    "Fraction",
    "Hertz",
    "Joules",
    "JoulesPerByte",
    "JoulesPerFlop",
    "Kind",
    "PerSecond",
    "Quantity",
    "Seconds",
    "Usd",
    "UsdPerHour",
    "UsdPerKwh",
    "UsdPerMillionTokens",
    "Watts",
]


class Kind(StrEnum):
    """Where a number comes from."""

    DATASHEET = "datasheet"
    MEASURED = "measured"
    DERIVED = "derived"
    FITTED = "fitted"
    ASSUMED = "assumed"


@dataclass(frozen=True, slots=True)
class Quantity:
    """Annotation of a float that a file writes as a number with a unit.

    A file must give the unit. Python code may also pass a plain float, which then is
    in the unit used inside. JSON output has the unit and reads back as the same float.

    Attributes
    ----------
    dimension : Dimension
        What the value measures.
    """

    dimension: Dimension

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_before_validator_function(
            self._read,
            core_schema.float_schema(ge=0, allow_inf_nan=False),
            serialization=core_schema.plain_serializer_function_ser_schema(
                self._write, when_used="json"
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "type": "string",
            "pattern": quantity_pattern(self.dimension),
            "examples": [example_quantity(self.dimension)],
            "x-dimension": self.dimension.value,
        }

    def _read(self, value: object, info: ValidationInfo) -> object:
        """Return the float of a text; leave a float of Python code as it is."""
        if isinstance(value, str):
            return parse_quantity(value, dimension=self.dimension)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and info.mode == "python":
            return value
        if is_number:
            return parse_quantity(str(value), dimension=self.dimension)
        example = example_quantity(self.dimension)
        raise UnitError(f"expected {noun(self.dimension)}; write for example '{example}'")

    def _write(self, value: float) -> str:
        """Return the text of a float, exactly."""
        return format_quantity(value, dimension=self.dimension, digits=None)


Seconds = Annotated[float, Quantity(Dimension.TIME)]
Bytes = Annotated[float, Quantity(Dimension.BYTES)]
BytesPerSecond = Annotated[float, Quantity(Dimension.BANDWIDTH)]
Flop = Annotated[float, Quantity(Dimension.FLOP)]
FlopPerSecond = Annotated[float, Quantity(Dimension.FLOP_RATE)]
Watts = Annotated[float, Quantity(Dimension.POWER)]
Joules = Annotated[float, Quantity(Dimension.ENERGY)]
JoulesPerByte = Annotated[float, Quantity(Dimension.ENERGY_PER_BYTE)]
JoulesPerFlop = Annotated[float, Quantity(Dimension.ENERGY_PER_FLOP)]
PerSecond = Annotated[float, Quantity(Dimension.RATE)]
Hertz = Annotated[float, Quantity(Dimension.FREQUENCY)]
Usd = Annotated[float, Quantity(Dimension.USD)]
UsdPerHour = Annotated[float, Quantity(Dimension.USD_PER_HOUR)]
UsdPerKwh = Annotated[float, Quantity(Dimension.USD_PER_KWH)]
UsdPerMillionTokens = Annotated[float, Quantity(Dimension.USD_PER_MTOKEN)]
Fraction = Annotated[float, Field(ge=0, le=1)]
