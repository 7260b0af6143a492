"""Write whatever predicts losses into fit.json, and read it: laws, boosted trees, Gaussian processes and blends.

fit.json holds a list of laws, one or more, each with its weight. Files of format 1 hold one law at the top level. The
curves of downstream metrics are in the same list, after the laws.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias, cast

from curate import open_sets
from curate.errors import SchemaError, first_few
from curate.fitting.boosted import Boosted
from curate.fitting.choice.without_formula import BOOSTED, GAUSSIAN, OPTIONS
from curate.fitting.curves.direct_metric import DirectMetric, Kind
from curate.fitting.curves.metric_curve import MetricCurve
from curate.fitting.curves.schedules import schedule_laws
from curate.fitting.fit import Fit
from curate.fitting.fit_json import boosted_json, law_json, metric_curve_json, old_formats
from curate.fitting.fitted_laws import FittedLaw, SingleFit, members_of
from curate.fitting.gaussian import gaussian_json
from curate.fitting.gaussian.gaussian import Gaussian
from curate.runs.predictors.blend import Blend
from curate.runs.predictors.predictor import Predictor
from curate.shown import shortened
from curate.storage import artifacts, s3, schema
from curate.storage.files import text_hash
from curate.storage.forms.fits import (
    FittedLawForm,
    GaussianForm,
    GrownTreesForm,
    MetricForm,
    RateScheduleForm,
    StepCurveForm,
)

Record: TypeAlias = Mapping[str, object]
# Curves that are not laws of mixtures: what each gives, and what to use instead.
OTHER_CURVES: Mapping[str, str] = {
    **dict.fromkeys(
        schedule_laws.LAWS,
        "It gives the loss at each step of a learning-rate schedule: use `curate predict` with a table that has the "
        "columns step and lr. To predict or plan mixtures, fit a law, such as chinchilla or ces",
    ),
    "relearn": "It gives the loss at each step of the runs that it was fitted to, and `curate report` shows it. Each "
    "run has a shift of its own, so the fit says nothing about a new run. To predict or plan continued training, fit a "
    "law, such as replay or dcpt, or use `curate cmr`. To predict other learning rates, fit multi_power to trainings "
    "that were not continued on other data",
    "pruning_curves": "It gives the error at a kept share of the data: use `curate predict` with runs that have a "
    "column keep. To plan, fit a law, such as ces",
}
# The form of an entry of `laws`, by its name. All others are laws of mixtures.
FORMS: Mapping[str, type] = {
    BOOSTED: GrownTreesForm,
    GAUSSIAN: GaussianForm,
    metric_curve_json.NAME: MetricForm,
    **dict.fromkeys(schedule_laws.LAWS, RateScheduleForm),
    "relearn": StepCurveForm,
}
# What fields that contradict each other raise: parameters of another law, or lists of unequal lengths.
BROKEN = (AttributeError, LookupError, TypeError, ValueError, OverflowError, RuntimeError)


def to_json(predictor: FittedLaw) -> dict[str, object]:
    """Return the body of fit.json: the laws with their weights, the evals, and the fit's error and size.

    ``rmse`` is the weighted mean over the laws. It is null if one of them has no formula: boosted trees and Gaussian
    processes follow the fitted rows, so that their rmse would say little. If there is one law and one eval, ``theta``
    repeats its parameters, for programs that read format 1.
    """
    members = members_of(predictor)
    rmse = [member.rmse for member in members if isinstance(member, Fit)]
    weights = predictor.weights if isinstance(predictor, Blend) else (1.0,)
    whole = len(rmse) == len(members)
    laws = [_member_to_json(member) | {"weight": w} for member, w in zip(members, weights, strict=True)]
    alone = {"theta": laws[0]["theta"]} if len(laws) == 1 and "theta" in laws[0] else {}
    discrepancy = predictor.discrepancy
    return alone | {
        "laws": laws,
        "eval": predictor.eval,
        "evals": list(dict.fromkeys(member.eval for member in members)),
        "rmse": sum(w * x for w, x in zip(weights, rmse, strict=True)) if whole else None,
        "rows": max(member.rows for member in members),
        "trainings": max(member.trainings for member in members),
        "discrepancy": None if discrepancy is None else discrepancy.to_json() | {"level": discrepancy.level},
        "heldout": next((dict(m.heldout) for m in members if not isinstance(m, Boosted) and m.heldout), None),
    }


def content_hash(predictor: Predictor) -> str | None:
    """Return the content hash of a fit in memory, or None for any other predictor.

    It is the hash of the body that its fit.json would have. A result records it in ``made_by`` instead of the hash of a
    file.
    """
    members = predictor.fits if isinstance(predictor, Blend) else (predictor,)
    if not all(isinstance(member, SingleFit) for member in members):
        return None
    return text_hash(json.dumps(to_json(cast(FittedLaw, predictor)), sort_keys=True))


def _member_to_json(member: SingleFit) -> dict[str, object]:
    if isinstance(member, Gaussian):
        return gaussian_json.to_json(member)
    return boosted_json.to_json(member) if isinstance(member, Boosted) else law_json.to_json(member)


def _member_from_json(record: Record) -> SingleFit:
    if record["law"] == GAUSSIAN:
        return gaussian_json.from_json(record)
    return boosted_json.from_json(record) if record["law"] == BOOSTED else law_json.from_json(record)


def from_json(record: Record) -> FittedLaw:
    """Return the predictor of a fit.json's body, of the present form or of format 1.

    Curves of metrics are left out: `load_metrics` reads them.

    Raises:
        KeyError, TypeError, ValueError: if a field is missing or wrong.
    """
    record = old_formats.as_list(record)
    laws = [law for law in cast(list[Record], record["laws"]) if not metric_curve_json.is_metric(law)]
    members = [_member_from_json(law) for law in laws]
    # One law is a list of one. It stays a fit, which knows more of itself than a blend does.
    if len(members) == 1:
        return members[0]
    weights = tuple(float(cast(float, law["weight"])) for law in laws)
    for name in {member.eval for member in members}:
        if not any(w for w, member in zip(weights, members, strict=True) if member.eval == name):
            raise ValueError(f"the weights of all laws of {name} are 0")
    return Blend(tuple(cast(list[Fit], members)), weights, str(record["eval"]))


def read(path: Path) -> Record:
    """Read fit.json of the present or the previous format, with its laws in a list.

    Raises:
        SchemaError: if there is no such file, or it is not a fit.
    """
    loaded = artifacts.load(path, "fit")
    try:
        record = old_formats.as_list(loaded)
    except BROKEN as error:
        raise broken(path, error) from None
    for i, law in enumerate(cast(list[Record], record["laws"])):
        name = str(law.get("law", "")).partition(":")[0]
        # Until 2026-11-29 a fit of annealing had a curve for each run, as a fit of relearn has.
        of_each_run = name in schedule_laws.LAWS and "run" in law
        form = StepCurveForm if of_each_run else FORMS.get(name, FittedLawForm)
        schema.check(law, form, s3.shown(path), artifacts.KINDS["fit"].remedy, under=("laws", i))
    return record


def load(path: Path) -> FittedLaw:
    """Read a fit of laws from fit.json.

    Raises:
        SchemaError: if the file is not a fit, or a fit of something else: of several corpora, or of a curve.
    """
    record = read(path)
    if "by" in record:
        corpora = ", ".join(str(law.get("corpus")) for law in cast(list[Record], record["laws"]))
        raise SchemaError(f"{path} has a fit for each {record['by']} ({corpora}). Fit one of them alone with --where")
    try:
        laws = [law for law in cast(list[Record], record["laws"]) if not metric_curve_json.is_metric(law)]
        if not laws:
            raise SchemaError(_metrics_alone(path, metrics_of(record)))
        names = [open_sets.parse(str(law["law"]))[0] for law in laws]
        if curves := sorted(name for name in names if name not in OPTIONS and not open_sets.exists("laws", name)):
            raise SchemaError(f"{path} has {not_a_law(curves[0])}")
        return from_json(record)
    except BROKEN as error:
        raise broken(path, error) from None


def load_metrics(path: Path) -> dict[str, MetricCurve]:
    """Read the curves of downstream metrics from fit.json, by the name of the metric. There may be none.

    Raises:
        SchemaError: if the file is not a fit.
    """
    try:
        return metrics_of(read(path))
    except BROKEN as error:
        raise broken(path, error) from None


def metrics_of(record: Record) -> dict[str, MetricCurve]:
    """Return the curves of downstream metrics of a fit.json's body, by the name of the metric.

    Raises:
        KeyError, TypeError, ValueError: if a field is missing or wrong.
    """
    laws = [law for law in cast(list[Record], record["laws"]) if metric_curve_json.is_metric(law)]
    return {curve.name: curve for curve in map(metric_curve_json.from_json, laws)}


def direct_metric_of(record: Record, predictor: Predictor) -> DirectMetric | None:
    """Return the metric that the laws of a fit.json's body were fitted to, or None if they were fitted to losses."""
    kind = record.get("metric_kind")
    return None if kind is None else DirectMetric(cast(Kind, kind), predictor)


