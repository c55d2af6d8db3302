import json

import pytest
from pydantic import TypeAdapter, ValidationError

from rackmoe.schema import quantities
from rackmoe.schema.documents import Document
from rackmoe.schema.quantities import Bytes, BytesPerSecond, Fraction, Kind, Quantity
from rackmoe.units import Dimension, base_unit

TYPES = [
    name
    for name in quantities.__all__
    if hasattr(getattr(quantities, name), "__metadata__") and name != "Fraction"
]


class Port(Document):
    bandwidth_bytes_per_s: BytesPerSecond
    buffer_bytes: Bytes = 1e6


def test_every_dimension_has_a_type():
    found = {getattr(quantities, name).__metadata__[0].dimension for name in TYPES}
    assert found == set(Dimension)


@pytest.mark.parametrize("name", TYPES)
def test_a_file_gives_the_unit_and_python_may_give_the_number(name):
    adapter = TypeAdapter(getattr(quantities, name))
    unit = base_unit(getattr(quantities, name).__metadata__[0].dimension)
    assert adapter.validate_json(json.dumps(f"3 {unit}")) == 3.0
    assert adapter.validate_python(3.0) == 3.0
    assert adapter.validate_python(f"3 {unit}") == 3.0
    with pytest.raises(ValidationError, match="'3' has no unit"):
        adapter.validate_json("3")


@pytest.mark.parametrize("text", ["true", "null", "[]", "{}"])
def test_what_is_neither_text_nor_number_is_told_what_to_write(text):
    with pytest.raises(ValidationError, match="expected a bandwidth; write for example '8 TB/s'"):
        TypeAdapter(BytesPerSecond).validate_json(text)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), True])
def test_python_numbers_must_be_finite_and_not_negative(value):
    with pytest.raises(ValidationError):
        TypeAdapter(BytesPerSecond).validate_python(value)


def test_json_output_has_the_unit_and_reads_back_exactly():
    port = Port(bandwidth_bytes_per_s=899.999999999e9, buffer_bytes=3.0)
    text = port.model_dump_json(by_alias=True)
    assert json.loads(text) == {"bandwidth": "899.999999999 GB/s", "buffer": "3 B"}
    assert Port.model_validate_json(text) == port
    assert port.model_dump()["bandwidth_bytes_per_s"] == 899.999999999e9


def test_json_schema_describes_the_text_of_a_file():
    schema = TypeAdapter(BytesPerSecond).json_schema()
    assert schema["type"] == "string"
    assert schema["x-dimension"] == "bandwidth"
    assert schema["examples"] == ["8 TB/s"]


@pytest.mark.parametrize(
    ("value", "is_good"), [(0, True), (1, True), (1.01, False), (-0.1, False)]
)
def test_a_fraction_is_a_number_from_zero_to_one(value, is_good):
    adapter = TypeAdapter(Fraction)
    if is_good:
        assert adapter.validate_json(str(value)) == value
    else:
        with pytest.raises(ValidationError):
            adapter.validate_json(str(value))


def test_kinds_are_the_five_of_the_guide():
    assert [kind.value for kind in Kind] == [
        "datasheet",
        "measured",
        "derived",
        "fitted",
        "assumed",
    ]


def test_annotations_of_one_dimension_are_equal():
    assert Quantity(Dimension.TIME) == Quantity(Dimension.TIME)
    assert len({Quantity(Dimension.TIME), Quantity(Dimension.TIME)}) == 1
