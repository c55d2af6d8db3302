import numpy as np

from rackmoe.backend.profile import load_backend
from rackmoe.schema.quantities import Kind
from rackmoe.study.calibration.serving_fit import HostFit
from rackmoe.study.calibration.serving_profiles import BackendFit, GroupFit, fitted_profiles


def group() -> GroupFit:
    point = np.array([1.2345e-4, 5e-6, 3e-4, 0.05, 3.4])
    return GroupFit(
        backend="trtllm-2026h1",
        family="h200",
        fit=HostFit(point=point, n_rows=20, n_curves=4),
        tpot_before=0.2,
        tpot_fitted=0.05,
        tpot_held_out=0.07,
        ttft_before=0.5,
        ttft_fitted=0.1,
        ttft_held_out=0.2,
        held_out={},
    )


def test_every_gpu_of_a_family_gets_the_constants_and_their_source():
    backend = BackendFit(
        backend="trtllm-2026h1",
        acceptance_frac=0.7,
        n_draft_rows=9,
        cold_start_s=31.234,
        n_cold_rows=12,
    )
    profiles = {"trtllm-2026h1": load_backend("trtllm-2026h1")}
    found = fitted_profiles(
        profiles, groups=[group()], backends=[backend], origin="points.csv, 2026-11-21"
    )["trtllm-2026h1"]
    host = found.host_on("h100")
    assert host == found.host_on("h200")
    assert host.gap_s.value == 1.23e-4
    assert host.gap_s.kind is Kind.FITTED
    assert host.poll_steps.value == 3
    assert host.step_s.value == found.host.step_s.value
    text = found.sources[host.gap_s.source]
    assert "20 points on 4 curves of points.csv, 2026-11-21" in text
    assert "5.0 % (7.0 % on curves left out)" in text
    assert found.speculation.acceptance_frac.value == (0.7,)
    assert found.kv.cold_start_s.value == 31.2
    assert "acceptance" not in found.sources


def test_a_backend_without_rows_stays_as_it_is():
    profile = load_backend("vllm-2026h1")
    backend = BackendFit(
        backend="vllm-2026h1",
        acceptance_frac=None,
        n_draft_rows=0,
        cold_start_s=0.0,
        n_cold_rows=0,
    )
    found = fitted_profiles({"vllm-2026h1": profile}, groups=[], backends=[backend], origin="x")
    assert found["vllm-2026h1"] == profile
