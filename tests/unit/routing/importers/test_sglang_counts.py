import json

import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.importing import ImportHints, import_trace, import_with_notes

HINTS = ImportHints(top_k=2)


def save(path, value):
    path.write_text(json.dumps({"logical_count": value}))
    return path


def test_counts_with_and_without_steps_are_read(tmp_path):
    table = [[0, 0, 0], [2, 1, 1], [1, 1, 2]]
    for value in (table, [table]):
        done = import_with_notes(save(tmp_path / "a.json", value), hints=HINTS)
        assert done.format == "sglang_counts"
        assert done.trace.counts.tolist() == [[[2, 1, 1], [1, 1, 2]]]
        assert done.trace.header.moe_layer_ids == (1, 2)


@pytest.mark.parametrize("value", [[], [[]], 3, [1, 2], [[[1], [1, 2]]], [[1.5]], [[["a"]]]])
def test_other_values_are_refused(tmp_path, value):
    with pytest.raises(TraceError, match="logical_count"):
        import_trace(save(tmp_path / "a.json", value), hints=HINTS)
