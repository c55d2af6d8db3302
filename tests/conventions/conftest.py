"""The modules of the package and its files, each with its syntax tree, one test for each."""

import ast
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "rackmoe"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Function:
    """A function or method and where it stands."""

    node: ast.FunctionDef
    owner: ast.ClassDef | None
    is_nested: bool

    @property
    def name(self):
        return f"{self.owner.name}.{self.node.name}" if self.owner else self.node.name

    @property
    def where(self):
        return f"line {self.node.lineno}: {self.name}"

    @property
    def decorators(self):
        """The last words of the decorators: `njit` of `@numba.njit(cache=True)`."""
        return {last_word(one) for one in self.node.decorator_list}

    @property
    def is_dunder(self):
        return self.node.name.startswith("__") and self.node.name.endswith("__")

    @property
    def is_public(self):
        names = [self.node.name, *([self.owner.name] if self.owner else [])]
        is_visible = not any(name.startswith("_") for name in names)
        return is_visible and not self.is_nested

    @property
    def is_kernel(self):
        return bool(self.decorators & {"njit", "jit", "vectorize", "guvectorize"})

    @property
    def is_bound(self):
        """Whether the first parameter is the object or the class."""
        return (
            self.owner is not None and not self.is_nested and "staticmethod" not in self.decorators
        )

    @property
    def positional(self):
        """Parameters that a caller may pass by position, without self."""
        arguments = self.node.args
        return [*arguments.posonlyargs, *arguments.args][1 if self.is_bound else 0 :]

    @property
    def parameters(self):
        return [*self.positional, *self.node.args.kwonlyargs]


@dataclass(frozen=True)
class Module:
    """One file of Python code."""

    path: Path = field(repr=False)

    @property
    def name(self):
        return self.path.relative_to(ROOT).as_posix()

    @property
    def is_package(self):
        return self.path.name == "__init__.py"

    @cached_property
    def text(self):
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self):
        return ast.parse(self.text)

    @cached_property
    def functions(self):
        return list(_functions(self.tree, owner=None, is_nested=False))

    @cached_property
    def classes(self):
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]


def _functions(node, *, owner, is_nested):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            yield Function(node=child, owner=owner, is_nested=is_nested)
            yield from _functions(child, owner=owner, is_nested=True)
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, owner=child, is_nested=is_nested)
        else:
            yield from _functions(child, owner=owner, is_nested=is_nested)


def last_word(node):
    """Return `njit` for `njit`, `numba.njit` and `numba.njit(...)`."""
    if isinstance(node, ast.Call):
        return last_word(node.func)
    if isinstance(node, ast.Subscript):
        return last_word(node.value)
    return getattr(node, "attr", getattr(node, "id", ""))


MODULES = [Module(path) for path in sorted(PACKAGE.rglob("*.py")) if "shipped" not in path.parts]
TEXT_SUFFIXES = {".py", ".yaml", ".json", ".csv", ".md", ".toml", ".ipynb", ".txt", ".cfg", ".yml"}
SHIPPED = sorted(
    path
    for folder in ("rackmoe", "hardware_profiles", "scenarios", "notebooks", "tests", ".ci")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in TEXT_SUFFIXES or path.parent.name == ".ci"
    if path.is_file() and "__pycache__" not in path.parts
) + sorted(path for path in ROOT.iterdir() if path.is_file() and path.name != ".git")
PROFILES = sorted((ROOT / "hardware_profiles").glob("*.yaml"))
UNIT_TESTS = sorted((ROOT / "tests" / "unit").rglob("test_*.py"))


def pytest_generate_tests(metafunc):
    """Give a test that asks for it each module, shipped file, profile or unit test in turn."""
    values = {
        "module": (MODULES, lambda module: module.name),
        "shipped_file": (SHIPPED, lambda path: path.relative_to(ROOT).as_posix()),
        "profile_file": (PROFILES, lambda path: path.stem),
        "unit_test": (UNIT_TESTS, lambda path: path.relative_to(ROOT).as_posix()),
    }
    for name, (items, id_of) in values.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, items, ids=[id_of(item) for item in items])


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def modules():
    return MODULES


@pytest.fixture(scope="session")
def word_of():
    return last_word
