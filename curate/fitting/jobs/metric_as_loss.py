"""Turn a metric of a run table into a column that laws can be fitted to, for `--eval metric.NAME`.

In: the options of `curate fit`, and a run table. Out: the table with a column ``loss.metric.NAME``. It holds what a law
models of the metric (`curate.fitting.curves.direct_metric`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from curate import written_names
from curate.errors import SchemaError, first_few
from curate.fitting.curves.direct_metric import KINDS, Kind, to_odds
from curate.fitting.curves.metric_columns import AUTO, NONE, PREFIX, metric_names, word_of_no_rate
from curate.runs.runs import Runs

# A smaller rank correlation with the training compute, or with the loss, does not tell which direction is better.
SMALLEST_CORRELATION = 0.3


def named(
    evals: str | Sequence[str] | None, metrics: str | Sequence[str], kind: str | None, other: str | None
) -> str | None:
    """Return the metric that ``--eval metric.NAME`` names, or None if the evals are losses.

    ``metrics`` and ``kind`` are those of the options --metric and --metric-kind. ``other`` is an option that no law
    over recipes goes with.

    Raises:
        SchemaError: if a metric is named together with others or with such an option, or a kind without a metric.
    """
    names = written_names.names(evals) if isinstance(evals, str) else list(evals or ())
    named_metrics = [name for name in names if name.startswith(PREFIX)]
    if named_metrics and len(names) > 1:
        raise SchemaError(
            f"--eval {','.join(names)}: a law of a metric is fitted alone, because it has a unit of its own. Give "
            f"--eval {named_metrics[0]}"
        )
    if not named_metrics:
        if kind is not None:
            raise SchemaError("--metric-kind is for a law of a metric: name the metric with --eval metric.NAME")
        return None
    if other is not None:
        raise SchemaError(
            f"--eval {named_metrics[0]} fits a law over recipes, and {other} does not. Leave one of the two out"
        )
    if metrics not in (AUTO, NONE) and list(metrics) not in ([AUTO], [NONE]):
        raise SchemaError(
            f"--metric predicts metrics from losses, and --eval {named_metrics[0]} fits a law to a metric itself. "
            "Leave one of them out"
        )
    return named_metrics[0].removeprefix(PREFIX)


@dataclass(frozen=True)
class MetricAsLoss:
    """A run table in which ``loss.metric.NAME`` holds what a law models of the metric NAME of this ``kind``."""

    name: str
    runs: Runs
    kind: Kind


def as_loss(runs: Runs, name: str, kind: str | None = None) -> MetricAsLoss:
    """Return the run table with the metric as a loss. Without ``kind``, the values and their trend tell it.

    Raises:
        SchemaError: if there is no such metric or kind, a value is impossible, or the values do not tell the kind.
    """
    if name not in metric_names(runs):
        raise SchemaError(
            f"{runs.origin} has no column 'metric.{name}': its metrics are "
            f"{first_few(metric_names(runs), near=name) or 'none'}"
        )
    if kind is not None and kind not in KINDS:
        raise SchemaError(f"--metric-kind {kind}: choose one of {', '.join(KINDS)}")
    values = runs.numbers(f"{PREFIX}{name}")
    if np.isnan(values).all():
        raise SchemaError(f"{runs.origin}: metric.{name} is empty in all {len(runs)} rows. Fill it in")
    notes = []
    if kind is None:
        kind, note = _kind_of(runs, name, values)
        notes.append(note)
    elif (doubt := _against_the_trend(runs, name, values, kind)) is not None:
        notes.append(doubt)
    chosen = next(k for k in KINDS if k == kind)
    _refuse_impossible(runs, name, values, chosen)
    modelled = to_odds(values, chosen)
    endless = ~np.isnan(values) & ~(np.isfinite(modelled) & (modelled > 0))
    if endless.all():
        raise SchemaError(f"{runs.origin}: metric.{name} is 0 or 1 in all rows: there is nothing to fit")
    if endless.any():
        notes.append(
            f"metric.{name} is exactly 0 or 1 in {int(endless.sum())} of {len(values)} rows, the first is "
            f"{runs.frame['run'][int(endless.argmax())]!r}. Such odds are 0 or infinite, so the fit leaves them out"
        )
    column = pl.Series(f"loss.{PREFIX}{name}", np.where(endless, np.nan, modelled)).fill_nan(None)
    frame = runs.frame.with_columns(column)
    changed = replace(runs, frame=frame, evals=(*runs.evals, f"{PREFIX}{name}"), notes=(*runs.notes, *notes))
    return MetricAsLoss(name, changed, chosen)


def _kind_of(runs: Runs, name: str, values: np.ndarray) -> tuple[Kind, str]:
    """Return the kind that the values and their trend show, and a note that says so."""
    present = np.isfinite(values)
    low, high = float(values[present].min()), float(values[present].max())
    word = word_of_no_rate(name)
    if word is not None:
        return "positive", f"metric.{name} is taken for a positive quantity like a loss, since its name has {word!r}"
    rises, beside = _trend(runs, values, present)
    if rises is None:
        raise SchemaError(
            f"{runs.origin}: metric.{name} hardly changes with {beside}, so the runs do not tell whether a lower or a "
            f"higher value is better. Say it with --metric-kind {', '.join(KINDS[:-1])} or {KINDS[-1]}"
        )
    if low >= 0 and high <= 1:
        kind: Kind = "error" if rises else "accuracy"
        return kind, (
            f"metric.{name} lies between 0 and 1 and {'rises' if rises else 'falls'} with {beside}, so it is taken for "
            f"{'an error rate' if rises else 'an accuracy'}. If that is wrong, give --metric-kind"
        )
    if not rises:
        raise SchemaError(
            f"{runs.origin}: metric.{name} goes up to {high:g}, and higher is better. A law over recipes needs a rate "
            f"between 0 and 1, or a quantity of which less is better. {_percentages(name)}"
        )
    return "positive", f"metric.{name} goes up to {high:g}, so it is taken for a positive quantity like a loss"


def _against_the_trend(runs: Runs, name: str, values: np.ndarray, kind: str) -> str | None:
    """Return a note if runs of more compute, or of a lower loss, have worse values by this kind, else None."""
    rises, beside = _trend(runs, values, np.isfinite(values))
    higher_is_better = kind == "accuracy"
    if rises is None or rises != higher_is_better:
        return None
    return (
        f"metric.{name} {'rises' if rises else 'falls'} with {beside}, but --metric-kind {kind} says that "
        f"{'higher' if higher_is_better else 'lower'} values are better. If that is wrong, so are the predictions and "
        "plans of this fit"
    )


def _percentages(name: str) -> str:
    """Return how percentages become rates, in words."""
    return f"Divide percentages by 100: --map 'metric.{name}=\"metric.{name}\" / 100'"


def _trend(runs: Runs, values: np.ndarray, present: np.ndarray) -> tuple[bool | None, str]:
    """Return whether a metric is worse where it is higher, or None if unclear, and what it was compared with."""
    x, beside = -runs.numbers("tokens") * runs.numbers("params"), "less compute"
    for evaluation in runs.evals:
        loss = runs.numbers(f"loss.{evaluation}")
        if (present & np.isfinite(loss)).sum() > 2:
            x, beside = loss, f"loss.{evaluation}"
            break
    rows = present & np.isfinite(x)
    if rows.sum() < 3 or min(float(np.ptp(column[rows])) for column in (x, values)) == 0:
        return None, beside
    correlation = float(spearmanr(x[rows], values[rows]).statistic)
    return (None if abs(correlation) < SMALLEST_CORRELATION else correlation > 0), beside


def _refuse_impossible(runs: Runs, name: str, values: np.ndarray, kind: Kind) -> None:
    present = ~np.isnan(values)
    highest = np.inf if kind == "positive" else 1.0
    bad = present & ~((values >= 0) & (values <= highest) & np.isfinite(values))
    if kind == "positive":
        bad |= values == 0
    if bad.any():
        row = int(bad.argmax())
        rate = f"A rate lies between 0 and 1. {_percentages(name)}"
        remedy = "It must be a finite number above 0" if kind == "positive" else rate
        raise SchemaError(
            f"{runs.origin}: metric.{name} of run {runs.frame['run'][row]!r} is {values[row]:g}. {remedy}; "
            f"{int(bad.sum())} such rows"
        )
