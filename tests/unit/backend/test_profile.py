"""Backend profiles: what ships, and what is refused."""

import pytest

from rackmoe.backend.collectives import Family
from rackmoe.backend.profile import load_backend
from rackmoe.errors import ConfigError
from rackmoe.schema.shipped import shipped_names, shipped_path

NAMES = shipped_names("scenarios/backends")


@pytest.fixture
def write_profile(tmp_path):
    """Return a function that writes the ideal profile with a text replaced."""

    def write(old, new):
        text = shipped_path("scenarios/backends", name="ideal").read_text(encoding="utf-8")
        assert old in text
        path = tmp_path / "mine.yaml"
        path.write_text(text.replace(old, new), encoding="utf-8")
        return str(path)

    return write


@pytest.mark.parametrize("name", NAMES)
def test_shipped_profiles_say_what_they_are(name):
    profile = load_backend(name)
    assert profile.name == name
    assert 0 < profile.memory.usable_frac.value <= 1
    assert profile.host.step_s.value >= 0
    choice = profile.collectives
    for families in (
        choice.one_domain_prefill,
        choice.one_domain_decode,
        choice.many_domains_prefill,
        choice.many_domains_decode,
    ):
        assert families
        assert all(Family(family) for family in families)


def test_engines_ship_beside_the_bounds():
    assert {"ideal", "ideal-network"} <= set(NAMES)
    assert {"trtllm-2026h1", "sglang-2026h1", "vllm-2026h1"} <= set(NAMES)
    assert {load_backend(name).engine for name in NAMES} == {"trtllm", "sglang", "vllm", "ideal"}


def test_the_bound_has_no_overheads():
    profile = load_backend("ideal")
    assert profile.memory.usable_frac.value == 1
    assert profile.memory.workspace_bytes.value == 0
    assert profile.host.step_s.value == profile.host.gap_s.value == 0
    assert profile.kv.setup_s.value == 0
    assert not profile.operators.is_compute_free
    assert load_backend("ideal-network").operators.is_compute_free


def test_quantities_are_read_in_si(write_profile):
    path = write_profile("workspace: {value: 0 B", "workspace: {value: 3 GiB")
    assert load_backend(path).memory.workspace_bytes.value == 3 * 2**30


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("policy: mixed", "policy: mixd", "scheduler.policy: 'mixd'"),
        ("group_choice: shortest_queue", "group_choice: random", "scheduler.group_choice"),
        ("block_tokens: 1", "block_tokens: 0", "scheduler.block_tokens: '?0'?"),
        ("workspace: {value: 0 B", "workspace: {value: 0", "memory.workspace.value"),
        ("usable: {value: 1.0", "usable: {value: 1.5", "memory.usable.value"),
        ("source: host}", "source: hots}", "hots"),
        ("path: scale_out", "path: tokens", "kv.path"),
        ("dtype: fp8", "dtype: fp4", "kv.dtype: 'fp4'"),
        ("engine: ideal", "engin: ideal", "engin: unknown key"),
    ],
)
def test_wrong_values_are_named_with_their_place(write_profile, old, new, problem):
    with pytest.raises(ConfigError, match=problem):
        load_backend(write_profile(old, new))


def test_an_unknown_profile_gets_a_suggestion():
    with pytest.raises(ConfigError, match="trtllm-2026"):
        load_backend("trtllm-2026")


def test_kernels_of_some_weights_stretch_more_in_steps_that_only_decode(write_profile):
    factors = "weights_stretch: {nvfp4: {value: 1.1, kind: assumed, source: stretch}}"
    profile = load_backend(
        write_profile("decode_stretch: {value: 1,", f"{factors}\n  decode_stretch: {{value: 1.2,")
    )
    host = profile.host_on("h200", weights="nvfp4")
    assert host.stretch(has_prompts=False) == pytest.approx(1.32)
    assert host.stretch(has_prompts=True) == 1
    assert profile.host_on("h200", weights="bf16").stretch(has_prompts=False) == 1.2
