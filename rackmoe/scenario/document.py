"""What one scenario file says: hardware, model, backend, deployment, workload and goals."""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from rackmoe.errors import ConfigError
from rackmoe.scenario.deployment import Deployment, Experts
from rackmoe.scenario.simulation import Simulation
from rackmoe.scenario.workload import Slo, Workload
from rackmoe.schema.documents import Document, document_schema, validate_tree
from rackmoe.schema.overrides import (
    apply_overrides,
    apply_variant,
    variant_names,
    without_variants,
)
from rackmoe.schema.shipped import shipped_path
from rackmoe.schema.text import read_text
from rackmoe.schema.yaml import compose_yaml

__all__ = [
    "HardwareChoice",
    "ModelChoice",
    "PrefixCacheChoice",
    "ScenarioDocument",
    "load_documents",
]

Count = Annotated[int, Field(ge=1, le=4096)]


class HardwareChoice(Document):
    """How much of which machine.

    Attributes
    ----------
    profile : str
        A shipped hardware profile, or a file.
    racks : int or None
        Racks of an NVL72 machine.
    nodes : int or None
        Nodes of an HGX machine.
    overrides : dict
        Values of the profile to replace, by dotted path.
    """

    profile: str
    racks: Count | None = None
    nodes: Count | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_amount(self) -> Self:
        if self.racks is not None and self.nodes is not None:
            raise ValueError("racks and nodes given; write the one that the machine comes in")
        return self


class ModelChoice(Document):
    """Which model in which formats.

    Attributes
    ----------
    name : str
        A shipped model, or the path of a Hugging Face ``config.json``.
    weights : str or None
        Quantization scheme; that of the published checkpoint if absent.
    kv_cache : str or None
        Format of the KV cache; the backend's if absent.
    dispatch : str or None
        Format of tokens on the way to experts; that of the expert products if absent.
    combine : str
        Format of expert outputs on the way back.
    """

    name: str
    weights: Literal["bf16", "fp8", "nvfp4", "nvfp4_wo", "mxfp4", "w4a8_mxfp4", "int4"] | None = (
        None
    )
    kv_cache: Literal["bf16", "fp8"] | None = None
    dispatch: Literal["bf16", "fp8", "fp8_block", "nvfp4"] | None = None
    combine: Literal["bf16", "fp8", "fp8_block", "nvfp4"] = "bf16"


class PrefixCacheChoice(Document):
    """Prompt blocks that replicas keep for later requests; exactly one size.

    Attributes
    ----------
    free_memory : bool
        In the KV memory that no running sequence holds, as engines do.
    tokens_per_rank : int or None
        In a store of its own of so many tokens for each attention group.
    unlimited : bool
        In a store that forgets nothing: a bound.
    shared : bool
        Whether the attention groups of a replica find each other's blocks.
    """

    free_memory: bool = False
    tokens_per_rank: Annotated[int, Field(ge=1)] | None = None
    unlimited: bool = False
    shared: bool = False

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        sizes = ("free_memory", "tokens_per_rank", "unlimited")
        chosen = [name for name in sizes if getattr(self, name) not in (None, False)]
        if len(chosen) != 1:
            what = " and ".join(chosen) or "none"
            raise ValueError(f"{what} given; write exactly one of {', '.join(sizes)}")
        return self


class ScenarioDocument(Document):
    """One scenario, without its variants.

    Attributes
    ----------
    title : str
        What is simulated, for people.
    hardware, model, backend, deployment, experts, prefix_cache, workload, slo, simulation
        The parts.
    notes : str
        Anything a reader should know.
    """

    schema_id: Literal["rackmoe/scenario/1"] = Field(alias="schema")
    title: str
    hardware: HardwareChoice
    model: ModelChoice
    backend: str
    deployment: Deployment
    experts: Experts = Field(default_factory=Experts)
    prefix_cache: PrefixCacheChoice | None = None
    workload: Workload
    slo: Slo = Field(default_factory=Slo)
    simulation: Simulation = Field(default_factory=Simulation)
    notes: str = ""

    @model_validator(mode="after")
    def _check_partition(self) -> Self:
        if self.deployment.router.policy != "by_application":
            return self
        pool, n_parts = self.deployment.aggregated, len(self.workload.parts)
        place = "deployment.router.policy: by_application"
        if pool is None:
            raise ValueError(f"{place} needs an aggregated pool; write one, or another policy")
        if pool.replicas < n_parts:
            raise ValueError(
                f"{place}, but {n_parts} applications for {pool.replicas} replicas; expected one "
                "each at least; raise deployment.aggregated.replicas"
            )
        if self.deployment.autoscaling:
            raise ValueError(f"{place} together with autoscaling is not modeled; remove one")
        return self


def load_documents(
    name: str | os.PathLike[str], *, overrides: Mapping[str, object] | None = None
) -> dict[str, ScenarioDocument]:
    """Read a scenario file: its base and its variants.

    Parameters
    ----------
    name : str or path-like
        A shipped scenario or a file.
    overrides : mapping, optional
        Values to replace in the base and in every variant, by dotted path.

    Returns
    -------
    dict of str to ScenarioDocument
        By name: the file's stem for the base, then the variants in the order of the file.

    Raises
    ------
    ConfigError
        With every problem of the file.
    """
    path = shipped_path("scenarios", name=os.fspath(name), inside=("published",))
    schema = document_schema(ScenarioDocument)
    tree, earlier = compose_yaml(read_text(path), place=str(path))
    trees = {path.stem: without_variants(tree)}
    for variant in variant_names(tree):
        if variant in trees:
            raise ConfigError(
                f"{path}: variant '{variant}' has the name of the scenario; rename it"
            )
        trees[variant] = apply_variant(tree, name=variant, schema=schema)
    documents: dict[str, ScenarioDocument] = {}
    problems: dict[str, None] = {}
    for key, plain in trees.items():
        try:
            changed = apply_overrides(plain, overrides=overrides or {}, schema=schema)
            documents[key] = validate_tree(changed, model=ScenarioDocument, earlier=earlier)
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise ConfigError(*problems)
    return documents
