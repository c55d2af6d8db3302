"""STYLE section 4: what a docstring says, and that it says the unit."""

import ast
import re

import pytest

from rackmoe.schema import quantities
from rackmoe.units import UNIT_SUFFIXES

# the unit in brackets that closes a description, by the ending of the name
UNITS = {
    "_bytes_per_s": {"B/s"},
    "_flop_per_s": {"FLOP/s"},
    "_requests_per_s": {"requests/s", "1/s"},
    "_tokens_per_s": {"tokens/s", "1/s"},
    "_tokens_per_j": {"tokens/J", "1/J"},
    "_usd_per_million_tokens": {"USD/Mtoken", "USD per 1e6 tokens"},
    "_usd_per_kwh": {"USD/kWh"},
    "_usd_per_h": {"USD/h"},
    "_j_per_byte": {"J/B"},
    "_j_per_flop": {"J/FLOP"},
    "_per_s": {"1/s", "/s"},
    "_bytes": {"B"},
    "_flop": {"FLOP"},
    "_usd": {"USD"},
    "_hz": {"Hz"},
    "_w": {"W"},
    "_j": {"J"},
    "_s": {"s"},
}
SECTION = re.compile(r"^(?P<title>[A-Z][A-Za-z ]+)\n-{3,}$", re.MULTILINE)
ENTRY = re.compile(r"^(?P<names>[*\w][*\w, .]*)(?: : .*)?$")
QUALIFIER = re.compile(
    r"(?:_per_(?!s$|s_|j$|h$|kwh$|million_tokens$|byte$|flop$)[a-z]+|_both_directions)+$"
)
BRACKET = re.compile(r"\[(?P<unit>[^\]]+)\]")


def sections_of(docstring):
    """Return the text below each heading."""
    marks = list(SECTION.finditer(docstring))
    ends = [*(mark.start() for mark in marks[1:]), len(docstring)][: len(marks)]
    return {
        mark["title"]: docstring[mark.end() : end] for mark, end in zip(marks, ends, strict=True)
    }


def entries_of(section):
    """Return the description of each name in a Parameters or Attributes section."""
    found = {}
    names = []
    for line in section.splitlines():
        entry = ENTRY.match(line)
        if entry and not line.startswith(" "):
            names = [name.strip(" *") for name in entry["names"].split(",") if name.strip()]
            found.update(dict.fromkeys(names, line))
        else:
            for name in names:
                found[name] += "\n" + line
    return found


def unit_of(name):
    """Return the units that may stand in brackets after a name, or None."""
    stem = QUALIFIER.sub("", f"_{name}")
    for suffix in UNIT_SUFFIXES:
        if stem.endswith(suffix):
            return UNITS.get(suffix)
    return None


def has_unit(text, *, units, tail):
    """Whether a text has one of the units in brackets, perhaps per something more."""
    found = [match["unit"] for match in BRACKET.finditer(text)]
    return any(one == unit or (tail and one.startswith(unit)) for one in found for unit in units)


def missing_units(names, *, entries):
    """Yield the names with a unit whose description lacks it."""
    for name in names:
        units = unit_of(name)
        tail = bool(QUALIFIER.search(name))
        if units and name not in entries:
            yield f"{name} is not described"
        elif units and not has_unit(entries[name], units=units, tail=tail):
            yield f"{name} lacks [{min(units)}]"


def test_module_docstring_is_one_line(module):
    docstring = ast.get_docstring(module.tree)
    assert docstring, "STYLE 4: say in one line what the module answers"
    assert "\n" not in docstring.strip(), "STYLE 4: one line; details go to the functions"
    assert docstring.endswith("."), "STYLE 4: the line is a sentence"


def test_parameters_with_a_unit_are_described_with_it(module):
    found = []
    for function in module.functions:
        if not function.is_public:
            continue
        entries = entries_of(
            sections_of(ast.get_docstring(function.node) or "").get("Parameters", "")
        )
        names = [parameter.arg for parameter in function.parameters]
        found += [f"{function.where}: {text}" for text in missing_units(names, entries=entries)]
    assert not found, f"STYLE 4: the unit closes a description in brackets: {found}"


