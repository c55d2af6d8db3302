import numpy as np
import pytest

from rackmoe.backend.profile import load_backend
from rackmoe.schema.quantities import Kind
from rackmoe.study.calibration.serving_fit import EngineFit
from rackmoe.study.calibration.serving_profiles import GroupFit, MetricErrors, fitted_profiles

NAME = "trtllm-2026h1"
POINT = np.array([1.2345e-4, 5e-6, 0.05, 1.1, 1.0, 1.0, 0.7, 0.01234])
MXFP4 = np.array([0.0, 0.0, 0.0, 0.0, 0.0, -0.0714, 0.0, 0.0])
ENGINES = {"trtllm": EngineFit(prior=POINT, shifts={("weights", "mxfp4"): MXFP4})}
NONE = MetricErrors(before=float("nan"), fitted=float("nan"), held_out=float("nan"))
GROUP = GroupFit(
    backend=NAME,
    family="h200",
    point=POINT,
    n_rows=20,
    n_curves=4,
    errors={
        "tpot": MetricErrors(before=0.2, fitted=0.05, held_out=0.07),
        "throughput": NONE,
        "ttft": MetricErrors(before=0.5, fitted=0.1, held_out=0.2),
    },
)


def test_every_gpu_of_a_family_gets_the_constants_and_their_source():
    profiles = {NAME: load_backend(NAME)}
    found = fitted_profiles(
        profiles,
        engines=ENGINES,
        groups={(NAME, "h200"): GROUP},
        origin="points.csv, 2026-11-21",
    )[NAME]
    host = found.host_on("h200")
    assert host.gap_s.value == 1.23e-4
    assert host.gap_s.kind is Kind.FITTED
    assert host.decode_stretch.value == 1.1
    assert host.step_s.value == found.host.step_s.value
    assert host.poll_steps.value == found.host.poll_steps.value
    assert found.host.prompt_stretch.value == POINT[4]
    assert host.prompt_stretch.kind is Kind.ASSUMED
    text = found.sources[host.gap_s.source]
    assert "20 points on 4 curves of points.csv, 2026-11-21" in text
    assert "TPOT 5.0 % (7.0 %), TTFT 10.0 % (20.0 %)" in text
    assert found.speculation.acceptance_frac.value == (0.7,)
    assert found.kv.setup_s.value == 0.0123
    assert "acceptance" not in found.sources


def test_gpus_without_points_take_the_nearest_constants_and_say_so():
    found = fitted_profiles(
        {NAME: load_backend(NAME)},
        engines=ENGINES,
        groups={(NAME, "h200"): GROUP},
        origin="points.csv",
    )[NAME]
    host = found.host_on("gb200")
    assert host == found.host_on("gb300")
    assert host.gap_s.value == 1.23e-4
    assert "no points" in found.sources[host.gap_s.source]


def test_kernels_of_each_format_have_their_factor():
    profile = load_backend("trtllm-2025h2")
    found = fitted_profiles(
        {"trtllm-2025h2": profile}, engines=ENGINES, groups={(NAME, "h200"): GROUP}, origin="x"
    )["trtllm-2025h2"]
    (name,) = found.host.weights_stretch
    assert (name, found.host.weights_stretch[name].value) == ("mxfp4", 0.929)
    host = found.host_on("h200", weights="mxfp4")
    assert host.decode_stretch.value == pytest.approx(1.1 * 0.929)
    # rows of the other date count for what both share
    assert "20 points" in found.sources["serving-weights"]


def test_a_backend_without_rows_stays_as_it_is():
    profile = load_backend("vllm-2026h1")
    found = fitted_profiles({"vllm-2026h1": profile}, engines=ENGINES, groups={}, origin="x")
    assert found["vllm-2026h1"] == profile
