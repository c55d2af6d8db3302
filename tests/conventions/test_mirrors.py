"""STYLE section 8: tests/unit mirrors the package file by file."""

import ast

import pytest


def has_code(module):
    """Whether a module holds more than a docstring, imports and names."""
    return any(
        isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
        for node in ast.walk(module.tree)
    )


def test_module_has_its_unit_test(module, root):
    if not has_code(module):
        pytest.skip("nothing to test")
    inside = module.path.relative_to(root / "rackmoe")
    # the tests of a package's __init__ carry the name of the package
    name = (inside.parent.name or "rackmoe") if module.is_package else inside.stem
    folder = inside.parent.parent if module.is_package else inside.parent
    mirror = root / "tests" / "unit" / folder / f"test_{name.strip('_')}.py"
    assert mirror.is_file(), f"STYLE 8: write {mirror.relative_to(root).as_posix()}"


def test_unit_test_has_its_module(unit_test, root):
    inside = unit_test.relative_to(root / "tests" / "unit")
    name = unit_test.stem.removeprefix("test_")
    package = root / "rackmoe" / inside.parent
    candidates = [package / f"{name}.py", package / f"__{name}__.py", package / name]
    if inside.name == "test_rackmoe.py":
        candidates = [package / "__init__.py"]
    assert any(path.exists() for path in candidates), f"STYLE 8: {inside} tests no module"


def test_unit_test_names_are_sentences(unit_test):
    tree = ast.parse(unit_test.read_text(encoding="utf-8"))
    names = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    short = [name for name in names if name.startswith("test_") and name.count("_") < 3]
    assert not short, f"STYLE 8: a test name is a sentence: {short}"
