"""STYLE section 1, Size: small modules, small functions, few parameters, flat classes."""

import ast

MAX_LINES = 400
MAX_STATEMENTS = 40
MAX_PARAMETERS = 8
MAX_FIELDS = 12
MAX_DEPTH = 2

# the caller of these is another library, which decides the signature
FOREIGN_SIGNATURES = {
    "field_validator",
    "model_validator",
    "field_serializer",
    "model_serializer",
    "singledispatch",
    "register",
    "override",
}
CLICK_CALLBACK = ["ctx", "param", "value"]
CLICK_COMMANDS = {"command", "group"}
# the NumPy twin of a kernel is called with the same arguments as the kernel
TWIN_ENDINGS = ("_plain", "_reference")
# these begin a chain: what pydantic asks every document to inherit, and marks of the type system
MARKERS = {"Document", "Generic", "Protocol", "object", "ABC", "NamedTuple", "TypedDict"}


def n_statements(function):
    """Count as ruff does: neither returns, nor the heads of for loops, nor the docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    below = [inner for statement in body for inner in ast.walk(statement)]
    return sum(
        isinstance(inner, ast.stmt) and not isinstance(inner, ast.Return | ast.For)
        for inner in below
    )


def test_module_is_at_most_400_lines(module):
    n_lines = len(module.text.splitlines())
    assert n_lines <= MAX_LINES, f"STYLE 1: {n_lines} lines; split the module by responsibility"


def test_function_is_at_most_40_statements(module):
    found = [
        f"{function.where} has {n_statements(function.node)}"
        for function in module.functions
        if n_statements(function.node) > MAX_STATEMENTS
    ]
    assert not found, f"STYLE 1: more than {MAX_STATEMENTS} statements; split: {found}"


def test_function_takes_at_most_8_parameters(module):
    # a compiled kernel takes its arrays one by one, since it cannot take an object; a click
    # command takes what the user can type, each with a name
    found = [
        f"{function.where} takes {len(function.parameters)}"
        for function in module.functions
        if len(function.parameters) > MAX_PARAMETERS
        and not function.is_kernel
        and not function.decorators & CLICK_COMMANDS
    ]
    assert not found, f"STYLE 1: more than {MAX_PARAMETERS} parameters; pass an object: {found}"


def test_parameters_after_the_first_are_keyword_only(module):
    # exempt: kernels and twins, because numba calls by position only; dunder methods, as Python
    # calls them; what pydantic, click or functools calls, because they decide the signature;
    # private functions, whose callers stand in the same file as the names
    found = [
        function.where
        for function in module.functions
        if len(function.positional) > 1
        and function.is_public
        and not function.is_kernel
        and not function.node.name.endswith(TWIN_ENDINGS)
        and not function.is_dunder
        and not function.decorators & FOREIGN_SIGNATURES
        and not is_foreign_override(function)
    ]
    assert not found, f"STYLE 1: more than one positional parameter; add '*': {found}"


def is_foreign_override(function):
    """Whether a method overrides one of click, whose parameters begin with `ctx`."""
    names = [parameter.arg for parameter in function.positional]
    return "ctx" in names[:1] or names == CLICK_CALLBACK


def test_inheritance_is_at_most_two_deep(module, modules, word_of):
    bases = {
        one.name: [word_of(base) for base in one.bases]
        for other in modules
        for one in other.classes
        if "errors.py" not in other.name
    }

    def depth(name):
        """Return how many of our own classes are above a class."""
        own = [base for base in bases.get(name, ()) if base not in MARKERS]
        return 1 + max((depth(base) for base in own if base in bases), default=0)

    found = [f"{one.name} is {depth(one.name)} deep" for one in module.classes]
    found = [text for text in found if int(text.split()[-2]) > MAX_DEPTH]
    assert not found, f"STYLE 1: inheritance deeper than {MAX_DEPTH}; use composition: {found}"


def test_frozen_records_have_at_most_12_fields(module, word_of):
    found = []
    for one in module.classes:
        is_dataclass = "dataclass" in {word_of(decorator) for decorator in one.decorator_list}
        is_document = "Document" in {word_of(base) for base in one.bases}
        fields = [
            statement
            for statement in one.body
            if isinstance(statement, ast.AnnAssign) and "ClassVar" not in ast.dump(statement)
        ]
        if (is_dataclass or is_document) and len(fields) > MAX_FIELDS:
            found.append(f"line {one.lineno}: {one.name} has {len(fields)}")
    assert not found, f"STYLE 6: more than {MAX_FIELDS} fields; group them: {found}"


def test_dataclasses_are_slotted_and_keyword_only(module, word_of):
    found = []
    for one in module.classes:
        for decorator in one.decorator_list:
            if word_of(decorator) != "dataclass" or one.name.startswith("_"):
                continue
            keywords = getattr(decorator, "keywords", [])
            given = {keyword.arg for keyword in keywords if getattr(keyword.value, "value", False)}
            fields = [part for part in one.body if isinstance(part, ast.AnnAssign)]
            wanted = {"slots"} if len(fields) <= 1 else {"slots", "kw_only"}
            if not wanted <= given:
                found.append(f"line {one.lineno}: {one.name} lacks {sorted(wanted - given)}")
    assert not found, f"STYLE 6: dataclasses have slots=True and kw_only=True: {found}"
