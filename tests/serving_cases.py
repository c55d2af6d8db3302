"""Measured serving rows with made-up answers, for tests of what is done with them."""

from rackmoe.study.validation.serving import validate_answers
from rackmoe.study.validation.serving_answers import Answer
from rackmoe.study.validation.serving_rows import ServingRow


def row_of(name, *, curve="h200/one", **cells):
    """Return a row of an HGX H200 at 20 ms a token and 500 tokens/s per GPU."""
    known = {"id": name, "curve": curve, "trust": "A", "hardware": "hgx_h200"}
    known |= {"model": "deepseek-r1", "weights_dtype": "fp8", "engine": "sglang", "mode": "agg"}
    known |= {"isl": "1000", "osl": "200", "concurrency": "64", "arrival": "closed"}
    known |= {"decode_workers": "1", "decode_tp": "8", "decode_ep": "8", "mtp": "off"}
    known |= {"routing": "uniform_random", "length_model": "uniform_0.8_1.0"}
    known |= {"tpot_stat": "mean", "tpot_ms": "20", "total_tokens_per_s_per_gpu": "500"}
    return ServingRow(cells=known | cells)


ROWS = (
    row_of("a", ttft_ms="300", ttft_stat="mean", score_ttft="yes"),
    row_of("b", tpot_ms="10", total_tokens_per_s_per_gpu="250"),
    row_of("c", curve="chart", trust="C"),
    row_of("d", curve="gb200/two", hardware="gb200_nvl72", mode="disagg"),
)
ANSWERS = {
    "a": Answer(figures={"tpot_ms": 22.0, "ttft_ms": 150.0, "total_tokens_per_s_per_gpu": 450.0}),
    "b": Answer(figures={"tpot_ms": 14.0, "total_tokens_per_s_per_gpu": 200.0}),
    "c": Answer(figures={"tpot_ms": 40.0, "total_tokens_per_s_per_gpu": 450.0}),
    "d": Answer(figures={}, reason="weights do not fit; raise ep"),
}


def validation():
    """Return the rows compared with the answers."""
    return validate_answers(ROWS, answers=ANSWERS, file="points.csv")


def written(path, rows=ROWS):
    """Write rows as a CSV file and return its path."""
    columns = list(dict.fromkeys(name for row in rows for name in row.cells))
    lines = [",".join(columns)]
    lines += [",".join(row.cells.get(name, "") for name in columns) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
