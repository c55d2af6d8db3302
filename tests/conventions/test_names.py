"""STYLE sections 1 to 3: names of modules, classes and quantities."""

import ast
import re

import pytest

from rackmoe.units import UNIT_SUFFIXES

BANNED_MODULES = {"utils", "util", "common", "helpers", "helper", "misc", "base", "core"}
BANNED_CLASS_ENDINGS = ("Manager", "Handler", "Base", "Impl", "Helper", "Util", "Utils")

# a name with one of these words is a quantity with a dimension
DIMENSIONAL_WORDS = {
    *("bandwidth", "bandwidths", "latency", "latencies", "duration", "durations", "delay"),
    *("power", "energy", "time", "times", "timeout", "interval", "throughput", "goodput"),
}
# and is one without a dimension when it begins or ends so
DIMENSIONLESS_BEGINNINGS = ("n_", "is_", "has_", "_n_", "_is_", "_has_")
DIMENSIONLESS_ENDINGS = (
    *("_frac", "_ratio", "_factor", "_factors", "_scale", "_efficiency", "_exponent", "_share"),
    *("_shares", "_rank", "_ranks", "_index", "_indices", "_order", "_error", "_speedup", "_law"),
    *("_quantile", "_percentile", "_cv", "_weight", "_weights", "_steps", "_name", "_names"),
)
QUALIFIER = r"(?:_per_[a-z0-9_]+|_both_directions)*"
SUFFIX = re.compile(rf"(?:{'|'.join(UNIT_SUFFIXES)}){QUALIFIER}$")
# the clock of the engine counts whole picoseconds (STYLE 3), and so do the fabrics it drives
CLOCK_SUFFIX = re.compile(r"_ps$")
CLOCK_FOLDERS = ("rackmoe/engine/", "rackmoe/network/")
# units that are allowed in what people read only
DISPLAY_UNIT = re.compile(
    r"(?<=[a-z0-9])_(?:ms|us|ns|kb|mb|gb|tb|gib|mib|gbps|gb_per_s|tb_per_s|gflop|tflop|pflop|tflops|pflops"
    r"|tflop_per_s|kw|mw|kwh|kj|mj|hours|minutes|seconds|watts|joules)$"
)
DISPLAY_FOLDERS = ("rackmoe/report/",)
NUMERIC = {"float", "NDArray", "FloatArray", "ArrayLike", "float64", "floating", "Series"}
QUANTITY_TYPES = {"Seconds", "Bytes", "BytesPerSecond", "Watts", "Joules", "PerSecond", "Flop"}


def words_of_annotation(annotation):
    """Return the identifiers in an annotation, also when it is written as text."""
    if annotation is None:
        return set()
    return set(re.findall(r"\w+", ast.unparse(annotation)))


def is_numeric(annotation):
    words = words_of_annotation(annotation)
    if words & {"Mapping", "dict"}:
        return False  # several numbers, whose keys carry the units
    is_real = bool(words & (NUMERIC | QUANTITY_TYPES))
    has_only_integers = bool(words & {"int64", "int32", "int16", "uint8", "intp", "bool_"})
    return is_real and not (has_only_integers and not words & {"float64", "float", "float32"})


def quantities(module):
    """Yield the line and name of every number that the module names in an interface."""
    for function in module.functions:
        if function.is_nested:
            continue
        for parameter in function.parameters:
            if is_numeric(parameter.annotation):
                yield parameter.lineno, parameter.arg
        if is_numeric(function.node.returns) and returns_one_number(function.node.returns):
            yield function.node.lineno, function.node.name
    for one in module.classes:
        yield from fields(one)
    for statement in module.tree.body:
        yield from constants(statement)


def fields(one):
    """Yield the numbers that a class declares."""
    for part in one.body:
        is_field = isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
        if is_field and is_numeric(part.annotation):
            yield part.lineno, part.target.id


def returns_one_number(annotation):
    """Whether a function returns a number or an array, rather than a group of them."""
    return not words_of_annotation(annotation) & {"tuple", "Callable", "Iterator", "dict", "list"}


def constants(statement):
    """Yield the named numbers of a module."""
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    value = getattr(statement, "value", None)
    is_number = isinstance(value, ast.Constant) and isinstance(value.value, float)
    if isinstance(statement, ast.Assign | ast.AnnAssign) and is_number:
        for target in targets:
            if isinstance(target, ast.Name):
                yield statement.lineno, target.id


def lacks_unit(name, *, module_name=""):
    lower = name.lower()
    if lower.startswith(DIMENSIONLESS_BEGINNINGS) or lower.endswith(DIMENSIONLESS_ENDINGS):
        return False
    if not set(lower.split("_")) & DIMENSIONAL_WORDS:
        return False
    is_on_clock = module_name.startswith(CLOCK_FOLDERS)
    return not SUFFIX.search(f"_{lower}") and not (is_on_clock and CLOCK_SUFFIX.search(lower))


def test_module_has_the_name_of_a_responsibility(module):
    stem = module.path.parent.name if module.is_package else module.path.stem
    words = set(stem.strip("_").split("_"))
    assert not words & BANNED_MODULES, f"STYLE 1: no module called {sorted(words)}"


def test_class_is_a_noun_without_a_filler(module):
    found = [one.name for one in module.classes if one.name.endswith(BANNED_CLASS_ENDINGS)]
    assert not found, f"STYLE 2: name the thing, not its pattern: {found}"


def test_dimensional_name_ends_in_its_unit(module):
    found = [
        f"line {line}: {name}"
        for line, name in quantities(module)
        if lacks_unit(name, module_name=module.name)
    ]
    assert not found, f"STYLE 3: add the unit, for example '_s' or '_bytes_per_s': {found}"


def test_unit_in_a_name_is_one_used_inside(module):
    if module.name.startswith(DISPLAY_FOLDERS):
        pytest.skip("what people read may be in ms, GB and kW")
    found = [
        f"line {line}: {name}"
        for line, name in quantities(module)
        if DISPLAY_UNIT.search(name) and not SUFFIX.search(f"_{name}")
    ]
    assert not found, f"STYLE 3: inside, time is in s, data in bytes, power in w: {found}"


@pytest.mark.parametrize(
    "name", ["latency", "hbm_bandwidth", "times", "idle_power", "peak_time_ms"]
)
def test_the_check_of_units_finds_a_name_without_one(name):
    assert lacks_unit(name)


@pytest.mark.parametrize(
    "name",
    [
        "latency_s",
        "hbm_bandwidth_bytes_per_s",
        "link_bandwidth_bytes_per_s_per_direction",
        "it_power_w_per_gpu",
        "n_times",
        "time_frac",
        "sometimes",
        "timeline",
    ],
)
def test_the_check_of_units_accepts_a_good_name(name):
    assert not lacks_unit(name)


def test_columns_of_records_end_in_the_unit_that_they_declare():
    records = pytest.importorskip("rackmoe.records")
    endings = {
        "s": "_s",
        "B": "_bytes",
        "B/s": "_bytes_per_s",
        "W": "_w",
        "J": "_j",
        "FLOP": "_flop",
        "FLOP/s": "_flop_per_s",
    }
    for columns in records.TABLES.values():
        for column in columns:
            if column.unit in endings:
                ending = endings[column.unit]
                assert ending in f"_{column.name}", f"STYLE 3: {column.name} is in {column.unit}"
            else:
                assert not lacks_unit(column.name), f"STYLE 3: {column.name} is in {column.unit}"
