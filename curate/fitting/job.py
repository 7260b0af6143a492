"""The job `fit`: fit laws to a run table, compare them on held-out runs, and keep the best."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import cast

import numpy as np
import polars as pl

from curate import open_sets, written_names
from curate.errors import CurateError, SchemaError, first_few
from curate.fitting import corpora, explanation, fit_files, run_checks, stacking
from curate.fitting import fit as fits
from curate.fitting.boosted import Boosted
from curate.fitting.choice import averaging, default_laws
from curate.fitting.choice import checkpoints as checkpoint_rows
from curate.fitting.choice import holdout as holdouts
from curate.fitting.choice.default_laws import AUTO
from curate.fitting.choice.without_formula import OPTIONS
from curate.fitting.curves import direct_metric, fit_metrics, metric_columns
from curate.fitting.curves.direct_metric import MetricAsLoss
from curate.fitting.curves.kinds import CURVES
from curate.fitting.curves.schedules import schedule_laws, schedule_rows
from curate.fitting.fit import Fit
from curate.fitting.fit_files import FittedLaw
from curate.fitting.fit_report import FitQuestion, FitReport, parameter_table
from curate.fitting.solver.multistart import FitOptions
from curate.runs import envelope as envelopes
from curate.runs import run_table
from curate.runs.predictors.blend import Blend
from curate.runs.predictors.predictor import Predictor
from curate.runs.runs import Runs
from curate.runs.sources import column_map, read_tables
from curate.runs.sources.column_map import WrittenMap
from curate.runs.sources.read_tables import Tables
from curate.runs.trainings.row_keys import Checkpoints
from curate.storage import artifacts

REACH = 10.0  # corpora are compared from the least compute of a run to this many times the most
ALL_EVALS = "all"  # --eval all: every loss of the table
CURVE_POINTS = 13  # of the curves of corpora in fit.json
SHOWN_SWEEPS = 20  # rows that are printed of the lowest losses of sweeps


def fit(
    runs: Tables,
    *,
    law: str | Sequence[str] = AUTO,
    eval: str | Sequence[str] | None = None,
    where: str | None = None,
    holdout: str | None = None,
    stack: bool = False,
    explain: bool = False,
    by: str | None = None,
    on: str | None = None,
    target: str | None = None,
    tokens_per_param: float = corpora.TOKENS_PER_PARAM,
    metric: str | Sequence[str] = metric_columns.AUTO,
    starts: int = 32,
    draws: int = 200,
    seed: int = 0,
    checkpoints: Checkpoints = "auto",
    map: WrittenMap = None,
    source: str | None = None,
    envelope: str | Sequence[str] | None = None,
    metric_kind: str | None = None,
) -> FitReport:
    """Fit laws to a run table, compare them on held-out runs, and keep their average or the best of them.

    Args:
        runs: a run table, a file or a table in memory, or a list of them. Several are joined; see docs/files.md.
        law: names of laws with their options, ``NAME:key=value``, as a list or separated by commas. Of several
            laws, the one with the smallest expected error is kept. ``auto`` takes laws that suit what varies in the
            runs, and averages them by one over their squared scatter on held-out runs.
            The curves ``downstream``, ``annealing``, ``multi_power``,
            ``relearn`` and ``pruning_curves`` are fitted alone, not together with a law.
        eval: which ``loss.<eval>`` to fit; by default, and with ``all``, every one that was measured. Several evals are
            fitted together, and the fit predicts each of them and their mean. Curves and ``by`` take one eval.
            ``metric.NAME`` fits a law to the column of that name instead; see `curate.fitting.curves.direct_metric`.
        where: SQL condition; only rows for which it holds are read.
        holdout: ``rolling``, ``largest``, ``random`` or ``mixture``, the last three with a share as in ``random:0.2``.
            ``rolling`` predicts each size from the smaller ones, and is the default. If all runs have one size, it
            predicts the longer trainings. If they also have one length, the default is ``mixture``, or ``random`` with
            few mixtures.
        stack: whether to weight the laws by least squares on the held-out runs.
        explain: whether to say in words what the runs cannot determine, and which new runs would help most.
        by: column whose values are corpora; each is fitted by itself, and they are compared.
        on: the evals whose losses metrics are predicted from, separated by commas. ``downstream`` requires it. With
            laws, the default is all of ``eval``.
        target: the column ``distance.<target>`` that the law ``transport`` reads.
        tokens_per_param: training tokens per parameter at which the corpora of ``by`` are compared.
        metric: the columns ``metric.<name>`` to fit as functions of the losses, as a list or separated by commas.
            ``none`` fits none. ``auto`` fits all that the runs determine, if the table has at most 8 metrics.
        starts: number of starting points of each fit.
        draws: number of bootstrap refits.
        seed: seed of every random choice.
        checkpoints: ``auto`` takes rows for checkpoints of one training if the column training, names RUN@STEP, or
            evenly spaced tokens of one mixture and size say so. ``yes``: rows of one mixture, size and seed are
            checkpoints of one training. ``no``: every row is a finished run.
        map: SQL expressions that compute columns of the run table from other columns, by name, such as
            ``{"params": '"N (M)" * 1e6'}``; or a TOML file of them.
        source: the program that wrote the tables: ``wandb``, ``regmix`` or ``swarm``. None: they are run tables.
        envelope: columns that the runs of a sweep differ in, such as ``lr,batch_tokens``. Each sweep is replaced by the
            lowest loss that it shows; see `curate.runs.envelope`.
        metric_kind: with ``eval="metric.NAME"``: ``error``, ``accuracy`` or ``positive``. None: the values and their
            trend tell it.

    Raises:
        SchemaError: if the file is not a run table, its units cannot be right, or an option does not fit the others.
        FitError: if the runs cannot determine any of the laws.
    """
    specs = tuple(open_sets.split(law) if isinstance(law, str) else law)
    _check_names(specs)
    # Curves may be of a metric alone, in a table without any loss.
    columns, curve = column_map.parse(map), is_curve(specs[0])
    direct = direct_metric.named(eval, metric, metric_kind, f"--law {specs[0]}" if curve else "--by" if by else None)
    absent = schedule_rows.ABSENT if open_sets.parse(specs[0])[0] in schedule_laws.LAWS else {}
    table = run_table.read(
        runs,
        where=where,
        target=target,
        losses=not curve and direct is None,
        map=columns.expressions,
        source=source,
        # Sizes do not matter to a curve, and many tables of steps have none.
        counts=not curve,
        absent=absent,
        checkpoints=checkpoints,
    )
    swept = tuple(written_names.names(envelope) if isinstance(envelope, str) else envelope or ())
    table, shown = _lowest_of_sweeps(table, swept, specs[0])
    evals = _evals(table, eval, alone=by is not None or curve)
    as_loss = None if direct is None else direct_metric.as_loss(table, direct, metric_kind)
    if as_loss is not None:
        # Curves from losses to metrics are left out beside a law of a metric.
        table, metric = as_loss.runs, metric_columns.NONE
    if eval is None and len(evals) > 1:
        table = replace(table, notes=(*table.notes, _fitted_together(table, evals)))
    if message := stands_alone(specs, evals, by):
        raise SchemaError(message)
    options = FitOptions(starts=starts, draws=draws, seed=seed)
    metrics = tuple(written_names.names(metric) if isinstance(metric, str) else metric)
    if message := metrics_alone(specs, metrics, by):
        raise SchemaError(message)
    question = FitQuestion(specs, evals, options, holdout, stack, explain, by, on, tokens_per_param, metrics)
    if by is not None:
        report = _fit_corpora(table, question, by)
    elif is_curve(specs[0]):
        report = CURVES[open_sets.parse(specs[0])[0]](table, question)
    else:
        report = _fit_laws(table, question)
    report = replace(report, shown=(*shown, *report.shown))
    if as_loss is not None:
        report = _of_metric(report, as_loss)
    reading = {
        "where": where,
        "target": target,
        "envelope": ",".join(swept) or None,
        "metric_kind": metric_kind,
        "checkpoints": checkpoints,
    }
    return report.with_provenance(_made_by(runs, question, reading | read_tables.how_read(columns, source)))


def _check_names(specs: Sequence[str]) -> None:
    """Refuse names that are no law, before the table is read.

    Raises:
        CurateError: if there is no name, or one is unknown (the message gives the nearest one).
    """
    if not specs:
        raise SchemaError("no law is named: name one or more, or auto")
    others = (*OPTIONS, *CURVES, AUTO)
    for name in (open_sets.parse(spec)[0] for spec in specs):
        # A file without the name of a class has a message of its own.
        if name not in others and not open_sets.exists("laws", name) and not name.endswith(".py"):
            choices = (*open_sets.names("laws"), *open_sets.installed("laws"), *others)
            raise CurateError(open_sets.unknown(name, choices, kind="law"))


def _lowest_of_sweeps(
    table: Runs, columns: Sequence[str], law: str
) -> tuple[Runs, tuple[()] | tuple[str, pl.DataFrame]]:
    """Return the runs with each sweep over these columns replaced by its lowest loss, and what to show of it."""
    if not columns:
        return table, ()
    if is_curve(law):
        raise SchemaError(f"--envelope is for laws over recipes, and --law {law} is a curve. Leave one of them out")
    swept = envelopes.envelope(table, columns)
    return swept.runs, ("Lowest losses of the sweeps:", swept.minima.head(SHOWN_SWEEPS))


def _of_metric(report: FitReport, as_loss: MetricAsLoss) -> FitReport:
    """Return the report of a law that was fitted to a metric, with its points in the unit of the metric."""
    return replace(
        report,
        metric_kind=as_loss.kind,
        record=dict(report.record) | {"metric_kind": as_loss.kind},
        points=direct_metric.measured_and_predicted(report.points, as_loss.kind),
        shown=(*report.shown, direct_metric.in_words(as_loss.kind, as_loss.name)),
    )


def _evals(runs: Runs, names: str | Sequence[str] | None, *, alone: bool) -> tuple[str, ...]:
    """Return the evals to fit: the named ones, or all that were measured. ``alone``: only one eval can be fitted.

    Raises:
        SchemaError: if the table has no loss, or has several where one must be chosen.
    """
    if names is None and not alone and runs.evals:
        # An empty column says nothing; that it is empty is an error only if the user names it, or all are empty.
        measured = tuple(name for name in runs.evals if not np.isnan(runs.numbers(f"loss.{name}")).all())
        return measured or runs.evals
    if names == ALL_EVALS or (names is None and len(runs.evals) == 1):
        return runs.evals
    if not names:
        raise SchemaError(f"{runs.origin} has the evals {first_few(runs.evals) or 'none'}. Choose one with --eval NAME")
    return tuple(written_names.names(names) if isinstance(names, str) else names)


def _fitted_together(runs: Runs, evals: Sequence[str]) -> str:
    """Return a note that several evals are fitted, and which are left out because they are empty."""
    empty = [name for name in runs.evals if name not in evals]
    words = f". {first_few(empty)} left out: empty in all rows" if empty else ""
    return (
        f"{len(evals)} evals are fitted together: {first_few(evals)}. The fit predicts each of them, and a plan "
        f"minimises their mean unless --target names another aim{words}"
    )


def is_curve(spec: str) -> bool:
    """Return whether ``spec`` names a curve, such as `annealing`, rather than a law over recipes."""
    return open_sets.parse(spec)[0] in CURVES


def stands_alone(specs: Sequence[str], evals: Sequence[str], by: str | None) -> str | None:
    """Return why these laws and evals cannot be fitted together, or None if they can.

    Corpora and curves take one law and one eval.
    """
    curve = next((spec for spec in specs if is_curve(spec)), None)
    if (by is None and curve is None) or (len(specs) == 1 and len(evals) == 1):
        return None
    name = "--by" if by is not None else f"--law {curve}"
    return f"{name} takes one law and one eval; {len(specs)} and {len(evals)} are given"


def metrics_alone(specs: Sequence[str], metrics: Sequence[str], by: str | None) -> str | None:
    """Return the reason if these metrics cannot be fitted together with the laws, else None.

    A metric that the user names needs a law of the losses. With --by, or with a curve as --law, there is none.
    """
    if tuple(metrics) in ((metric_columns.AUTO,), (metric_columns.NONE,)):
        return None
    if by is not None:
        return f"--metric {','.join(metrics)} needs laws of one corpus: leave --by out, and choose a corpus by --where"
    curve = next((spec for spec in specs if is_curve(spec)), None)
    if curve is None:
        return None
    return (
        f"--metric {','.join(metrics)} needs a law of the losses, and --law {curve} is a curve. Name a law, such as "
        "chinchilla, or leave --metric out"
    )


def _made_by(runs: Tables, question: FitQuestion, reading: Mapping[str, object]) -> dict[str, object]:
    """Return the record of how a fit was made. ``reading`` are the arguments that say how the tables were read."""
    tables = read_tables.recorded(runs)
    arguments = {
        **reading,
        "law": ",".join(question.laws),
        "eval": ",".join(question.evals),
        "holdout": question.holdout,  # None: the default for the run table
        "starts": question.options.starts,
        "draws": question.options.draws,
        "stack": question.stack,
        "by": question.by,
        "on": question.on,
        "tokens_per_param": question.tokens_per_param,
        "metric": ",".join(question.metrics),
        "runs": tables.argument,
    }
    return artifacts.made_by(arguments, tables.files, question.options.seed, tables.hashes)


def _fit_laws(table: Runs, question: FitQuestion) -> FitReport:
    trained = table.trained()
    # Curves of metrics are fitted first: they are quick, and show a wrong name before the slow fits of laws.
    metric_fits = fit_metrics.fit_with_laws(trained, question)
    measured = trained.measured(question.evals)
    checked = run_checks.check(measured)
    fitted = checkpoint_rows.rows_to_fit(measured, question.laws, question.evals)
    runs, options = fitted.runs, replace(question.options, unfinished=fitted.unfinished)
    run_checks.refuse_constant(runs)
    checked = (*checked, *run_checks.unvaried(runs), *run_checks.uneven(runs, question.evals))
    how, why = question.holdout or "", ""
    if not how:
        how, why = holdouts.default(runs.recipes(), runs.clusters)
    laws, method = question.laws, averaging.choose
    if laws == (AUTO,):
        laws, method = default_laws.default(runs), averaging.average
    if question.stack:
        method = stacking.stack
    predictor, comparison = method(runs, laws, question.evals, how=how, options=options)
    if len(runs) < len(measured):
        predictor = averaging.with_unfinished(predictor, measured)
    # Units of tokens and params show in the table itself; those of the loss only beside a fit.
    notes = (*runs.notes, *fitted.notes, *checked, *((why,) if why else ()), *run_checks.units_of_loss(predictor, runs))
    compared = comparison.table()
    members = fit_files.members_of(predictor)
    notes = (*notes, *metric_fits.notes)
    shown: list[str | pl.DataFrame] = [compared, *(f"note: {note}" for note in notes), *_chosen(predictor)]
    shown += [expected] if (expected := averaging.error_in_words(predictor)) else []
    shown += ["Downstream metrics, predicted from the losses:", metric_fits.table()] if metric_fits.curves else []
    words = explanation.explain(predictor, runs, compared, seed=question.options.seed) if question.explain else ""
    shown += [words] if words else []
    record = fit_files.to_json(predictor)
    entries = [*cast(list[object], record["laws"]), *(curve.to_json() for curve in metric_fits.curves.values())]
    return FitReport(
        law=name_of(predictor),
        comparison=compared,
        parameter_rows=parameter_table(
            {f"{fit.spec} of {fit.eval}": fit for fit in members if isinstance(fit, Fit)}, "law"
        ),
        points=_measured_and_predicted(predictor, runs),
        record=record | {"laws": entries, "compared": compared.to_dicts(), "notes": list(notes)},
        shown=tuple(shown),
        predictor=predictor,
        metrics=metric_fits.curves,
        notes=notes,
        explanation=words,
    )


def name_of(predictor: FittedLaw) -> str:
    """Return the name of what predicts: that of a law or Gaussian process, or ``blend``, or ``boosted``."""
    return type(predictor).__name__.lower() if isinstance(predictor, Blend | Boosted) else predictor.spec


def _chosen(predictor: FittedLaw) -> list[str | pl.DataFrame]:
    """Return what was kept: the weights of a blend, or the parameters of a law; trees have none to show."""
    if isinstance(predictor, Blend):
        return [f"kept: {_weights_in_words(predictor)}"]
    if isinstance(predictor, Boosted):
        return []
    rows = f"{predictor.rows} runs"
    if predictor.trainings < predictor.rows:
        rows = f"{predictor.rows} rows of {predictor.trainings} trainings"
    return [f"{predictor.spec}, fitted to {rows}:", predictor.table()]


def _weights_in_words(blend: Blend) -> str:
    """Return the laws of a blend with their weights, once if they are the same for all evals."""
    of_evals = {
        name: ", ".join(
            f"{name_of(cast(FittedLaw, fit))} ({weight:.0%})"
            for weight, fit in zip(part.weights, part.fits, strict=True)
        )
        for name, part in blend.parts().items()
    }
    if len(set(of_evals.values())) > 1:
        return "; ".join(f"for {name} {words}" for name, words in of_evals.items())
    words, count = next(iter(of_evals.values())), len(next(iter(blend.parts().values())).fits)
    mean = f"the weighted mean of {count} laws, {words}" if count > 1 else words.removesuffix(" (100%)")
    return mean + (f", fitted to each of {len(of_evals)} evals ({first_few(of_evals)})" if len(of_evals) > 1 else "")


def _measured_and_predicted(predictor: FittedLaw, runs: Runs) -> pl.DataFrame:
    """Return run, group (the eval), measured and predicted loss of every run whose loss was measured."""
    parts: Mapping[str, Predictor] = predictor.parts() if isinstance(predictor, Blend) else {predictor.eval: predictor}
    return pl.concat(_points(part, runs, name, name) for name, part in parts.items())


def _points(predictor: Predictor, runs: Runs, evaluation: str, group: str) -> pl.DataFrame:
    predicted = predictor.loss(runs.recipes(predictor.pools)).detach().numpy()
    measured = runs.loss(evaluation, missing=True)
    table = pl.DataFrame({"run": runs.frame["run"], "group": group, "measured": measured, "predicted": predicted})
    return table.filter(pl.col("measured").is_not_nan())


def _fit_corpora(table: Runs, question: FitQuestion, by: str) -> FitReport:
    """Fit every corpus, and compare them over the fitted compute and one decade beyond it."""
    spec, evaluation, ratio = question.law, question.evaluation, question.tokens_per_param
    measured = table.trained().measured([evaluation])
    rows = checkpoint_rows.rows_to_fit(measured, [spec], [evaluation])
    options = replace(question.options, unfinished=rows.unfinished)
    if spec == AUTO:
        # All corpora get the same law. Each has only a part of the runs, so it is the law with the fewest parameters.
        spec = default_laws.candidates(default_laws.shape(rows.runs))[-1]
    fitted = corpora.fit_each(rows.runs, by, spec, evaluation, options=options)
    corpus_fits, runs = fitted.fits, fitted.runs
    notes = (*runs.notes, *rows.notes, *fitted.notes)
    flops = 6 * runs.frame["tokens"].cast(float).to_numpy() * runs.frame["params"].cast(float).to_numpy()
    low, high = float(flops.min()), REACH * float(flops.max())
    crossed = corpora.crossings(corpus_fits, low, high, tokens_per_param=ratio)
    curves = corpora.curves(corpus_fits, np.geomspace(low, high, CURVE_POINTS), tokens_per_param=ratio)
    advice = corpora.advice(corpus_fits, crossed, low, high, tokens_per_param=ratio)
    crossing_rows = [asdict(crossing) for crossing in crossed]
    points = [
        _points(corpus_fits[name], part, evaluation, name) for name, part in corpora.runs_of_each(runs, by).items()
    ]
    return FitReport(
        law=spec,
        comparison=pl.DataFrame(crossing_rows, schema=corpora.CROSSING_SCHEMA),
        parameter_rows=parameter_table(corpus_fits, "corpus"),
        points=pl.concat(points),
        record={
            "by": by,
            "laws": [{**fits.to_json(fit), "corpus": name} for name, fit in corpus_fits.items()],
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
