"""Rows whose measured times follow from known constants, for tests of fits."""

import numpy as np

from rackmoe.backend.profile import load_backend
from rackmoe.study.calibration.serving_fit import row_misses
from rackmoe.study.calibration.serving_surrogate import RowSurrogate
from rackmoe.study.validation.serving_answers import Answer
from rackmoe.study.validation.serving_features import RowFeatures, WaitFeatures
from rackmoe.study.validation.serving_rows import ServingRow

AT = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.6, 0.0])
TRUE = np.array([1e-3, 1e-5, 0.05, 1.1, 1.2, 1.0, 0.6, 0.0])
PRIORS = {"a": AT, "b": AT}
HOST = load_backend("ideal").host


def surrogate(index: int, *, curve: str, slower: float = 1.0) -> RowSurrogate:
    """Return a row whose measured times follow from the true constants."""
    n_sequences = 2.0 * 4**index
    features = RowFeatures(
        busy_s=(5e-3 + 1e-4 * n_sequences, 0.02),
        compute_frac=(0.8, 0.9),
        sequences=(n_sequences, n_sequences),
        has_prompts=(False, True),
        n_steps=(90.0, 10.0),
        first=WaitFeatures(counts=((0.5, 1.0 + index),), rest_s=(0.001,)),
        output=WaitFeatures(counts=((9.0, 1.0),), rest_s=(0.0,)),
        n_steps_out=(10.0,),
        weights=(1.0,),
        n_layers=60,
        expert_format="fp8_block",
    )
    cells = {"id": f"{curve}{index}", "curve": curve, "trust": "A", "mode": "agg"}
    cells |= {"arrival": "closed", "tpot_stat": "mean", "ttft_stat": "mean"}
    row = ServingRow(cells=cells)
    raw = RowSurrogate(row, features=features, at=AT, host=HOST, figures={})._raw(AT)
    one = RowSurrogate(row, features=features, at=AT, host=HOST, figures=raw)
    true = one.predict(TRUE)
    cells |= {
        "tpot_ms": f"{1e3 * true['tpot'] * slower}",
        "ttft_ms": f"{1e3 * true['ttft'] * slower}",
        "score_ttft": "yes",
    }
    row = ServingRow(cells=cells)
    return RowSurrogate(row, features=features, at=AT, host=HOST, figures=raw)


def errors_of(rows, point, metric):
    """Return the absolute errors of rows with some constants."""
    return [abs(row_misses(one, point=point)[metric]) for one in rows]


HEADER = "id,curve,trust,hardware,model,engine,mode,isl,osl,arrival,concurrency,decode_workers"
MEASURED = "decode_tp,tpot_ms,tpot_stat,ttft_ms,ttft_stat,score_ttft,total_tokens_per_s_per_gpu"
LINE = "hgx_h200,deepseek-r1,sglang,agg,1024,1024,closed"


def write_points(folder):
    """Write a file of measured points, one of them read off a chart, and return its path."""
    lines = [
        f"{name},{name[0]},{trust},{LINE},{users},1,8,{12 + users / 8},p50,100,p50,yes,50"
        for name, trust, users in [("p1", "A", 4), ("p2", "A", 16), ("q1", "B", 8), ("c1", "C", 8)]
    ]
    path = folder / "points.csv"
    path.write_text("\n".join([f"{HEADER},{MEASURED}", *lines]) + "\n", encoding="utf-8")
    return path


def one_answer(users):
    """Return an answer that a simulation might give."""
    busy_s = 0.01 + 1e-4 * users
    features = RowFeatures(
        busy_s=(busy_s,),
        compute_frac=(0.9,),
        sequences=(float(users),),
        has_prompts=(False,),
        n_steps=(100.0,),
        first=WaitFeatures(counts=((1.0,),), rest_s=(0.03,)),
        output=WaitFeatures(counts=((10.0,),), rest_s=(0.0,)),
        n_steps_out=(10.0,),
        weights=(1.0,),
        n_layers=61,
        expert_format="fp8_block",
    )
    figures = {"tpot_ms": 1e3 * busy_s, "ttft_ms": 90.0, "total_tokens_per_s_per_gpu": 60.0}
    return Answer(figures=figures, features=features)
