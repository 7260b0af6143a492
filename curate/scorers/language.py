"""Language of a text by py3langid, naive Bayes over 140 languages (Lui and Baldwin 2012): an extra, no download."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Protocol, cast

import polars as pl

from curate import extras
from curate.errors import SchemaError

REQUIRES = "py3langid"  # a package that is not installed with curate itself


class Identifier(Protocol):
    """The part of py3langid's LanguageIdentifier that is used."""

    labels: list[str]

    def rank(self, text: str) -> list[tuple[str, float]]:
        """Return every language with its probability."""
        ...


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
        if self.language not in (languages := sorted(_identifier().labels)):
            raise SchemaError(
                f"language={self.language} is not among the {len(languages)} languages known: {', '.join(languages)}"
            )

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        scores = [self._probability(text) for text in batch["text"].fill_null("")]
        return pl.DataFrame({"score.language": scores}, schema=dict(self.schema))

    def _probability(self, text: str) -> float:
        return dict(_identifier().rank(text))[self.language] if text.strip() else 0.0


# loaded once in each process; a scorer that is sent to workers stays small
@cache
def _identifier() -> Identifier:
    langid = import_module(f"{REQUIRES}.langid")
    return cast(Identifier, langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True))
