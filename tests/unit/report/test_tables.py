import json

import numpy as np
import pandas as pd
import pytest

from rackmoe.report.tables import mapping_frame, render_frame, render_mapping, text_table
from rackmoe.report.text import TableFormat

FRAME = pd.DataFrame({"name": ["a", "b"], "ttft_p99_s": [0.0123456, np.nan], "n_gpus": [72, 8]})


def test_table_has_units_in_its_heading_and_rounded_numbers():
    lines = render_frame(FRAME, title="T").splitlines()
    assert lines[:2] == ["T", "name  TTFT p99 [s]  gpus"]
    assert lines[3] == "a          0.01235    72"
    assert lines[4] == "b                -     8"


def test_csv_keeps_names_and_every_digit():
    text = render_frame(FRAME, form=TableFormat.CSV)
    assert text == "name,ttft_p99_s,n_gpus\na,0.0123456,72\nb,,8\n"


def test_json_is_a_list_of_rows_with_null_for_nothing():
    rows = json.loads(render_frame(FRAME, form=TableFormat.JSON))
    assert rows[1] == {"name": "b", "ttft_p99_s": None, "n_gpus": 8}


def test_markdown_takes_headings_that_a_caller_chooses():
    text = render_frame(FRAME, form=TableFormat.MD, headers={"n_gpus": "GPUs"})
    assert text.splitlines()[0] == "| name | TTFT p99 [s] | GPUs |"


def test_prefixes_replace_the_unit_of_the_heading():
    frame = pd.DataFrame({"hbm_bytes": [14.3e12]})
    table = text_table(frame, has_prefixes=True)
    assert (table.head, table.rows) == (("HBM",), (("14.3 TB",),))


def test_mapping_is_flattened_to_paths_with_the_unit_of_the_nearest_name():
    frame = mapping_frame({"totals": {"dense_flop_per_s": {"fp8": 2e15}, "gpus": 8}, "x": [1, 2]})
    assert frame.to_numpy().tolist() == [
        ["totals.dense_flop_per_s.fp8", "2 PFLOP/s"],
        ["totals.gpus", "8"],
        ["x", "1, 2"],
    ]


def test_lists_of_mappings_are_numbered():
    frame = mapping_frame({"links": [{"capacity_bytes_per_s": 5e9}]})
    assert frame.to_numpy().tolist() == [["links.0.capacity_bytes_per_s", "5 GB/s"]]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (TableFormat.CSV, "name,value\na.power_w,1500.0\n"),
        (TableFormat.JSON, '{\n "a": {\n  "power_w": 1500.0\n }\n}\n'),
        (TableFormat.TABLE, "name       value\n---------  ------\na.power_w  1.5 kW\n"),
    ],
)
def test_mapping_has_exact_values_where_programs_read_it(form, text):
    assert render_mapping({"a": {"power_w": 1500.0}}, form=form) == text
