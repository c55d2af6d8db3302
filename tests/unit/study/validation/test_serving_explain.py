from rackmoe.study.validation.serving_explain import explain_row
from rackmoe.study.validation.serving_rows import ServingRow

ROW = ServingRow(
    cells={
        "id": "one",
        "hardware": "hgx_h200",
        "model": "gpt-oss-20b",
        "weights_dtype": "mxfp4",
        "engine": "trtllm",
        "mode": "agg",
        "decode_tp": "1",
        "decode_workers": "1",
        "isl": "100",
        "osl": "20",
        "arrival": "closed",
        "concurrency": "2",
    }
)


def test_a_row_is_explained_by_pool_and_kind_of_step():
    frame = explain_row(ROW)
    assert set(frame["kind"]) >= {"decode", "prompts"}
    assert (frame["duration_s"] > 0).all()
    assert (frame["n_steps"] > 0).all()
