import json
import mmap
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rackmoe.routing.paging import PageRelease

needs_release = pytest.mark.skipif(
    not hasattr(mmap, "MADV_DONTNEED"), reason="this system cannot give pages back"
)


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "rows.npy", np.arange(4096 * 64, dtype=np.uint8).reshape(4096, 64))
    return np.load(tmp_path / "rows.npy", mmap_mode="r")


@needs_release
@pytest.mark.parametrize(("in_order", "n_rows"), [(True, 1500), (False, 2)])
def test_pages_go_back_once_enough_were_read(mapped, monkeypatch, in_order, n_rows):
    pages, released = PageRelease(mapped[1:], held_bytes=100_000), []
    monkeypatch.setattr(pages, "_file", SimpleNamespace(madvise=released.append))
    pages.read(n_rows - 1 if in_order else 1, in_order=in_order)
    assert not released
    pages.read(n_rows, in_order=in_order)
    assert released == [mmap.MADV_DONTNEED]


@needs_release
def test_what_was_given_back_reads_the_same(mapped):
    before = mapped.sum()
    PageRelease(mapped, held_bytes=1).read(len(mapped))
    assert mapped.sum() == before


def test_arrays_in_memory_are_left_alone():
    PageRelease(np.zeros((4, 4)), held_bytes=1).read(4)


_REPLAY = """
import sys
from pathlib import Path
import numpy as np
from rackmoe.routing.placement import contiguous
from rackmoe.routing.sources import replay_source
from rackmoe.routing.trace_files import load_token_trace

trace = load_token_trace(sys.argv[1])
place = contiguous(256, n_layers=58, n_ranks=4)
source = replay_source(trace, placement=place, rng=np.random.default_rng(0))
tokens, senders = np.full(4, 512), np.repeat(np.arange(4), 512).astype(np.int32)
for first in range(0, int(sys.argv[2]), 2048):
    rows = np.arange(first, first + 2048)
    source.route(tokens, phase="decode", rows=rows, row_rank=senders)
# not getrusage, whose peak a new process inherits from the one that started it
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) * 1024)
"""


@needs_release
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no peak of a process alone")
def test_a_trace_larger_than_what_may_be_held_is_replayed_in_little_memory(tmp_path):
    """As one of 2 GB is, at a peak of 0.25 GB instead of 2.2 GB."""
    n_rows = 600_000
    rows = np.lib.format.open_memmap(
        tmp_path / "routed_experts.npy", mode="w+", dtype=np.uint8, shape=(n_rows, 58, 8)
    )
    rows[:] = np.arange(8)
    rows.flush()
    np.save(tmp_path / "req_offsets.npy", np.array([0, n_rows]))
    header = {
        "format": "rackmoe-token-trace-v0",
        "model": "m",
        "num_experts": 256,
        "top_k": 8,
        "moe_layer_ids": list(range(58)),
        "phase": "any",
    }
    (tmp_path / "header.json").write_text(json.dumps(header), encoding="utf-8")
    short_bytes, whole_bytes = (
        int(
            subprocess.run(  # noqa: S603  the script above
                [sys.executable, "-c", _REPLAY, str(tmp_path), str(n)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for n in (2048, n_rows - 2048)
    )
    assert rows.nbytes > 275e6
    assert whole_bytes < 600e6
    assert whole_bytes - short_bytes < 0.4 * rows.nbytes
