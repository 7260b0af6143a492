"""Language of a text by py3langid, naive Bayes over 140 languages (Lui and Baldwin 2012): an extra, no download."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate import extras
from curate.errors import SchemaError
from curate.scorers import _language_model
from curate.scorers._language_model import REQUIRES
from curate.words import ngrams

FORMAT = 2  # since format 2 probabilities are computed for many texts at once, and differ by at most 1e-4


@dataclass(frozen=True)
class Language:
    """The probability that a text is in one language; high is surely that language.

    ``score.language`` (float64, 0 to 1). Keep high scores. FineWeb keeps texts from 0.65 (by fastText's model, so check
    the threshold on your texts). Short texts are never sure. An empty or null text scores 0.

    Options:
        language: ISO 639-1 code of the language (default en).

    Source: py3langid, after Lui and Baldwin 2012; the threshold is of Penedo et al. 2024, arXiv 2406.17557.
    """

    language: str = "en"
    needs = ("text",)
    schema = {"score.language": pl.Float64()}
    meanings = {"score.language": "quality"}

    def __post_init__(self) -> None:
        """Check that the package is installed and has the language."""
        extras.require("scorer language", REQUIRES, "language")
        if self.language not in (languages := _language_model.load().languages):
            raise SchemaError(
                f"language={self.language} is not among the {len(languages)} languages of the model: "
                f"{', '.join(languages)}"
            )

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        model, scores = _language_model.load(), [np.zeros(0)]
        for piece in ngrams.pieces(batch["text"], _language_model.BLOCK):
            scores.append(model.probabilities(piece.to_list(), self.language))
        return pl.DataFrame({"score.language": np.concatenate(scores)}, schema=dict(self.schema))
