"""Set the measured losses of runs beside the predicted ones."""

from collections.abc import Mapping

import polars as pl

from curate.fitting.fitted_laws import FittedLaw
from curate.runs.predictors.blend import Blend
from curate.runs.predictors.predictor import Predictor
from curate.runs.runs import Runs


def measured_and_predicted(predictor: FittedLaw, runs: Runs) -> pl.DataFrame:
    """Return the measured and predicted loss of each run and eval: run, group (the eval), measured, predicted."""
    return pl.concat(points_of(part, runs, name, name) for name, part in parts_of(predictor).items())


def parts_of(predictor: FittedLaw) -> Mapping[str, Predictor]:
    """Return the predictor of each eval, by the name of the eval."""
    return predictor.parts() if isinstance(predictor, Blend) else {predictor.eval: predictor}


def points_of(predictor: Predictor, runs: Runs, evaluation: str, group: str) -> pl.DataFrame:
    """Return run, group, measured and predicted loss of every run whose loss of one eval was measured."""
    predicted = predictor.loss(runs.recipes(predictor.pools)).detach().numpy()
    measured = runs.loss(evaluation, missing=True)
    table = pl.DataFrame({"run": runs.frame["run"], "group": group, "measured": measured, "predicted": predicted})
    return table.filter(pl.col("measured").is_not_nan())