def named_metric(metrics: Mapping[str, MetricCurve], name: str, source: str) -> MetricCurve:
    """Return the curve of a metric; ``source`` names the fit in an error message.

    Raises:
        SchemaError: if the fit has no such metric. The message lists those that it has.
    """
    if name not in metrics:
        raise SchemaError(
            f"{source} has no curve of metric.{name}; its metrics are "
            f"{first_few(metrics, near=name) or 'none'}. Fit the curve "
            f"together with the laws: curate fit RUNS --law LAW --eval EVAL --metric {name}"
        )
    return metrics[name]


def not_a_law(name: str) -> str:
    """Return words that say that the curve ``name`` is not a law, and what to use instead."""
    use = OTHER_CURVES.get(name, "Fit a law, such as ces")
    return f"a fit of {name}, which is not a law of mixtures. {use}"


def _metrics_alone(path: Path, metrics: Mapping[str, MetricCurve]) -> str:
    curve = next(iter(metrics.values()))
    evals = f" --eval {','.join(curve.on)}" if curve.on else " --eval EVAL"
    return (
        f"{path} has only the curve of metric.{curve.name} from {curve.x}, and no law that predicts the loss of a "
        f"mixture. Fit both into one file: curate fit RUNS --law LAW{evals} --metric {curve.name}"
    )


def broken(path: Path, error: Exception) -> SchemaError:
    """Return the error of a file that is not a fit, or was changed by hand."""
    reason = f"it lacks {error}" if isinstance(error, KeyError) else shortened(str(error))
    return SchemaError(f"{path} is not a fit.json ({reason}). Run `curate fit` again")
