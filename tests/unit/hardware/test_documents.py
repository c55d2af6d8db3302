"""Whether a profile that contradicts itself is refused, at its place."""

import pytest

from rackmoe.errors import ConfigError
from rackmoe.hardware.profile import load_profile
from rackmoe.schema.shipped import shipped_path


@pytest.fixture
def edited(tmp_path):
    """Return a function that loads hgx_h200 with one piece of text replaced."""
    source = load_profile_text("hgx_h200")

    def load(old, new):
        assert source.count(old) == 1
        path = tmp_path / "hgx_h200.yaml"
        path.write_text(source.replace(old, new), encoding="utf-8")
        return load_profile(str(path))

    return load


def load_profile_text(name):
    return shipped_path("hardware_profiles", name=name).read_text(encoding="utf-8")


def test_the_unedited_copy_loads(edited):
    assert edited("title: NVIDIA HGX H200", "title: NVIDIA HGX H200").name == "hgx_h200"


def test_a_bidirectional_port_figure_is_refused(edited):
    with pytest.raises(
        ConfigError, match=r"scale_up.gpu_bandwidth: 9e\+11 B/s; expected 18 links"
    ):
        edited("value: 450 GB/s", "value: 900 GB/s")


def test_a_zero_bandwidth_is_refused(edited):
    with pytest.raises(
        ConfigError, match=r"gpu.hbm_bandwidth.value: '0 TB/s'; expected a bandwidth above 0"
    ):
        edited("value: 4.8 TB/s", "value: 0 TB/s")


def test_an_idle_power_above_the_limit_is_refused(edited):
    with pytest.raises(ConfigError, match=r"gpu.idle_power: 900 W; expected less than max_power"):
        edited("value: 115 W", "value: 900 W")


def test_a_gpu_needs_a_bf16_peak(edited):
    with pytest.raises(ConfigError, match="no 'bf16'; expected the dense BF16 peak"):
        edited("    bf16: {value: 989 TFLOP/s, kind: datasheet, source: ml-engineering}\n", "")


def test_each_peak_needs_its_power(edited):
    line = next(
        line
        for line in load_profile_text("hgx_h200").splitlines()
        if line.startswith("      int8")
    )
    with pytest.raises(
        ConfigError, match=r"tensor_power: bf16, fp8; expected the keys of gpu.peak"
    ):
        edited(line + "\n", "")


def test_a_cpu_is_not_shared_between_nodes(edited):
    with pytest.raises(ConfigError, match=r"host.gpus_per_cpu: 3; expected a divisor"):
        edited("gpus_per_cpu:     {value: 4", "gpus_per_cpu:     {value: 3")


def test_a_domain_is_whole_nodes(edited):
    with pytest.raises(ConfigError, match=r"scale_up.domain_gpus: 12; expected whole nodes of 8"):
        edited(
            "{value: 8, kind: datasheet, source: hgx-board}",
            "{value: 12, kind: datasheet, source: hgx-board}",
        )


def test_rails_divide_the_nics_of_a_node(edited):
    with pytest.raises(
        ConfigError, match=r"scale_out.n_rails: 3; expected a divisor of the 8 NICs"
    ):
        edited("n_rails:              {value: 8", "n_rails:              {value: 3")


def test_a_part_draws_less_at_rest(edited):
    with pytest.raises(ConfigError, match="switch_chip_idle_power: 500 W; expected at most"):
        edited("value: 50 W", "value: 500 W")


def test_an_unused_source_is_refused(edited):
    with pytest.raises(ConfigError, match=r"sources.spare: no value names this source"):
        edited("sources:\n", "sources:\n  spare: nothing\n")


def test_an_unknown_source_is_refused(edited):
    with pytest.raises(ConfigError, match="'pcie4' is not in sources"):
        edited("source: pcie5}", "source: pcie4}")


def test_a_misspelt_key_is_refused_with_its_place(edited):
    with pytest.raises(
        ConfigError, match=r":\d+:\d+: gpu.hbm_bandwith: unknown key; did you mean"
    ):
        edited("hbm_bandwidth:", "hbm_bandwith:")
