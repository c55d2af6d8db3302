"""LAW-10: same seed, same bytes, under any PYTHONHASHSEED."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given, settings
from strategies import Case, Shape, build, cases

from rackmoe.records import TABLES
from rackmoe.simulation import simulate

TESTS = Path(__file__).parents[1]
CASE = Case(
    backend="trtllm-2026h1",
    pools=(
        Shape(attention_dp=2, ep=2),
        Shape(tp=2, attention_dp=2, ep=4, redundant_experts=4, two_batch_overlap=True),
    ),
    arrivals=("poisson", "1000 /s"),
    kv_tokens=150,
)


def digest(result):
    """Return a digest of every figure and every row of a result."""
    rows = [result.to_frame(name).to_csv(index=False) for name in TABLES]
    text = "\n".join([*rows, json.dumps(dict(result.summary)), *result.warnings])
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@settings(max_examples=10)
@given(case=cases())
def test_a_second_run_repeats_every_byte(small_files, case):
    scenario = build(case, small_files)
    assert digest(simulate(scenario, seed=3)) == digest(simulate(scenario, seed=3))


def test_another_seed_gives_other_traffic(small_files):
    scenario = build(CASE, small_files)
    assert digest(simulate(scenario, seed=1)) != digest(simulate(scenario, seed=2))


def test_hash_seeds_change_no_byte(small_files):
    # the package that is imported here, wherever another one is installed
    path = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    digests = set()
    for seed in ("0", "1"):
        run = subprocess.run(  # noqa: S603  the arguments are our own
            [sys.executable, __file__, str(small_files)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(run.stdout.strip())
    digests.add(digest(simulate(build(CASE, small_files))))
    assert len(digests) == 1
    assert len(digests.pop()) == 64


if __name__ == "__main__":
    sys.stdout.write(digest(simulate(build(CASE, Path(sys.argv[1])))))
