"""Print the JSON Schema of the files that rackmoe reads."""

import click

from rackmoe.cli.terminal import echo_text

__all__ = ["command"]

_MODELS = {
    "hardware": ("rackmoe.hardware.documents", "MachineDocument"),
    "backend": ("rackmoe.backend.profile", "BackendProfile"),
    "operators": ("rackmoe.backend.operator_files", "OperatorFile"),
    "collectives": ("rackmoe.backend.collective_files", "CollectivesDocument"),
    "scenario": ("rackmoe.scenario.document", "ScenarioDocument"),
}
_VARIANTS = {
    "description": "Sets of overrides by name: values by dotted path.",
    "type": "object",
    "additionalProperties": {"type": "object"},
}


@click.command()
@click.argument("kind", type=click.Choice(list(_MODELS)))
def command(kind: str) -> None:
    """Print the JSON Schema (draft 2020-12) of a KIND of file, for editors and checkers."""
    import importlib
    import json

    from rackmoe.schema.documents import document_schema

    module, name = _MODELS[kind]
    schema = dict(document_schema(getattr(importlib.import_module(module), name)))
    if kind == "scenario":
        # taken off before a document is read, so its model does not have them
        schema["properties"] = {**schema["properties"], "variants": _VARIANTS}
    echo_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n")
