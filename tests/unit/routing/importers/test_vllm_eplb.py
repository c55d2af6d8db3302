import json

import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.importing import ImportHints, import_trace, import_with_notes

META = {
    "record_type": "eplb_load_meta",
    "version": 1,
    "model": "test-model",
    "num_ranks": 2,
    "num_groups": 1,
    "num_nodes": 1,
    "num_layers": 2,
    "num_redundant_experts": 1,
}


def stats(step, load, p2l=((0, 1, 2, 0), (0, 1, 2, 2))):
    return {
        "record_type": "eplb_load_stats",
        "version": 1,
        "step": step,
        "expert_load": load,
        "p2l_map": p2l,
    }


FIRST = stats(1, [[1, 2, 2, 1], [0, 3, 1, 2]])
SECOND = stats(2, [[1, 1, 0, 0], [0, 1, 1, 0]], p2l=((2, 1, 0, 1), (0, 1, 2, 1)))


def save(path, records, *, tail=""):
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return path


def load(path, **hints):
    return import_trace(path, hints=ImportHints(top_k=2, **hints))


def test_physical_loads_are_mapped_by_the_map_of_their_step(tmp_path):
    path = save(tmp_path / "a.jsonl", [META, FIRST, SECOND])
    done = import_with_notes(path, hints=ImportHints(top_k=2))
    assert done.format == "vllm_eplb"
    assert done.trace.counts.tolist() == [[[2, 2, 2], [0, 3, 3]], [[0, 1, 1], [0, 1, 1]]]
    assert done.trace.step_tokens.tolist() == [3, 1]
    assert (done.trace.header.model, done.trace.header.n_experts) == ("test-model", 3)


def test_other_lines_and_a_torn_end_are_left_out(tmp_path):
    records = [META, {"record_type": "bench_run_start"}, FIRST]
    trace = load(save(tmp_path / "a.jsonl", records, tail='{"record_type": "eplb_lo'))
    assert trace.step_tokens.tolist() == [3]
    assert "left out the torn last line" in trace.header.note
    assert "left out 1 lines of other kinds" in trace.header.note


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        ([META], "0 steps; expected eplb_load_meta and at least one"),
        ([FIRST], r"a\.jsonl:1: a step before eplb_load_meta"),
        ([{**META, "version": 2}, FIRST], "version 2; expected version 1"),
        ([{**META, "num_layers": 3}, FIRST], "expert_load: 2 layers; expected the 3"),
        ([META, stats(1, [[1, 2, 3], [1, 2, 3]])], "expected one count for each slot"),
        ([META, stats(1, [[1, 2, 3, 4], [1, 2, 3]])], "expert_load: neither integers nor"),
        ([META, stats(1, [[1.5] * 4] * 2)], "expert_load: neither integers nor in equal rows"),
        ([META, stats(1, [[1] * 4] * 2, p2l=((0, 1, 1, 0),) * 2)], "expected each of 3 experts"),
        ([META, {"record_type": "eplb_load_stats"}], "expected a record with 'expert_load'"),
        ([META, stats(1, [[1, 2, 2, 1], [0, 3, 1, 4]])], "8 assignments in MoE layer 1"),
    ],
)
def test_records_that_do_not_fit_are_refused(tmp_path, records, problem):
    with pytest.raises(TraceError, match=problem):
        import_trace(
            save(tmp_path / "a.jsonl", records), format="vllm_eplb", hints=ImportHints(top_k=2)
        )


def test_padded_loads_are_found_by_the_tokens_served(tmp_path):
    path = save(tmp_path / "a.jsonl", [META, FIRST, SECOND])
    with pytest.raises(TraceError, match=r"3 tokens counted, 2 served, .*CUDA-graph padding"):
        load(path, step_tokens=[2, 1])
