"""Fit one law to the runs of each corpus, and compare the corpora beyond the fitted compute."""

from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np
import polars as pl

from curate.fitting import corpora, run_checks
from curate.fitting.choice import checkpoints, default_laws
from curate.fitting.choice.default_laws import AUTO
from curate.fitting.fit import Fit
from curate.fitting.fit_json import law_json
from curate.fitting.fit_report import FitQuestion, FitReport, parameter_table
from curate.fitting.jobs import points
from curate.runs.runs import Runs

REACH = 10.0  # corpora are compared from the least compute of a run to this many times the most
CURVE_POINTS = 13  # of the curves of corpora in fit.json


def fit_corpora(table: Runs, question: FitQuestion, by: str) -> FitReport:
    """Fit every corpus, and compare them over the fitted compute and one decade beyond it."""
    spec, evaluation, ratio = question.law, question.evaluation, question.tokens_per_param
    corpora.refuse_absent(table, by)
    measured = table.trained().measured([evaluation])
    doubts = run_checks.check(measured, by=by)
    rows = checkpoints.rows_to_fit(measured, [spec], [evaluation])
    options = replace(question.options, unfinished=rows.unfinished)
    if spec == AUTO:
        # All corpora get the same law. Each has only a part of the runs, so it is the law with the fewest parameters.
        spec = default_laws.candidates(default_laws.shape(rows.runs))[-1]
    fitted = corpora.fit_each(rows.runs, by, spec, evaluation, options=options)
    corpus_fits, runs = fitted.fits, fitted.runs
    notes = (*doubts, *runs.notes, *rows.notes, *fitted.notes, *corpora.notes_on_runs(fitted, by))
    low, high = _compute(runs)
    crossed = corpora.crossings(corpus_fits, low, high, tokens_per_param=ratio)
    curves = corpora.curves(corpus_fits, np.geomspace(low, high, CURVE_POINTS), tokens_per_param=ratio)
    advice = corpora.advice(corpus_fits, crossed, low, high, tokens_per_param=ratio)
    crossing_rows = [asdict(crossing) for crossing in crossed]
    return FitReport(
        law=spec,
        comparison=pl.DataFrame(crossing_rows, schema=corpora.CROSSING_SCHEMA),
        parameter_rows=parameter_table(corpus_fits, "corpus"),
        points=_points(corpus_fits, runs, by, evaluation),
        record={
            "by": by,
            "laws": [{**law_json.to_json(fit), "corpus": name} for name, fit in corpus_fits.items()],
            "eval": evaluation,
            "evals": [evaluation],
            "notes": list(notes),
            "crossings": crossing_rows,
            "curves": curves.to_dicts(),
        },
        shown=(*(f"note: {note}" for note in notes), advice),
        corpora=corpus_fits,
        notes=notes,
    )


def _compute(runs: Runs) -> tuple[float, float]:
    """Return the FLOPs (6 x params x tokens) between which the corpora are compared."""
    flops = 6 * runs.frame["tokens"].cast(float).to_numpy() * runs.frame["params"].cast(float).to_numpy()
    return float(flops.min()), REACH * float(flops.max())


def _points(corpus_fits: Mapping[str, Fit], runs: Runs, by: str, evaluation: str) -> pl.DataFrame:
    """Return the measured and predicted losses of each corpus, with its name as the group."""
    parts = corpora.runs_of_each(runs, by).items()
    return pl.concat(points.points_of(corpus_fits[name], part, evaluation, name) for name, part in parts)
