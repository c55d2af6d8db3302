"""STYLE section 1: what is shipped names no machine, no index and no secret place."""

import re
import shutil
import subprocess

import pytest

# written in two parts, so that this file passes its own test
MACHINE_PATH = re.compile(r"(?<![\w.:/}-])/" + r"(?:work|tmp|home|root|Users|mnt|opt)/[\w.-]")
INDEX_HOST = re.compile(
    r"(?:--index-url|--extra-index-url|--find-links|index-url\s*=)" + r"[ =]\S"
)
ALLOWED_AT_TOP = {
    *("rackmoe", "hardware_profiles", "scenarios", "notebooks", "tests"),
    *("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"),
}
MAX_TEXT_BYTES = 20_000_000


def test_file_names_no_path_of_a_machine(shipped_file):
    if shipped_file.stat().st_size > MAX_TEXT_BYTES:
        pytest.skip("a large trace")
    try:
        text = shipped_file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        pytest.skip("not a text")
    found = [
        f"line {number}: {line.strip()[:80]}"
        for number, line in enumerate(text.splitlines(), start=1)
        if MACHINE_PATH.search(line) or INDEX_HOST.search(line)
    ]
    assert not found, f"STYLE 1: no path or index of one machine: {found}"


def test_top_level_holds_what_the_guide_lists_and_nothing_else(root):
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        pytest.skip("not a checkout")
    done = subprocess.run(  # noqa: S603 git, found on the path
        [git, "ls-files", "-z"], cwd=root, capture_output=True, text=True, timeout=60, check=True
    )
    names = {path.split("/")[0] for path in done.stdout.split("\0") if path}
    extra = {
        name
        for name in names - ALLOWED_AT_TOP
        if not name.startswith(".") and not name.endswith((".lock", ".lock.txt"))
    }
    assert not extra, f"STYLE 1: nothing else at the top level: {sorted(extra)}"


@pytest.mark.parametrize("text", ["in /" + "work/main", "open('/" + "tmp/x')", "'/" + "home/a'"])
def test_the_check_finds_a_path_of_a_machine(text):
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize(
    "text", ["network/tmp/x", "https://a.org/home/b", "{root}/tmp/x", "./tmp/x"]
)
def test_the_check_leaves_other_paths_alone(text):
    assert not MACHINE_PATH.search(text)