def test_returned_quantities_are_described_with_their_unit(module):
    found = []
    for function in module.functions:
        units = unit_of(function.node.name)
        docstring = ast.get_docstring(function.node) or ""
        if not function.is_public or not units:
            continue
        returns = sections_of(docstring).get("Returns", "") or docstring
        if not has_unit(returns, units=units, tail=bool(QUALIFIER.search(function.node.name))):
            found.append(f"{function.where} lacks [{min(units)}]")
    assert not found, f"STYLE 4: the unit closes a description in brackets: {found}"


def described_fields(one):
    """Return the descriptions of a class's fields."""
    sections = sections_of(ast.get_docstring(one) or "")
    return entries_of(sections.get("Attributes", "") + sections.get("Parameters", ""))


def fields_of(one):
    """Return the public fields of a class that its body declares."""
    return [
        part
        for part in one.body
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
        if not part.target.id.startswith("_")
    ]


def test_fields_with_a_unit_are_described_with_it(module):
    found = []
    for one in module.classes:
        if one.name.startswith("_"):
            continue
        entries = described_fields(one)
        # the type of a quantity says its unit: `idle_power_w: Sourced[Watts]`
        names = [
            part.target.id
            for part in fields_of(one)
            if not set(re.findall(r"\w+", ast.unparse(part.annotation))) & set(quantities.__all__)
        ]
        found += [
            f"line {one.lineno}: {one.name}: {text}"
            for text in missing_units(names, entries=entries)
        ]
    assert not found, f"STYLE 4: the unit closes a description in brackets: {found}"


def test_described_parameters_and_fields_exist(module):
    found = []
    for function in module.functions:
        section = sections_of(ast.get_docstring(function.node) or "").get("Parameters", "")
        arguments = function.node.args
        names = {parameter.arg for parameter in function.parameters}
        names |= {extra.arg for extra in (arguments.vararg, arguments.kwarg) if extra}
        found += [f"{function.where}: {name}" for name in set(entries_of(section)) - names]
    for one in module.classes:
        fields = fields_of(one)
        if fields and not has_own_constructor(one):
            names = {part.target.id for part in fields} | properties_of(one)
            found += [f"{one.name}: {name}" for name in set(described_fields(one)) - names]
    assert not found, f"STYLE 4: described and not there: {sorted(found)}"


def has_own_constructor(one):
    """Whether a class takes its values otherwise than by its fields."""
    return any(getattr(part, "name", "") == "__init__" for part in one.body)


def properties_of(one):
    """Return the names of a class's methods and properties, and of plain values in its body."""
    names = {part.name for part in one.body if isinstance(part, ast.FunctionDef)}
    targets = [part.targets[0] for part in one.body if isinstance(part, ast.Assign)]
    return names | {getattr(target, "id", "") for target in targets}


@pytest.mark.parametrize(
    ("name", "text", "is_good"),
    [
        ("latency_s", "latency_s : float\n    Start-up latency. [s]", True),
        ("latency_s", "latency_s : float\n    Start-up latency.", False),
        ("latency_s", "latency_s : float\n    Start-up latency. [ms]", False),
        ("latency_s", "other_s : float\n    Another. [s]", False),
        ("a_s", "a_s, b_s : float\n    Both. [s]", True),
        ("rate_bytes_per_s", "rate_bytes_per_s : float\n    Rate. [B/s]", True),
        ("power_w_per_gpu", "power_w_per_gpu : float\n    Power. [W/GPU]", True),
        ("n_gpus", "", True),
    ],
)
def test_the_check_of_units_tells_good_from_bad(name, text, is_good):
    assert (not list(missing_units([name], entries=entries_of(text)))) == is_good


def test_sections_and_their_entries_are_told_apart():
    docstring = (
        "Do.\n\nParameters\n----------\na_s : float\n    A. [s]\n\n"
        "Returns\n-------\nfloat\n    B. [J]"
    )
    sections = sections_of(docstring)
    assert list(sections) == ["Parameters", "Returns"]
    assert "[J]" not in sections["Parameters"]
    assert list(entries_of(sections["Parameters"])) == ["a_s"]
    assert sections_of("Do.") == {}
