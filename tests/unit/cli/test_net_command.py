"""The command that asks what a collective costs."""

import json

import pytest


def test_law_and_measurement_stand_side_by_side(run):
    ran = run(
        *("net", "bench", "hgx_h200", "--op", "dispatch", "--ep", "16", "--sizes", "128"),
        *("--family", "deepep_low_latency", "--format", "json"),
    )
    (row,) = json.loads(ran.out)
    assert row["measured_s"] == pytest.approx(102.1e-6, rel=0.01)
    assert row["error_frac"] == pytest.approx(row["latency_s"] / row["measured_s"] - 1)


def test_table_for_people_has_a_line_for_each_size_and_group(run):
    ran = run("net", "bench", "gb200_nvl72", "--op", "all_reduce", "--ep", "8,72")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0] == "all_reduce on gb200_nvl72, balanced traffic"
    assert len(lines) == 3 + 2 * 7
    assert any("nvls" in line and "8.59 GB" in line for line in lines)


def test_sizes_in_bytes_carry_their_unit(run):
    ran = run(
        *("net", "bench", "gb200_nvl72", "--op", "all_reduce", "--ep", "8"),
        *("--sizes", "64 MiB", "--format", "csv"),
    )
    assert ",67108864.0," in ran.out.splitlines()[1]


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_figure_is_written_where_asked(run, tmp_path, ending):
    path = tmp_path / f"bench.{ending}"
    ran = run(
        *("net", "bench", "gb200_nvl72", "--op", "dispatch", "--ep", "8"),
        *("--family", "nvlink_one_sided", "-o", path),
    )
    assert ran.code == 0
    assert str(path) in ran.err
    assert path.stat().st_size > 1000


def test_groups_that_nobody_serves_are_named(run):
    command = ("net", "bench", "gb200_nvl72", "--family", "nvlink_one_sided")
    some = run(*command, "--ep", "8,144")
    assert some.code == 0
    assert "no family serves 144 GPUs" in some.err
    none = run(*command, "--ep", "144")
    assert none.code == 2
    assert "expected a group that nvlink_one_sided can serve" in none.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--ep", "8,x"), "--ep: 'x'; expected whole numbers"),
        (("--ep", "1"), "--ep: '1'; expected whole numbers from 2"),
        (("--sizes", "64 mb"), "--sizes: '64 mb'; expected a number of tokens"),
        (("--op", "scatter"), "'scatter'; expected one of dispatch"),
        (("--family", "rdma"), "'rdma'; expected one of"),
    ],
)
def test_bad_arguments_are_named(run, arguments, words):
    ran = run("net", "bench", "gb200_nvl72", *arguments)
    assert ran.code == 2
    assert words in ran.err
