"""Say what a fit kept: the weights of a blend, or the parameters of a law."""

from typing import cast

import polars as pl

from curate.errors import first_few
from curate.fitting.boosted import Boosted
from curate.fitting.fitted_laws import FittedLaw
from curate.runs.predictors.blend import Blend


def name_of(predictor: FittedLaw) -> str:
    """Return the name of a predictor: that of its law or Gaussian process, ``blend`` or ``boosted``."""
    return type(predictor).__name__.lower() if isinstance(predictor, Blend | Boosted) else predictor.spec


def in_words(predictor: FittedLaw) -> list[str | pl.DataFrame]:
    """Return the weights of a blend, or the parameters of a law. Trees have neither."""
    if isinstance(predictor, Blend):
        return [f"kept: {_weights_in_words(predictor)}"]
    if isinstance(predictor, Boosted):
        return []
    rows = f"{predictor.rows} runs"
    if predictor.trainings < predictor.rows:
        rows = f"{predictor.rows} rows of {predictor.trainings} trainings"
    return [f"{predictor.spec}, fitted to {rows}:", predictor.table()]


def _weights_in_words(blend: Blend) -> str:
    """Return the laws of a blend, the largest weight first; evals with equal weights share one list."""
    of_evals = {
        name: ", ".join(
            f"{name_of(cast(FittedLaw, fit))} ({weight:.0%})"
            for weight, fit in sorted(zip(part.weights, part.fits, strict=True), key=lambda pair: -pair[0])
        )
        for name, part in blend.parts().items()
    }
    if len(set(of_evals.values())) > 1:
        return "; ".join(f"for {name} {words}" for name, words in of_evals.items())
    words, count = next(iter(of_evals.values())), len(next(iter(blend.parts().values())).fits)
    mean = f"the weighted mean of {count} laws, {words}" if count > 1 else words.removesuffix(" (100%)")
    return mean + (f", fitted to each of {len(of_evals)} evals ({first_few(of_evals)})" if len(of_evals) > 1 else "")
