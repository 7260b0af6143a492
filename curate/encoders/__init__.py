"""The contract of an encoder: texts to vectors, with no download and no hidden state."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Encoder(Protocol):
    """A frozen dataclass with a ``width`` field (d)."""

    @property
    def width(self) -> int:
        """Dimension d of the vectors."""
        ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, d) float32 vectors, row i for text i, whatever else is in the call."""
        ...
