import numpy as np

from rackmoe.routing.load import StepLoad
from rackmoe.routing.placement import contiguous
from rackmoe.routing.step_source import StepSource


class Recorder:
    """A part that writes down which tokens it was given."""

    def __init__(self, name, seen):
        self.name, self.seen = name, seen

    def add(self, load, *, tokens_per_rank, rows, row_rank):  # noqa: ARG002 - only recorded
        self.seen.append((self.name, int(tokens_per_rank.sum()), rows, row_rank))


def make(seen, built, **more):
    def builder(name):
        def build():
            built.append(name)
            return Recorder(name, seen)

        return build

    load = StepLoad(contiguous(4, n_layers=1, n_ranks=2), top_k=1)
    parts = {"decode": builder("decode"), "prefill": builder("prefill")}
    return StepSource(load, parts=parts, provenance="made by a test", **more)


def test_phase_gets_its_own_part_built_when_it_first_has_tokens():
    seen, built = [], []
    source = make(seen, built)
    source.begin()
    source.add(np.array([3, 4]), phase="prefill")
    source.add(np.array([1, 1]), phase="prefill")
    assert built == ["prefill"]
    source.add(np.array([2, 0]), phase="decode", rows=np.array([7, 8]))
    assert built == ["prefill", "decode"]
    assert [(name, n) for name, n, *_ in seen] == [("prefill", 7), ("prefill", 2), ("decode", 2)]
    assert source.finish().expert_counts.shape == (1, 4)


def test_source_with_spans_needs_rows():
    spans = np.array([[0, 5]])
    assert make([], [], spans=spans).needs_rows
    assert not make([], []).needs_rows
