"""Answer a request for plans: plan every budget, and compute what else the options ask for.

In: `PlanRequest`, and the record of its inputs. Out: `Plans`. Users call `curate.fitting.plan_job.plan` instead, which
reads fit.json and is therefore one floor higher.
"""

from dataclasses import replace

from curate.planning import aims, extrapolation
from curate.planning import plan as planner
from curate.planning.details import answers, grid, planned_metric
from curate.planning.details.keep_curve import by_score
from curate.planning.plan import Plan
from curate.planning.plans import Plans
from curate.planning.request import PlanRequest
from curate.runs.predictors.predictor import MetricPredictor
from curate.storage.artifacts import Provenance


def plans(request: PlanRequest, origin: Provenance) -> Plans:
    """Return the plans that a request asks for. ``origin`` is the record of their inputs.

    Raises:
        SchemaError: if pools, evals or limits do not fit together.
        Infeasible: if no mixture satisfies the limits. The message gives the numbers that would have to change.
        FitError: if the fit gives no finite loss at a budget.
    """
    options = request.options
    # Mistakes in what is wanted beyond the mixture are found before the long work.
    if options.pareto is not None:
        answers.check_evals(request.whole_fit, options.pareto)
    best_first = by_score(request.pools) if options.keep_curve else ()
    if options.score_cost is not None or options.scored_tokens is not None:
        answers.check_scoring_cost(request)
    planned = planner.frontier(
        request.fit, request.pools, request.budgets, request.limits, aim=request.aim, seed=request.seed
    )
    points = grid.grid(request, planned)
    if (metric := request.metric) is not None:
        planned = tuple(_with_metric(plan, metric, request) for plan in planned)
        points = replace(points, plans=tuple(_with_metric(plan, metric, request) for plan in points.plans))
    intervals, crossings = answers.share_intervals(request, planned)
    return Plans(
        plans=planned,
        intervals=intervals,
        grid=points,
        fitted={name: extrapolation.fitted_range(aims.leaves(request.fit), name) for name in ("tokens", "params")},
        crossings=crossings,
        fronts=answers.fronts(request, options.pareto) if options.pareto is not None else (),
        keep=answers.keep_advice(request, best_first) if best_first else None,
        pools=request.pools,
        origin=origin,
    )


def _with_metric(plan: Plan, metric: MetricPredictor, request: PlanRequest) -> Plan:
    """Return a plan with its predicted metric. Reasons to doubt this prediction are added to its warnings."""
    value = planned_metric.planned(metric, request.fit, request.pools, plan.budget, plan.weights)
    return replace(plan, metric=value, warnings=(*plan.warnings, *value.warnings))
