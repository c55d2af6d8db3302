"""What a wheel holds, and that an installed rackmoe finds its shipped files (STYLE section 1)."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
_LIST = (
    "import sys; sys.path.insert(0, sys.argv[1])\n"
    "import rackmoe\n"
    "assert rackmoe.__file__.startswith(sys.argv[1]), rackmoe.__file__\n"
    "rackmoe.load_machine('gb200_nvl72')\n"
    "scenario = rackmoe.load_scenario('deepseek_r1_azure')\n"
    "print(scenario.arch.name, *scenario.variants)\n"
)


def test_a_wheel_works_without_the_source_tree(tmp_path):
    dist, site = tmp_path / "dist", tmp_path / "site"
    dist.mkdir()
    built = subprocess.run(  # noqa: S603  the interpreter of this test with a text from above
        [sys.executable, "-c", _BUILD, str(dist)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = dist.glob("rackmoe-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(site)
    assert "rackmoe/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "notebooks/"))]
    listed = subprocess.run(  # noqa: S603  likewise
        [sys.executable, "-I", "-c", _LIST, str(site)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.split()[:2] == ["deepseek-r1", "hgx_h200"]
