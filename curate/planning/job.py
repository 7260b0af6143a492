"""The job `plan`: find the best mixture of pools for one or several budgets.

In: a predictor, pools and budgets. Out: `Plans`. A fit.json on disk is read one floor higher, by
`curate.fitting.plan_from_file`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from curate.errors import SchemaError
from curate.planning import aims, provenance
from curate.planning import plan as planner
from curate.planning.aims import Aim
from curate.planning.details import answers
from curate.planning.details.answers import PlanRequest
from curate.planning.details.keep_curve import by_score
from curate.planning.limits import NO_LIMITS, Limits
from curate.planning.plans import Plans
from curate.pool.pool import Budget, Pool, load_pools, parse_budget
from curate.runs.predictor import Predictor
from curate.storage.artifacts import Provenance

# Nats of loss that a nat of divergence from a prior costs. For scale: a mixture that halves one share of an even pair
# of pools diverges by 0.13 nats, so it must gain 0.007 nats, a few times the noise of a run.
STRENGTH = 0.05
WITHIN = 1e-3  # nats that a near-optimal mixture may lose: about the noise of a run
DRAWS = 40  # bootstrap draws that are planned too; about two of them then lie beyond each end of a 90 % interval
WORST = {"worst": "regret", "worst:loss": "loss"}  # targets that are no weighted sum, as `Aim` calls them


@runtime_checkable
class HasPredictor(Protocol):
    """Any result that carries a predictor, such as the report of a fit."""

    @property
    def predictor(self) -> Predictor:
        """The predictor of losses that the result carries."""
        ...


@dataclass(frozen=True)
class PlanOptions:
    """The options of `plan` that choose what is minimised and what is computed besides. `plan` explains each."""

    target: str | Mapping[str, float] = "mean"
    pareto: tuple[str, str] | None = None
    robust: float | None = None
    prior: Mapping[str, float] | None = None
    strength: float = STRENGTH
    within: float = WITHIN
    draws: int = DRAWS
    keep_curve: bool = False

    @property
    def aim(self) -> Aim:
        """The rule by which the predictions for a mixture become the one number that is minimised."""
        worst = WORST.get(self.target) if isinstance(self.target, str) else None
        return Aim(worst, self.robust, self.prior, self.strength if self.prior else 0.0)

    def minimised(self, fit: Predictor) -> Predictor:
        """Return the predictor that is minimised: the fit, or a weighted sum of some of its evals."""
        if isinstance(self.target, Mapping):
            return aims.weighted(fit, self.target)
        if self.target == "mean" or self.target in WORST:
            return fit
        return aims.weighted(fit, {self.target: 1.0})

    def arguments(self) -> dict[str, object]:
        """Return the options as `curate plan` would record them."""
        return {
            "target": self.target if isinstance(self.target, str) else ",".join(provenance.pairs(self.target)),
            "pareto": None if self.pareto is None else ",".join(self.pareto),
            "robust": self.robust,
            "prior": None if self.prior is None else ",".join(provenance.pairs(self.prior)),
            "strength": self.strength,
            "within": self.within,
            "draws": self.draws,
            "keep_curve": self.keep_curve,
        }


def plan(
    fit: Predictor | HasPredictor,
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
    seed: int = 0,
) -> Plans:
    """Return the best mixture of pools for each budget, and how free its shares are.

    Args:
        fit: a predictor of losses, or a result that carries one.
        pools: the path of pools.json, or pools.
        budgets: one budget or several; "2e10:1e9" is 2e10 tokens and 1e9 parameters.
        limits: limits that every mixture must satisfy; None for no limits.
        target: what is minimised over the evals of the fit. "mean": their mean loss. "worst": the largest excess of a
            loss over the lowest that this eval could have. "worst:loss": the largest loss. The name of an eval: its
            loss. Weights by eval: the weighted sum.
        pareto: two evals for which to find the Pareto front too.
        robust: minimise this quantile of the loss over bootstrap draws, such as 0.9. None minimises the loss itself.
        prior: shares of a mixture to stay near. A divergence of one nat from it costs ``strength`` nats of loss.
        strength: see ``prior``.
        within: how far above the lowest loss near-optimal mixtures may be, in nats per token; 0 for no such ranges.
        draws: number of bootstrap draws to plan as well; 0 for none.
        keep_curve: whether to find how many pools to keep. The pools must be bins of one score.
        seed: seed of every random choice.

    Raises:
        SchemaError: if pools, evals or limits do not fit together.
        Infeasible: if no mixture satisfies the limits. The message gives the numbers that would have to change.
        FitError: if the fit gives no finite loss at a budget.
    """
    options = PlanOptions(target, pareto, robust, prior, strength, within, draws, keep_curve)
    whole_fit = fit.predictor if isinstance(fit, HasPredictor) else fit
    request = PlanRequest(
        whole_fit,
        options.minimised(whole_fit),
        load_pools(Path(pools)) if isinstance(pools, str | Path) else tuple(pools),
        _budgets(budgets),
        NO_LIMITS if limits is None else limits,
        options.aim,
        seed,
    )
    arguments = {
        "fit": whole_fit.eval,
        "pools": pools if isinstance(pools, str | Path) else None,
        **provenance.budget_arguments(request.budgets),
        **provenance.limit_arguments(request.limits),
        **options.arguments(),
    }
    pools_read = pools if isinstance(pools, str | Path) else request.pools
    return _plans(request, options, provenance.provenance(arguments, pools_read, seed))


def _budgets(budgets: Budget | str | Sequence[Budget | str]) -> tuple[Budget, ...]:
    several = [budgets] if isinstance(budgets, Budget | str) else budgets
    if not several:
        raise SchemaError("there are no budgets. Give at least one, such as Budget(tokens=2e10, params=1e9)")
    return tuple(parse_budget(budget) if isinstance(budget, str) else budget for budget in several)


def _plans(request: PlanRequest, options: PlanOptions, origin: Provenance) -> Plans:
    # Mistakes in what is wanted beyond the mixture are found before the long work.
    if options.pareto is not None:
        answers.check_evals(request.whole_fit, options.pareto)
    best_first = by_score(request.pools) if options.keep_curve else ()
    plans = planner.frontier(
        request.fit, request.pools, request.budgets, request.limits, aim=request.aim, seed=request.seed
    )
    intervals, crossings = answers.share_intervals(request, plans, within=options.within, draws=options.draws)
    return Plans(
        plans=plans,
        intervals=intervals,
        crossings=crossings,
        fronts=answers.fronts(request, options.pareto) if options.pareto is not None else (),
        keep=answers.keep_advice(request, best_first) if best_first else None,
        pools=request.pools,
        origin=origin,
    )
