import importlib.util
import sys

import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.importing import ImportHints, import_trace, import_with_notes

HINTS = ImportHints(n_experts=8, top_k=2)
needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="the parquet extra is not installed"
)


def save(path, columns):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), path)
    return path


def token_columns(ids, *, shuffle=True):
    tokens, layers = np.meshgrid(np.arange(ids.shape[0]), np.arange(ids.shape[1]), indexing="ij")
    order = np.arange(tokens.size)
    if shuffle:
        np.random.default_rng(0).shuffle(order)
    return {
        "request_id": [f"r{token // 2}" for token in tokens.ravel()[order]],
        "token_index": (tokens.ravel() % 2)[order].tolist(),
        "layer_id": (layers.ravel() + 3)[order].tolist(),
        "experts": ids.reshape(-1, ids.shape[2])[order].tolist(),
    }


def test_missing_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1....")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(
        TraceError, match=r"pyarrow is not installed; .*install rackmoe\[parquet\]"
    ):
        import_trace(tmp_path / "a.parquet")


@needs_pyarrow
def test_table_of_choices_becomes_requests(tmp_path, choices):
    ids = choices(6)
    path = save(tmp_path / "a.parquet", token_columns(ids, shuffle=False))
    done = import_with_notes(path, hints=HINTS)
    assert done.format == "parquet"
    assert done.trace.req_offsets.tolist() == [0, 2, 4, 6]
    assert done.trace.header.moe_layer_ids == (3, 4, 5)
    np.testing.assert_array_equal(done.trace.routed_experts, ids)


@needs_pyarrow
def test_order_of_rows_does_not_matter_within_a_request(tmp_path, choices):
    ids = choices(2)
    path = save(tmp_path / "a.parquet", token_columns(ids))
    np.testing.assert_array_equal(import_trace(path, hints=HINTS).routed_experts, ids)


@needs_pyarrow
def test_table_of_counts_becomes_steps(tmp_path):
    columns = {
        "layer_id": [3, 3, 4, 4],
        "expert_id": [0, 1, 1, 7],
        "activation_count": [1, 1, 1, 1],
    }
    trace = import_trace(save(tmp_path / "a.parquet", columns), hints=HINTS)
    assert trace.step_tokens.tolist() == [1]
    assert trace.counts[0, 1].tolist() == [0, 1, 0, 0, 0, 0, 0, 1]


@needs_pyarrow
@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"a": [1]}, "columns a; expected experts, layer_id, token_index; rename"),
        ({"layer": [], "token": [], "experts": []}, "0 rows; expected a table with rows"),
        ({"layer": [0], "token": [0], "experts": [None]}, "1 nulls in null; expected lists"),
        (
            {"layer": [0, 1], "token": [0, 0], "experts": [[1], [1, 2]]},
            "lists of 2 lengths; expected",
        ),
        ({"layer": [0, 1], "token": [0, 1], "experts": [[1], [2]]}, "each token once in each"),
        ({"layer": [0, 0], "token": [0, 0], "experts": [[1], [2]]}, "each token once"),
        ({"layer": [0], "token": [0], "experts": [3]}, "0 nulls in int64; expected lists"),
        ({"layer": [0.5], "token": [0], "experts": [[3]]}, "layer: double"),
        ({"layer": [0], "token": [0], "experts": [["a"]]}, r"list<.*expected integers"),
        ({"layer": [0], "expert": [10**12], "count": [1]}, "sane ids"),
        ({"layer": [0], "expert": [-1], "count": [1]}, "sane ids"),
        ({"layer": [0, 0], "expert": [1, 1], "count": [1, 1]}, "one of them twice"),
    ],
)
def test_other_tables_are_refused(tmp_path, columns, problem):
    with pytest.raises(TraceError, match=problem):
        import_trace(save(tmp_path / "a.parquet", columns), hints=HINTS)


@needs_pyarrow
def test_damaged_table_is_refused(tmp_path, choices):
    path = save(tmp_path / "a.parquet", token_columns(choices(2)))
    data = path.read_bytes()
    for damaged in (data[:50], data[:-10] + bytes(10)):
        path.write_bytes(damaged)
        with pytest.raises(TraceError, match="not a readable table"):
            import_trace(path, hints=HINTS)
