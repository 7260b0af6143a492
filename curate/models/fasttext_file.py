"""Run a classifier of fastText from its file.

In: texts. Out: the log odds of one label.

The package ``fasttext`` reads the file. Several wheels have it under this name; `predict` is all that is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np

from curate.errors import SchemaError, first_few

PREFIX = "__label__"  # of every label in a file
ALL = -1  # the number of labels to return
KEPT_MODELS = 2  # files that a process keeps; each may take gigabytes
# fastText adds probabilities in float32, which may reach a little over 1. The largest odds are those of a float32.
LEAST = 2.0**-24


class LabelModel(Protocol):
    """The part of a model of fastText that is used."""

    def predict(self, text: str, k: int) -> tuple[Sequence[str], Sequence[float]]:
        """Return labels and their probabilities of one line of text."""
        ...


@dataclass(frozen=True)
class FasttextClassifier:
    """A loaded file of fastText, and the label that is good."""

    model: LabelModel
    label: str

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        """Return the log odds of the label for n texts, (n,) float64. Line breaks become spaces, as in its training."""
        shares = np.array([self._share(text) for text in texts], np.float64)
        shares = np.clip(shares, LEAST, 1 - LEAST)
        return np.asarray(np.log(shares) - np.log1p(-shares))

    def _share(self, text: str) -> float:
        labels, shares = self.model.predict(" ".join(text.split("\n")), ALL)
        return float(dict(zip(labels, shares, strict=True)).get(PREFIX + self.label, 0.0))


@lru_cache(maxsize=KEPT_MODELS)
def loaded(path: str, label: str) -> FasttextClassifier:
    """Return the classifier in a file, which is loaded once in a process and then kept.

    Args:
        path: the file, such as ``model.bin``.
        label: the label that is good, without ``__label__``.

    Raises:
        SchemaError: if there is no such file, it is not a file of fastText, or it has no such label.
    """
    if not Path(path).is_file():
        raise SchemaError(f"no file of fastText at {path}. Name a file such as model.bin")
    try:
        model = import_module("fasttext").load_model(path)
        labels, _ = model.predict("", ALL)
    # The package raises ValueError for a file of another kind, and RuntimeError for one without labels.
    except (ValueError, RuntimeError) as error:
        raise SchemaError(
            f"{path} cannot be read as a classifier of fastText: {' '.join(str(error).split())}"
        ) from None
    names = sorted(name.removeprefix(PREFIX) for name in labels)
    if label not in names:
        what = f"has no label {label!r}" if label else "has several labels, and none is named"
        raise SchemaError(f"{path} {what}. Give label=NAME, one of {first_few(names, near=label)}")
    return FasttextClassifier(model, label)
