import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rackmoe


def test_every_public_name_is_there_and_listed():
    assert len(rackmoe.__all__) <= 20
    assert set(rackmoe.__all__) <= set(dir(rackmoe))
    for name in rackmoe.__all__:
        assert getattr(rackmoe, name) is not None


def test_functions_are_those_of_their_modules():
    from rackmoe.scenario.resolved import load_scenario  # noqa: PLC0415  compared below
    from rackmoe.simulation import simulate  # noqa: PLC0415  compared below

    assert rackmoe.simulate is simulate
    assert rackmoe.load_scenario is load_scenario


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'rackmoe' has no attribute 'simulat'"):
        rackmoe.simulat  # noqa: B018  the access is the test


def test_type_checkers_are_told_the_same_names_and_homes():
    stub = ast.parse(Path(rackmoe.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    homes = {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(homes) == rackmoe.__all__
    lazy = {name: home for name, home in homes.items() if home != "rackmoe.errors"}
    assert lazy == rackmoe._HOMES


def test_import_is_light_until_a_name_is_used():
    code = "import sys, rackmoe; print('pandas' in sys.modules, 'numba' in sys.modules)"
    done = subprocess.run(  # noqa: S603  our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["False", "False"]
