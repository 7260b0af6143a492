"""State the question that plans answer: what is planned, what is minimised, and what else is computed.

In: a predictor, pools, budgets, limits and options. Out: `PlanRequest`, which can also write its arguments as the
command line does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from curate.errors import SchemaError
from curate.planning import aims
from curate.planning.aims import Aim
from curate.planning.details import planned_metric
from curate.planning.details.scoring_cost import ScoringCost
from curate.planning.limits import Limits
from curate.pool.pool import Budget, Pool
from curate.runs.predictors.predictor import MetricPredictor, Predictor

# Nats of loss that a nat of divergence from a prior costs. For scale: a mixture that halves one share of an even pair
# of pools diverges by 0.13 nats, so it must gain 0.007 nats, a few times the noise of a run.
STRENGTH = 0.05
WITHIN = 1e-3  # nats that a near-optimal mixture may lose: about the noise of a run
DRAWS = 40  # bootstrap draws that are planned too; about two of them then lie beyond each end of a 90 % interval
ROUNDING = 1e-9  # relative: by how much sums of tokens may differ
WORST = {"worst": "regret", "worst:loss": "loss"}  # targets that are no weighted sum, as `Aim` calls them


@dataclass(frozen=True)
class PlanOptions:
    """What is minimised and what else is computed. `curate.fitting.plan_job.plan` explains each option."""

    target: str | Mapping[str, float] = "mean"
    pareto: tuple[str, str] | None = None
    robust: float | None = None
    prior: Mapping[str, float] | None = None
    strength: float = STRENGTH
    within: float = WITHIN
    draws: int = DRAWS
    keep_curve: bool = False
    metric: str | None = None
    score_cost: float | None = None
    scored_tokens: float | None = None

    @property
    def target_metric(self) -> str | None:
        """The name of the metric that is optimised, or None."""
        target = self.target
        return target.removeprefix(planned_metric.PREFIX) if _is_metric(target) and isinstance(target, str) else None

    @property
    def metric_name(self) -> str | None:
        """The name of the metric that plans report, or None. If the target is a metric, it is that one.

        Raises:
            SchemaError: if two metrics are named, or a metric is weighted against losses.
        """
        if isinstance(self.target, Mapping) and (mixed := [name for name in self.target if _is_metric(name)]):
            raise SchemaError(
                f"--target: a metric cannot be weighted together with losses. Give --target {mixed[0]} alone, or "
                "weights of evals"
            )
        if self.metric and self.target_metric and self.metric != self.target_metric:
            raise SchemaError(
                f"--target metric.{self.target_metric} and --metric {self.metric} name two metrics, but a plan "
                "reports one. Leave --metric out"
            )
        return self.target_metric or self.metric

    @property
    def aim(self) -> Aim:
        """The rule by which the predictions for a mixture become the one number that is minimised."""
        worst = WORST.get(self.target) if isinstance(self.target, str) else None
        return Aim(worst, self.robust, self.prior, self.strength if self.prior else 0.0)

    def minimised(self, fit: Predictor, metric: MetricPredictor | None) -> Predictor:
        """Return the predictor of the loss that is minimised: the fit, or a weighted sum of some of its evals.

        If the target is a metric, this is the mean loss that it is predicted from, so plans stay in nats.
        """
        if self.target_metric is not None and metric is not None:
            return planned_metric.target_loss(metric)
        if isinstance(self.target, Mapping):
            return aims.weighted(fit, self.target)
        if self.target == "mean" or self.target in WORST:
            return fit
        return aims.weighted(fit, {self.target: 1.0})

    def arguments(self) -> dict[str, object]:
        """Return the options as `curate plan` would record them."""
        return {
            "target": self.target if isinstance(self.target, str) else ",".join(_pairs(self.target)),
            "pareto": None if self.pareto is None else ",".join(self.pareto),
            "robust": self.robust,
            "prior": None if self.prior is None else ",".join(_pairs(self.prior)),
            "strength": self.strength,
            "within": self.within,
            "draws": self.draws,
            "keep_curve": self.keep_curve,
            "metric": self.metric,
            "score_cost": self.score_cost,
            "scored_tokens": self.scored_tokens,
        }


@dataclass(frozen=True)
class PlanRequest:
    """The question that the plans answer.

    ``whole_fit`` predicts all evals of the fit. ``metric`` predicts a downstream metric.
    """

    whole_fit: Predictor
    pools: tuple[Pool, ...]
    budgets: tuple[Budget, ...]
    limits: Limits
    options: PlanOptions
    seed: int
    metric: MetricPredictor | None = None

    @cached_property
    def fit(self) -> Predictor:
        """The predictor of the loss that is minimised."""
        return self.options.minimised(self.whole_fit, self.metric)

    @property
    def aim(self) -> Aim:
        """The rule by which the predictions for a mixture become the one number that is minimised."""
        return self.options.aim

    @cached_property
    def scoring_cost(self) -> ScoringCost | None:
        """What scoring costs, or None if that was not given. By default, the tokens of all pools are scored.

        Raises:
            SchemaError: if an option of the cost is given without those that it belongs to, or is impossible.
        """
        options, total = self.options, sum(pool.tokens for pool in self.pools)
        if options.score_cost is None:
            if options.scored_tokens is not None:
                raise SchemaError("--scored-tokens needs --score-cost: the relative cost of scoring a token")
            return None
        if not options.keep_curve:
            raise SchemaError("--score-cost is for --keep-curve. Give both")
        cost = ScoringCost(options.score_cost, total if options.scored_tokens is None else options.scored_tokens)
        if cost.tokens < total * (1 - ROUNDING):
            raise SchemaError(
                f"--scored-tokens {cost.tokens:.6g} is less than the {total:.6g} tokens of the pools, which were all "
                "scored. Leave it out, or count the rows in no pool too"
            )
        return cost

    @property
    def smooth(self) -> bool:
        """Whether shares change smoothly with the budget: the law has a gradient, and one loss is minimised."""
        return self.fit.differentiable and self.aim.worst is None

    def arguments(self) -> dict[str, object]:
        """Return budgets, limits and options as `curate plan` would record them."""
        return {**_budget_arguments(self.budgets), **_limit_arguments(self.limits), **self.options.arguments()}


def _is_metric(target: str | Mapping[str, float]) -> bool:
    return isinstance(target, str) and target.startswith(planned_metric.PREFIX)


def _budget_arguments(budgets: Sequence[Budget]) -> dict[str, object]:
    """Return budgets as the options of `curate plan`."""
    text = ",".join(f"{budget.tokens:g}:{budget.params:g}" for budget in budgets)
    return {"budget": text, "frontier": None, "params": None}


def _limit_arguments(limits: Limits) -> dict[str, object]:
    """Return limits as the options of `curate plan`."""
    groups = []
    for group in limits.groups:
        groups += [f"{group.name}<={group.high:g}"] if group.high < 1 else []
        groups += [f"{group.name}>={group.low:g}"] if group.low > 0 else []
    return {
        "max_epochs": limits.max_epochs,
        "min_weight": _pairs(limits.min_weight),
        "max_weight": _pairs(limits.max_weight),
        "fixed": _pairs(limits.fixed),
        "group": groups,
        "ordered": ",".join(limits.ordered) or None,
        "money": limits.money,
    }


def _pairs(shares: Mapping[str, float]) -> list[str]:
    """Return numbers by name as NAME=NUMBER."""
    return [f"{name}={share:g}" for name, share in shares.items()]
