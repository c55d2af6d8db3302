"""STYLE section 1: each module says what is public, and nothing public is missing."""

import ast
import importlib

import pytest

MAX_TOP_LEVEL = 20


def exported(module):
    """Return the names in `__all__` as written, or None."""
    for statement in module.tree.body:
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        if any(getattr(target, "id", "") == "__all__" for target in targets):
            return ast.literal_eval(statement.value)
    return None


def is_bare_package(module):
    """Whether an __init__ holds its docstring only, as those of sub-packages should."""
    return module.is_package and len(module.tree.body) == 1


def test_module_declares_what_is_public(module):
    if is_bare_package(module) or module.path.name == "__main__.py":
        pytest.skip("exports nothing")
    names = exported(module)
    assert names is not None, "STYLE 1: add __all__"
    assert len(names) == len(set(names)), "STYLE 1: a name twice in __all__"


def test_every_exported_name_can_be_imported(module):
    names = exported(module)
    if names is None:
        pytest.skip("exports nothing")
    dotted = module.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    loaded = importlib.import_module(dotted)
    missing = [name for name in names if not hasattr(loaded, name)]
    assert not missing, f"STYLE 1: in __all__ and not in the module: {missing}"


def test_every_public_function_and_class_is_exported(module):
    names = exported(module)
    if names is None:
        pytest.skip("exports nothing")
    defined = {
        node.name
        for node in module.tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if not node.name.startswith("_")
    }
    assert not defined - set(names), (
        f"STYLE 1: export it or begin it with '_': {sorted(defined - set(names))}"
    )


def test_top_level_has_at_most_20_names():
    rackmoe = importlib.import_module("rackmoe")
    names = getattr(rackmoe, "__all__", ())
    assert len(names) <= MAX_TOP_LEVEL, f"STYLE 1: {len(names)} names at the top level"
    missing = [name for name in names if not hasattr(rackmoe, name)]
    assert not missing, f"STYLE 1: in rackmoe.__all__ and not importable: {missing}"
