"""STYLE sections 5, 7 and 10: what the library never does."""

import ast

import pytest

CLOCK_CALLS = {
    "time.time",
    "time.perf_counter",
    "time.monotonic",
    "datetime.now",
    "datetime.today",
}
# these write files and talk to people; the date of a fit and the time that a run took are for them
CLOCK_FOLDERS = ("rackmoe/cli/", "rackmoe/report/", "rackmoe/study/")
NUMPY_RANDOM = {"Generator", "PCG64", "SeedSequence", "default_rng", "BitGenerator"}


def calls(module):
    return [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]


def test_library_neither_asserts_nor_prints_nor_exits(module):
    found = [
        f"line {node.lineno}: assert"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assert)
    ]
    banned = {"print", "breakpoint", "exit", "quit", "eval", "exec"}
    for call in calls(module):
        if isinstance(call.func, ast.Name) and call.func.id in banned:
            found.append(f"line {call.lineno}: {call.func.id}()")
        is_exit = ast.unparse(call.func) in {"sys.exit", "os._exit"}
        if is_exit and not module.name.startswith("rackmoe/cli/"):
            found.append(f"line {call.lineno}: sys.exit()")
    assert not found, f"STYLE 5: raise an error of rackmoe.errors instead: {found}"


def test_randomness_comes_from_named_streams(module):
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import) and "random" in {alias.name for alias in node.names}:
            found.append(f"line {node.lineno}: import random")
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            found.append(f"line {node.lineno}: from random import")
        is_numpy = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "np.random"
        if is_numpy and node.attr not in NUMPY_RANDOM:
            found.append(f"line {node.lineno}: np.random.{node.attr}")
    makers = ("np.random.default_rng", "np.random.PCG64", "np.random.SeedSequence")
    if module.name != "rackmoe/streams.py":
        found += [
            f"line {call.lineno}: {ast.unparse(call.func)}"
            for call in calls(module)
            if ast.unparse(call.func) in makers
        ]
    assert not found, f"STYLE 7: take a Generator from streams.rng(name): {found}"


def test_results_do_not_depend_on_the_wall_clock(module):
    if module.name.startswith(CLOCK_FOLDERS):
        pytest.skip("tells people how long something took")
    found = [
        f"line {call.lineno}: {ast.unparse(call.func)}"
        for call in calls(module)
        if ast.unparse(call.func) in CLOCK_CALLS
    ]
    assert not found, f"STYLE 7: no wall clock: {found}"


def test_imports_are_absolute_and_at_the_top(module):
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                found.append(f"line {node.lineno}: relative import")
            if "*" in {alias.name for alias in node.names}:
                found.append(f"line {node.lineno}: star import")
    is_lazy = module.name.startswith("rackmoe/cli/") or module.name == "rackmoe/__init__.py"
    if not is_lazy:
        found += [
            f"line {node.lineno}: import in {function.name}"
            for function in module.functions
            for node in ast.walk(function.node)
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
    assert not found, f"STYLE 1: absolute imports at the top; CLI commands alone are lazy: {found}"


def test_no_state_is_global(module):
    found = [
        f"line {node.lineno}: global {', '.join(node.names)}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Global)
    ]
    assert not found, f"STYLE 7: state lives in objects passed in: {found}"


def test_kernels_are_cached_and_deterministic(module):
    found = []
    for function in module.functions:
        for decorator in function.node.decorator_list:
            if not function.is_kernel:
                continue
            keywords = {
                keyword.arg: getattr(keyword.value, "value", None)
                for keyword in getattr(decorator, "keywords", [])
            }
            if not keywords.get("cache"):
                found.append(f"{function.where}: cache=True is missing")
            if keywords.get("fastmath") or keywords.get("parallel"):
                found.append(f"{function.where}: fastmath or parallel")
    assert not found, f"STYLE 7: same seed, same bytes: {found}"
