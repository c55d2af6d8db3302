import json

import jsonschema
import pytest
import yaml

from rackmoe.schema.shipped import shipped_folder


@pytest.mark.parametrize("kind", ["hardware", "backend", "operators", "collectives", "scenario"])
def test_schema_of_each_kind_is_valid(kind, run):
    ran = run("schema", kind)
    assert ran.code == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(ran.out))


@pytest.mark.parametrize(
    ("kind", "folder"),
    [
        ("hardware", "hardware_profiles"),
        ("backend", "scenarios/backends"),
        ("scenario", "scenarios"),
    ],
)
def test_schema_accepts_the_shipped_files_variants_included(kind, folder, run):
    validator = jsonschema.Draft202012Validator(json.loads(run("schema", kind).out))
    for path in shipped_folder(folder).glob("*.yaml"):
        validator.validate(yaml.safe_load(path.read_text(encoding="utf-8")))
