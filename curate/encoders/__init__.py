"""The contract of an encoder: what a row holds (text, id, image) to vectors; no download, no hidden state."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Encoder(Protocol):
    """A frozen dataclass; ``column`` is the column it reads unless told another ("text" if it has none).

    What it loads it keeps outside of itself, for an encoder is sent to every worker.
    """

    @property
    def width(self) -> int:
        """Dimension d of the vectors."""
        ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, d) float32 vectors, row i for text i, whatever else is in the call."""
        ...
