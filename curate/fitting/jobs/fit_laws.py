"""Fit laws to recipes, compare them on held-out runs, and keep their average or the best of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import polars as pl

from curate.fitting import explanation, fit_files, run_checks, stacking
from curate.fitting.choice import averaging, checkpoints, default_laws, error_words, holdout, law_discrepancies
from curate.fitting.choice.default_laws import AUTO
from curate.fitting.compare import Comparison
from curate.fitting.curves import fit_metrics
from curate.fitting.curves.fit_metrics import MetricFits
from curate.fitting.fit import Fit
from curate.fitting.fit_json import metric_curve_json
from curate.fitting.fit_report import FitQuestion, FitReport, parameter_table
from curate.fitting.fitted_laws import FittedLaw, members_of
from curate.fitting.jobs import group_differences, kept_laws, points
from curate.runs.runs import Runs


def fit_laws(table: Runs, question: FitQuestion) -> FitReport:
    """Return the report of the laws that the question names, or of those that suit the runs."""
    trained = table.trained()
    # Curves of metrics are fitted first: they are quick, and show a wrong name before the slow fits of laws.
    metric_fits = fit_metrics.fit_with_laws(trained, question)
    measured = trained.measured(question.evals)
    doubts = run_checks.check(measured)
    fitted = checkpoints.rows_to_fit(measured, question.laws, question.evals)
    runs = fitted.runs
    run_checks.refuse_constant(runs)
    predictor, comparison, why = _compared_and_refitted(runs, question, unfinished=fitted.unfinished)
    if len(runs) < len(measured):
        predictor = law_discrepancies.with_unfinished(predictor, measured)
    # The most important first: what may be wrong, what was changed, what the runs cannot tell, and what was chosen.
    notes = (
        # Units of tokens and params show in the table itself; those of the loss only beside a fit.
        *run_checks.units_of_loss(predictor, runs),
        *group_differences.notes(predictor, runs),
        *doubts,
        *runs.notes,
        *fitted.notes,
        *run_checks.unvaried(runs),
        *run_checks.uneven(runs, question.evals),
        *metric_fits.notes,
        *why,
        *question.notes,
    )
    compared = comparison.table()
    words = explanation.explain(predictor, runs, compared, seed=question.options.seed) if question.explain else ""
    return FitReport(
        law=kept_laws.name_of(predictor),
        comparison=compared,
        parameter_rows=_parameters(predictor),
        points=points.measured_and_predicted(predictor, runs),
        record=_record(predictor, compared, notes, metric_fits),
        shown=_shown(predictor, compared, notes, metric_fits, words),
        predictor=predictor,
        metrics=metric_fits.curves,
        notes=notes,
        explanation=words,
    )


def _compared_and_refitted(
    runs: Runs, question: FitQuestion, *, unfinished: bool
) -> tuple[FittedLaw, Comparison, tuple[str, ...]]:
    """Return the fitted predictor, the comparison on held-out runs, and a note on what was held out by default."""
    how, why = question.holdout or "", ""
    if not how:
        how, why = holdout.default(runs.recipes(), runs.clusters)
    laws, method = question.laws, averaging.choose
    if laws == (AUTO,):
        laws, method = default_laws.default(runs), averaging.average
    if question.stack:
        method = stacking.stack
    options = replace(question.options, unfinished=unfinished)
    predictor, comparison = method(runs, laws, question.evals, how=how, options=options)
    return predictor, comparison, (why,) if why else ()


def _parameters(predictor: FittedLaw) -> pl.DataFrame:
    """Return the parameters of the laws; trees and Gaussian processes have none."""
    members = members_of(predictor)
    return parameter_table({f"{fit.spec} of {fit.eval}": fit for fit in members if isinstance(fit, Fit)}, "law")


def _record(
    predictor: FittedLaw, compared: pl.DataFrame, notes: Sequence[str], metric_fits: MetricFits
) -> Mapping[str, object]:
    """Return the fields of fit.json. The curves of metrics follow the laws."""
    record = fit_files.to_json(predictor)
    entries = [*cast(list[object], record["laws"]), *map(metric_curve_json.to_json, metric_fits.curves.values())]
    return record | {"laws": entries, "compared": compared.to_dicts(), "notes": list(notes)}


def _shown(
    predictor: FittedLaw, compared: pl.DataFrame, notes: Sequence[str], metric_fits: MetricFits, explained: str
) -> tuple[str | pl.DataFrame, ...]:
    """Return the texts and tables in the order in which they are printed."""
    shown: list[str | pl.DataFrame] = [compared, *(f"note: {note}" for note in notes), *kept_laws.in_words(predictor)]
    shown += [expected] if (expected := error_words.error_in_words(predictor)) else []
    shown += ["Downstream metrics, predicted from the losses:", metric_fits.table()] if metric_fits.curves else []
    return (*shown, explained) if explained else tuple(shown)
