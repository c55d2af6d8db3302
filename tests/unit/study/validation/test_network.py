"""Whether every row of a table is answered or says why not."""

import json

import pytest

from rackmoe.errors import ConfigError
from rackmoe.hardware.profile import load_machine
from rackmoe.study.validation.network import validate_network

HEADER = "source,kernel,op,dtype,ep,nodes,hidden,topk,experts,sms,tokens_per_rank,latency_us"
# the second row is half as fast as the law; its kernel is known only by its family
ROWS = (
    "sglang-0.5.6.post2,deepep_ll,dispatch,fp8,16,2,7168,8,256,0,128,102.1",
    "sglang-9,deepep_ll,dispatch,fp8,16,2,7168,8,256,0,256,360.0",
    "sglang-9,deepep_ll,dispatch,fp8,16,2,7168,8,256,0,2,22.0",
    "sglang-9,deepep_ll,dispatch,fp8,16,2,7168,8,256,0,2,",
)


@pytest.fixture
def table(tmp_path):
    def write(*rows, name="alltoall_h200.csv"):
        path = tmp_path / name
        path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
        return path

    return write


def test_every_row_has_a_point_in_the_order_of_the_table(table):
    found = validate_network(table(*ROWS))
    assert [point.row for point in found.points] == ["1", "2", "3", "4"]
    assert [point.answered for point in found.points] == [True, True, True, False]


def test_error_is_relative_for_large_rows_and_absolute_for_small_ones(table):
    points = validate_network(table(*ROWS)).points
    assert points[0].error < 0.08
    assert points[1].error == pytest.approx(abs(points[1].predicted / 360e-6 - 1))
    assert points[2].error == pytest.approx(abs(points[2].predicted - 22e-6))


def test_rows_say_whose_constants_answer(table):
    points = validate_network(table(*ROWS)).points
    assert (points[0].kind, points[0].reason) == ("fitted", "")
    assert points[0].role in {"fitted", "held out"}
    assert points[1].kind == "assumed"
    assert points[1].role == "new"
    assert points[1].reason.startswith("constants of sglang")


def test_unanswered_rows_count_and_say_why(table):
    found = validate_network(table(*ROWS))
    assert found.points[3].predicted is None
    assert "row cannot be read" in found.points[3].reason
    assert (found.strata[0].name, found.strata[0].n_rows, found.strata[0].n_answered) == (
        "all",
        4,
        3,
    )


def test_strata_pool_by_role_and_by_kernel(table):
    strata = {one.name: one for one in validate_network(table(*ROWS)).strata}
    assert strata["all new"].n_rows == 2
    kernel = strata["hgx_h200 sglang-9 deepep_ll dispatch fp8"]
    assert (kernel.n_large, kernel.n_small) == (1, 1)
    assert kernel.median_error_frac == kernel.p90_error_frac


def test_machine_serves_rows_that_name_none(table):
    path = table(ROWS[0], name="mine.csv")
    (alone,) = validate_network(path).points
    assert not alone.answered
    assert "names no machine" in alone.reason
    (point,) = validate_network(path, machine=load_machine("hgx_h200")).points
    assert point.answered


def test_family_that_the_machine_lacks_is_not_answered(table):
    row = ROWS[0].replace("deepep_ll", "NVLinkOneSided")
    (point,) = validate_network(table(row)).points
    assert not point.answered
    assert "no constants for this GPU" in point.reason


def test_validation_is_plain_data_for_json(table):
    text = json.dumps(validate_network(table(*ROWS)).as_dict(), allow_nan=False)
    assert json.loads(text)["points"][3]["predicted"] is None


def test_other_table_is_refused(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected the layout"):
        validate_network(path)
