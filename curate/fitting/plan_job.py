"""The job `plan`: find the best mixture of pools for one or several budgets.

In: a fit, pools and budgets. Out: `curate.planning.plans.Plans`. The work is done by `curate.planning.job`, which knows
predictors, but not their files.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from curate import numerical_threads
from curate.errors import SchemaError
from curate.fitting import fit_files
from curate.fitting.curves import chained_metric
from curate.fitting.curves.chained_metric import ChainedMetric
from curate.fitting.curves.direct_metric import DirectMetric
from curate.fitting.curves.metric_curve import MetricCurve
from curate.fitting.curves.pruning_curves import PruningCurves
from curate.fitting.curves.schedules.schedule_fit import ScheduleFit
from curate.fitting.fit_json import metric_curve_json
from curate.fitting.fit_report import FitReport
from curate.planning import job
from curate.planning.limits import NO_LIMITS, Limits
from curate.planning.plans import Plans
from curate.planning.request import DRAWS, STRENGTH, WITHIN, PlanOptions, PlanRequest
from curate.pool.pool import Budget, Pool, parse_budget, pools_hash, read_pools
from curate.runs import fitted_size
from curate.runs.predictors.predictor import MetricPredictor, Predictor
from curate.storage.artifacts import Provenance
from curate.storage.files import text_hash


@runtime_checkable
class HasPredictor(Protocol):
    """Any result that carries a predictor, as the report of a fit does."""

    @property
    def predictor(self) -> Predictor:
        """The predictor of losses that the result carries."""
        ...


def plan(
    fit: str | Path | FitReport | Predictor | HasPredictor,
    pools: str | Path | Iterable[Pool],
    budgets: Budget | str | Sequence[Budget | str],
    *,
    limits: Limits | None = None,
    target: str | Mapping[str, float] = "mean",
    pareto: tuple[str, str] | None = None,
    robust: float | None = None,
    prior: Mapping[str, float] | None = None,
    strength: float = STRENGTH,
    within: float = WITHIN,
    draws: int = DRAWS,
    keep_curve: bool = False,
    metric: str | None = None,
    score_cost: float | None = None,
    scored_tokens: float | None = None,
    seed: int = 0,
) -> Plans:
    """Return the best mixture of pools for each budget, and how free its shares are.

    The result also has plans at 16 token counts around the budgets, for each model size. `curate report` draws them.

    Args:
        fit: the path of fit.json, a report of ``fit``, a predictor of losses, or a result that carries one.
        pools: the path of pools.json, or pools.
        budgets: one budget or several; "2e10:1e9" is 2e10 tokens and 1e9 parameters.
        limits: limits that every mixture must satisfy; None for no limits.
        target: what is minimised over the evals of the fit. "mean": their mean loss. "worst": the largest excess of a
            loss over the lowest that this eval could have. "worst:loss": the largest loss. The name of an eval: its
            loss. Weights by eval: the weighted sum. "metric.NAME": the downstream metric NAME. The mean loss that it is
            predicted from is minimised.
        pareto: two evals for which to find the Pareto front too.
        robust: minimise this quantile of the loss over bootstrap draws, such as 0.9. None minimises the loss itself.
        prior: shares of a mixture to stay near. A divergence of one nat from it costs ``strength`` nats of loss.
        strength: see ``prior``.
        within: how far above the lowest loss near-optimal mixtures may be, in nats per token; 0 for no such ranges.
        draws: number of bootstrap draws to plan as well; 0 for none.
        keep_curve: whether to find how many pools to keep. The pools must be bins of one score.
        metric: the downstream metric to predict in addition to the loss. The fit must have its curve
            (``fit(metric=...)``).
        score_cost: with ``keep_curve``, the compute of scoring one token over that of training on it once. The keep
            curve then trains on fewer tokens, and the result says where scoring pays.
        scored_tokens: with ``score_cost``, how many tokens are scored; None for the tokens of all pools. Give it where
            rows were scored that are in no pool.
        seed: seed of every random choice.

    Raises:
        SchemaError: if ``fit`` has no law that predicts losses of mixtures, or pools, evals, metrics or limits do not
            fit together.
        Infeasible: if no mixture satisfies the limits. The message gives the numbers that would have to change.
        FitError: if the fit gives no finite loss at a budget.
    """
    options = PlanOptions(
        target, pareto, robust, prior, strength, within, draws, keep_curve, metric, score_cost, scored_tokens
    )
    fitted = _predictor(fit)
    predictor = fitted_size.at_fitted_size(fitted)
    direct = _direct_metric(fit, predictor)
    if direct is not None and options.metric_name is None:
        # The law models the odds of the metric: a plan without the metric itself would show numbers of no use.
        options = replace(options, metric=direct.name)
    request = PlanRequest(
        whole_fit=predictor,
        pools=read_pools(pools),
        budgets=_budgets(budgets),
        limits=NO_LIMITS if limits is None else limits,
        options=options,
        seed=seed,
        metric=None if (name := options.metric_name) is None else _metric(fit, predictor, name, direct),
    )
    fit_path = fit if isinstance(fit, str | Path) else None
    pools_path = pools if isinstance(pools, str | Path) else None
    with numerical_threads.single_by_default():
        return job.plans(request, _origin(request, fitted, fit_path, pools_path))


def _predictor(fit: str | Path | FitReport | Predictor | HasPredictor) -> Predictor:
    if isinstance(fit, str | Path):
        return fit_files.load(Path(fit))
    if isinstance(fit, FitReport):
        if fit.predictor is None or isinstance(fit.predictor, MetricCurve | PruningCurves | ScheduleFit):
            raise SchemaError(f"a fit of {fit.subject} does not predict the losses of mixtures. Fit a law, such as ces")
        return fit.predictor
    return fit.predictor if isinstance(fit, HasPredictor) else fit


def _direct_metric(fit: str | Path | FitReport | Predictor | HasPredictor, predictor: Predictor) -> DirectMetric | None:
    """Return the metric that the laws were fitted to, or None if they were fitted to losses."""
    if isinstance(fit, str | Path):
        return fit_files.direct_metric_of(fit_files.read(Path(fit)), predictor)
    kind = fit.metric_kind if isinstance(fit, FitReport) else None
    return None if kind is None else DirectMetric(kind, predictor)


def _metric(
    fit: str | Path | FitReport | Predictor | HasPredictor, predictor: Predictor, name: str, direct: DirectMetric | None
) -> MetricPredictor:
    """Return the metric ``name`` of a fit as a function of recipes.

    Raises:
        SchemaError: if the fit has no such metric, or no law for a loss that the metric is predicted from.
    """
    if direct is not None and name == direct.name:
        return direct
    source = str(fit) if isinstance(fit, str | Path) else "the fit"
    curves: Mapping[str, MetricCurve] = {}
    if isinstance(fit, str | Path):
        curves = fit_files.load_metrics(Path(fit))
    elif isinstance(fit, FitReport):
        curves = fit.metrics
    return chained_metric.chain(fit_files.named_metric(curves, name, source), predictor, source)


def _budgets(budgets: Budget | str | Sequence[Budget | str]) -> tuple[Budget, ...]:
    several = [budgets] if isinstance(budgets, Budget | str) else budgets
    if not several:
        raise SchemaError("there are no budgets. Give at least one, such as Budget(tokens=2e10, params=1e9)")
    return tuple(parse_budget(budget) if isinstance(budget, str) else budget for budget in several)


def _origin(
    request: PlanRequest, fitted: Predictor, fit_path: str | Path | None, pools_path: str | Path | None
) -> Provenance:
    """Return the record of the inputs of the plans. An input without a path is recorded by its content hash."""
    hashes: dict[str, str] = {}
    # A predictor that the user wrote has no content to hash, so only its eval is recorded.
    if fit_path is None and (fit_hash := fit_files.content_hash(fitted)) is not None:
        hashes["fit"] = fit_hash
    if fit_path is None and isinstance(metric := request.metric, ChainedMetric):
        hashes["metric"] = text_hash(json.dumps(metric_curve_json.to_json(metric.curve), sort_keys=True))
    if pools_path is None:
        hashes["pools"] = pools_hash(request.pools)
    fit = request.whole_fit.eval if fit_path is None else fit_path
    return Provenance(
        arguments={"fit": fit, "pools": pools_path, **request.arguments()},
        inputs=tuple(Path(path) for path in (fit_path, pools_path) if path is not None),
        tables=hashes,
        seed=request.seed,
    )
