"""Language of a text by py3langid, naive Bayes over 140 languages (Lui and Baldwin 2012): an extra, no download."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast

import polars as pl

from curate.errors import CurateError, SchemaError

REQUIRES = "py3langid"  # a package that is not installed with curate itself


class Identifier(Protocol):
    """What is used of py3langid's LanguageIdentifier."""

    labels: list[str]

    def rank(self, text: str) -> list[tuple[str, float]]:
        """Return every language with its probability."""
        ...


@dataclass(frozen=True)
class Language:
    """``score.language``: probability that a text is in ``language`` (ISO 639-1 code), float64, in [0, 1].

    High = surely that language; keep high. FineWeb keeps a probability from 0.65 (Penedo et al. 2024, 2406.17557, by
    fastText's model; measure yours). Short texts are never sure. An empty or null text scores 0.
    """

    language: str = "en"
    needs = ("text",)
    schema = {"score.language": pl.Float64()}

    def __post_init__(self) -> None:
        """Check that the package is there and knows the language."""
        if find_spec(REQUIRES) is None:
            raise CurateError(f"scorer language needs the package {REQUIRES}: pip install 'curate[language]'")
        if self.language not in (known := sorted(_identifier().labels)):
            raise SchemaError(f"language={self.language} is not among the {len(known)} known: {', '.join(known)}")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        scores = [self._one(text) for text in batch["text"].fill_null("")]
        return pl.DataFrame({"score.language": scores}, schema=dict(self.schema))

    def _one(self, text: str) -> float:
        return dict(_identifier().rank(text))[self.language] if text.strip() else 0.0


@cache
def _identifier() -> Identifier:
    langid = import_module(f"{REQUIRES}.langid")
    return cast(Identifier, langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True))
