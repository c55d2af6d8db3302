"""What all tests share: reproducible random cases, files of small models, the golden option."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

# tests are no package, so the modules that they share are found by their own folder
sys.path.insert(0, str(Path(__file__).parent))

# the same cases on every machine, and no limit on the time of one, which CI cannot keep
settings.register_profile("rackmoe", deadline=None, derandomize=True)
settings.load_profile("rackmoe")


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden", action="store_true", help="write the files of tests/golden anew"
    )


@pytest.fixture(scope="session")
def small_files(tmp_path_factory):
    """A folder where small models and backend profiles are written on demand."""
    return tmp_path_factory.mktemp("small")
