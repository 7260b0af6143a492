"""Read the settings of a sentence-transformers model from its folder, without its weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from curate.errors import SchemaError
from curate.models.pooling import LEGACY_NAMES, WAYS
from curate.storage import schema
from curate.storage.forms.models import LayerForm, ModelForm, PromptsForm, TransformerForm

T = TypeVar("T")
REMEDY = "name the folder of another model, or fetch this one again"
LAYERS = ("Transformer", "Pooling", "Normalize")  # layers of a model that are computed here


@dataclass(frozen=True)
class SentenceSettings:
    """How a model makes the vector of a text.

    ``transformer`` is the folder of the network, and ``width`` the length of a vector. ``pooling`` are the ways in
    which the vectors of tokens are pooled (see `pooling`). ``unit`` says whether vectors have unit length. ``limit`` is
    the number of tokens at which a text is cut (0: as many as the network takes). ``lower`` says whether texts are put
    into lower case first, and ``prompt`` are the words before each text.
    """

    transformer: Path
    width: int
    pooling: tuple[str, ...] = ("mean",)
    unit: bool = True
    limit: int = 0
    lower: bool = False
    prompt: str = ""


def settings_of(folder: Path) -> SentenceSettings:
    """Return the settings in the folder of a model.

    A folder without ``modules.json`` is a plain transformer: the vector is the mean over tokens, at unit length.

    Raises:
        SchemaError: if a file is damaged, or the model has layers or a pooling that are not computed here.
    """
    layers = _read(folder / "modules.json", list[LayerForm]) if (folder / "modules.json").is_file() else []
    kinds = [layer["type"].split(".")[-1] for layer in layers]
    if other := [kind for kind in kinds if kind not in LAYERS]:
        raise SchemaError(
            f"{folder} has a layer {other[0]}; only {', '.join(LAYERS)} are computed here. Name another model"
        )
    paths = dict(zip(kinds, (layer.get("path", "") for layer in layers), strict=True))
    transformer = folder / paths.get("Transformer", "")
    if not (transformer / "config.json").is_file():
        raise SchemaError(f"{transformer} has no config.json. Name the folder of a sentence-transformers model")
    pooling = folder / paths.get("Pooling", "1_Pooling") / "config.json"
    pooling_settings = _read(pooling, dict[str, object]) if pooling.is_file() else {}
    prompt = _prompt(folder)
    if prompt and pooling_settings.get("include_prompt") is False:
        raise SchemaError(
            f"{pooling} leaves the prompt out of the vector (include_prompt), which is not computed here. "
            "Name another model"
        )
    network = _read(transformer / "config.json", ModelForm)
    options = transformer / "sentence_bert_config.json"
    reading = _read(options, TransformerForm) if options.is_file() else TransformerForm()
    ways = _ways(pooling_settings, pooling)
    return SentenceSettings(
        transformer=transformer,
        width=len(ways) * network["hidden_size"],
        pooling=ways,
        unit=not layers or "Normalize" in kinds,
        limit=reading.get("max_seq_length") or 0,
        lower=reading.get("do_lower_case", False),
        prompt=prompt,
    )


def _ways(values: Mapping[str, object], path: Path) -> tuple[str, ...]:
    """Return the ways of pooling in a settings file of either form; without any, the mean, as in the library."""
    modern = values.get("pooling_mode")
    names = [modern] if isinstance(modern, str) else modern if isinstance(modern, list) else None
    if names is None:
        names = [LEGACY_NAMES.get(key, key) for key in _in_order(values) if values[key]]
    if other := [name for name in names if name not in WAYS]:
        raise SchemaError(f"{path} asks for {other[0]}; only {', '.join(WAYS)} are computed here. Name another model")
    return tuple(map(str, names)) or ("mean",)


def _in_order(values: Mapping[str, object]) -> list[str]:
    """Return the keys for ways of pooling, in the order in which the library joins their vectors."""
    keys = [key for key in values if key.startswith("pooling_mode_")]
    return sorted(keys, key=lambda key: (list(LEGACY_NAMES).index(key) if key in LEGACY_NAMES else -1, key))


def _prompt(folder: Path) -> str:
    """Return the words that the model puts before every text."""
    path = folder / "config_sentence_transformers.json"
    if not path.is_file():
        return ""
    values = _read(path, PromptsForm)
    name = values.get("default_prompt_name")
    return (values.get("prompts") or {}).get(name) or "" if name else ""


def _read(path: Path, form: type[T]) -> T:
    """Return the content of a JSON file of the model."""
    return schema.check(cast(T, schema.load(path, REMEDY)), form, str(path), REMEDY)
