"""The job `fit`: fit laws to a run table, compare them on held-out runs, and keep the best."""

from collections.abc import Sequence
from dataclasses import replace

from curate import open_sets, written_names
from curate.errors import SchemaError
from curate.fitting import corpora
from curate.fitting.choice.default_laws import AUTO
from curate.fitting.curves import direct_metric, metric_columns
from curate.fitting.curves.kinds import CURVES
from curate.fitting.fit_report import FitQuestion, FitReport
from curate.fitting.jobs import metric_as_loss, questions, row_order
from curate.fitting.jobs.fit_corpora import fit_corpora
from curate.fitting.jobs.fit_laws import fit_laws
from curate.fitting.jobs.metric_as_loss import MetricAsLoss
from curate.fitting.jobs.reading import TableReading
from curate.fitting.solver.multistart import FitOptions
from curate.runs.runs import Runs
from curate.runs.sources import column_map
from curate.runs.sources.column_map import WrittenMap
from curate.runs.sources.read_tables import Tables
from curate.runs.trainings.training_keys import Checkpoints


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
            ``metric.NAME`` fits a law to the column of that name instead; see `curate.fitting.jobs.metric_as_loss`.
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
    specs = questions.laws_of(law)
    curve = questions.is_curve(specs[0])
    swept = _names(envelope or ())
    reading = TableReading(where, target, column_map.parse(map), source, checkpoints, swept, metric_kind)
    direct = metric_as_loss.named(eval, metric, metric_kind, f"--law {specs[0]}" if curve else "--by" if by else None)
    table, lowest = reading.read(runs, specs[0], losses=direct is None)
    evals = questions.evals(table, eval, alone=by is not None or curve)
    as_loss = None if direct is None else metric_as_loss.as_loss(table, direct, metric_kind)
    if as_loss is not None:
        # Curves from losses to metrics are left out beside a law of a metric.
        table, metric = as_loss.runs, metric_columns.NONE
    notes = questions.notes_on_evals(table, evals) if eval is None else ()
    metrics = _names(metric)
    if message := questions.why_not(specs, evals, metrics, by):
        raise SchemaError(message)
    options = FitOptions(starts=starts, draws=draws, seed=seed)
    question = FitQuestion(specs, evals, options, holdout, stack, explain, by, on, tokens_per_param, metrics, notes)
    report = _report(table, question)
    if as_loss is not None:
        report = _of_metric(report, as_loss)
    report = replace(report, shown=(*lowest, *report.shown))
    return report.with_provenance(reading.made_by(runs, question))


def _names(written: str | Sequence[str]) -> tuple[str, ...]:
    """Return names that stand in a list or are separated by commas."""
    return tuple(written_names.names(written) if isinstance(written, str) else written)


def _report(table: Runs, question: FitQuestion) -> FitReport:
    """Fit what the question names: corpora, a curve, or laws of recipes."""
    if question.by is None and questions.is_curve(question.law):
        return CURVES[open_sets.parse(question.law)[0]](table, question)
    runs = row_order.by_content(table)
    return fit_laws(runs, question) if question.by is None else fit_corpora(runs, question, question.by)


def _of_metric(report: FitReport, as_loss: MetricAsLoss) -> FitReport:
    """Return the report of a law that was fitted to a metric, with its points in the unit of the metric."""
    return replace(
        report,
        metric_kind=as_loss.kind,
        record=dict(report.record) | {"metric_kind": as_loss.kind},
        points=direct_metric.measured_and_predicted(report.points, as_loss.kind),
        shown=(*report.shown, direct_metric.in_words(as_loss.kind, as_loss.name)),
    )
