import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.importing import import_trace

P2L = np.tile(np.arange(4), (1, 1))


def record(**more):
    fields = {"forward_pass_id": 1, "rank": 0, "gatherer_key": "primary"}
    return {**fields, "global_physical_count": np.ones((1, 4), np.int32), **more}


def dump(records):
    return {"records": records, "last_physical_to_logical_map": P2L}


def test_dump_without_records_is_refused(tmp_path, write_torch):
    with pytest.raises(TraceError, match="no records; expected forward passes"):
        import_trace(write_torch(tmp_path / "a.pt", dump([])))


def test_pass_recorded_twice_is_refused(tmp_path, write_torch):
    with pytest.raises(TraceError, match="passes recorded twice; expected each once per rank"):
        import_trace(write_torch(tmp_path / "a.pt", dump([record(), record()])))


def test_rank_that_is_no_number_is_refused(tmp_path, write_torch):
    with pytest.raises(TraceError, match="record 0: rank or forward_pass_id is no whole number"):
        import_trace(write_torch(tmp_path / "a.pt", dump([record(rank="zero")])))


def test_record_without_counts_is_refused(tmp_path, write_torch):
    lacking = record()
    del lacking["global_physical_count"]
    with pytest.raises(TraceError, match="expected a record with 'global_physical_count'"):
        import_trace(write_torch(tmp_path / "a.pt", dump([lacking])))


def test_positions_that_are_no_numbers_are_refused(tmp_path, write_torch):
    ids = np.zeros((1, 1, 8), np.int32)
    bad = record(topk_ids_of_layer=ids, positions=["a"], input_ids=[1], extend_seq_lens=None)
    with pytest.raises(TraceError, match="positions: not a list of whole numbers"):
        import_trace(write_torch(tmp_path / "a.pt", dump([bad])))
