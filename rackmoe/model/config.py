"""Reads a model from a Hugging Face ``config.json``, shipped or the user's own."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

from rackmoe.errors import ConfigError
from rackmoe.model.architecture import ModelArchitecture, Published
from rackmoe.model.dtypes import ComponentDtypes
from rackmoe.model.families import FAMILIES, Family
from rackmoe.model.fields import ConfigFields, shorten
from rackmoe.model.quantization import WEIGHT_SCHEMES, read_quantization, scheme_dtypes
from rackmoe.schema.shipped import shipped_names, shipped_path

__all__ = ["load_model", "model_names", "parse_model"]

_FOLDER: Final = "scenarios/models"
_SUFFIX: Final = ".json"
_FILE_NAME: Final = "config.json"
# Published files are below 200 kB; exclusion lists of quantized checkpoints are the longest part.
_MAX_FILE_BYTES: Final = 4 * 2**20
_OWN_KEYS: Final = (
    "title",
    "published_total_parameters",
    "published_active_parameters",
    "source",
)


def model_names() -> tuple[str, ...]:
    """Return the names of the shipped models, sorted."""
    return shipped_names(_FOLDER, suffix=_SUFFIX)


def load_model(name_or_path: str | Path, *, weights: str | None = None) -> ModelArchitecture:
    """Return a model by its shipped name, or from a user's file.

    Parameters
    ----------
    name_or_path : str or pathlib.Path
        Name of a shipped model, a ``config.json``, or the folder of a checkpoint.
    weights : str, optional
        Scheme of the weights, one of `quantization.WEIGHT_SCHEMES`; without it the
        file's own ``quantization_config`` holds.

    Returns
    -------
    ModelArchitecture
        The model.

    Raises
    ------
    ConfigError
        If there is no such model, or its file is not understood; all problems at once.
    """
    path = Path(name_or_path)
    if (path / _FILE_NAME).is_file():
        path /= _FILE_NAME
    else:
        path = shipped_path(_FOLDER, name=str(name_or_path), suffix=_SUFFIX)
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ConfigError(
                f"{path.name}: {path.stat().st_size} bytes; expected at most {_MAX_FILE_BYTES}; "
                f"give the config.json of a model, not its weights"
            )
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path.name}: {error}; expected a readable file in UTF-8; check it"
        ) from error
    name = path.resolve().parent.name if path.name == _FILE_NAME else path.stem
    return parse_model(text, name=name, place=path.name, weights=weights)


def parse_model(
    text: str, *, name: str, place: str, weights: str | None = None
) -> ModelArchitecture:
    """Return the model that the text of a ``config.json`` describes.

    Parameters
    ----------
    text : str
        The text.
    name : str
        Name of the model.
    place : str
        Where the text comes from, for messages.
    weights : str, optional
        Scheme of the weights, one of `quantization.WEIGHT_SCHEMES`.

    Returns
    -------
    ModelArchitecture
        The model.

    Raises
    ------
    ConfigError
        If the text is not understood; all problems at once.
    """
    if weights is not None and weights not in WEIGHT_SCHEMES:
        raise ConfigError(
            f"model.weights: '{weights}'; expected one of {', '.join(WEIGHT_SCHEMES)}; "
            f"choose one, or leave it out for the checkpoint's own format"
        )
    values = _parse_json(text, place=place)
    top = ConfigFields(values, place=place)
    family_name = _family_name(top, place=place)
    family = FAMILIES[family_name]
    facts = _facts(top, family=family)
    arch = _read(facts, top=top, family_name=family_name, name=name)
    if weights is None:
        dtypes = _own_dtypes(facts, top=top, arch=arch)
    else:
        dtypes = scheme_dtypes(weights, family=family)
    if top.problems:
        raise ConfigError(*top.problems)
    return replace(arch, dtypes=dtypes)


def _facts(top: ConfigFields, *, family: Family) -> ConfigFields:
    """Return the object that holds the facts of the text model."""
    nested = top.section("text_config") if family.is_nested else None
    if family.is_nested and nested is None and not top.problems:
        top.note("text_config", value=None, expected="an object with the text model's facts")
    if top.problems:
        raise ConfigError(*top.problems)
    return top if nested is None else nested


def _read(
    facts: ConfigFields, *, top: ConfigFields, family_name: str, name: str
) -> ModelArchitecture:
    blueprint = FAMILIES[family_name].build(facts)
    if not any(blueprint.layers.is_moe) and facts.is_sound:
        facts.note(
            "num_hidden_layers",
            value=len(blueprint.layers.is_moe),
            expected="a layer with routed experts among them",
            remedy="check the keys that say which layers are dense",
        )
    return ModelArchitecture(
        name=name,
        family=family_name,
        hidden=facts.count("hidden_size"),
        vocab=facts.count("vocab_size"),
        max_context=facts.count("max_position_embeddings"),
        attention=blueprint.attention,
        moe=blueprint.moe,
        layers=blueprint.layers,
        dtypes=ComponentDtypes(),
        published=_published(top, name=name),
        has_tied_embeddings=facts.flag("tie_word_embeddings", default=False),
    )


def _own_dtypes(
    facts: ConfigFields, *, top: ConfigFields, arch: ModelArchitecture
) -> ComponentDtypes:
    """Return the formats of the checkpoint itself."""
    quantization = top.section("quantization_config")
    if quantization is None and facts is not top:
        quantization = facts.section("quantization_config")
    return read_quantization(quantization, family=FAMILIES[arch.family], layers=arch.layers)


def _published(top: ConfigFields, *, name: str) -> Published:
    """Return the facts of our own block, which a user's file need not have."""
    own = top.section("rackmoe")
    if own is None:
        return Published(title=name)
    own.reject_unknown(_OWN_KEYS)
    return Published(
        title=own.text("title", default=name),
        total_parameters=_published_count(own, "published_total_parameters"),
        active_parameters=_published_count(own, "published_active_parameters"),
        source=own.text("source", default=""),
    )


def _published_count(own: ConfigFields, key: str) -> float | None:
    return None if own.get(key) is None else own.number(key, default=1)


def _family_name(top: ConfigFields, *, place: str) -> str:
    names = top.get("architectures")
    name = names[0] if isinstance(names, list) and len(names) == 1 else None
    if isinstance(name, str) and name in FAMILIES:
        return name
    raise ConfigError(
        f"{place}: architectures: {shorten(names)}; expected one of {', '.join(FAMILIES)}; "
        f"give the config.json of a model that is understood"
    )


def _parse_json(text: str, *, place: str) -> dict[str, object]:
    """Return the object in a JSON text, strictly."""

    def refuse_constant(constant: str) -> NoReturn:
        raise ConfigError(f"{place}: {constant}; expected finite numbers; correct the value")

    def refuse_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
        values = dict(pairs)
        if len(values) != len(pairs):
            n_uses = Counter(key for key, _ in pairs)
            repeated = sorted(key for key, count in n_uses.items() if count > 1)
            raise ConfigError(
                f"{place}: {', '.join(repeated)}: given twice; expected each key once; "
                f"remove one of them"
            )
        return values

    try:
        values = json.loads(
            text, parse_constant=refuse_constant, object_pairs_hook=refuse_duplicates
        )
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{place}:{error.lineno}:{error.colno}: {error.msg}; expected JSON; correct the text"
        ) from error
    except ConfigError:
        raise
    except (RecursionError, ValueError) as error:
        # nested too deeply, or a number with thousands of digits
        raise ConfigError(
            f"{place}: {error}; expected the config.json of a model; give that file"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"{place}: {shorten(values)}; expected an object; give the config.json of a model"
        )
    return values
