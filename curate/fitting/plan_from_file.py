"""Plan mixtures from a fit.json on disk, or from a fit in memory.

In: fit, pools, budgets. Out: `curate.planning.plans.Plans`. The room `planning` knows predictors, but not their files.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from curate.fitting import fit_files
from curate.planning import job
from curate.planning.job import HasPredictor
from curate.planning.limits import Limits
from curate.planning.plans import Plans
from curate.pool.pool import Budget, Pool
from curate.runs.predictor import Predictor


def plan(
    fit: str | Path | Predictor | HasPredictor,
    pools: str | Path | Iterable[Pool],
    budgets: Budget | str | Sequence[Budget | str],
    *,
    limits: Limits | None = None,
    target: str | Mapping[str, float] = "mean",
    pareto: tuple[str, str] | None = None,
    robust: float | None = None,
    prior: Mapping[str, float] | None = None,
    strength: float = job.STRENGTH,
    within: float = job.WITHIN,
    draws: int = job.DRAWS,
    keep_curve: bool = False,
    seed: int = 0,
) -> Plans:
    """Return the best mixture of pools for each budget, and how free its shares are.

    Args:
        fit: the path of fit.json, a predictor of losses, or a result that carries one.
        pools: the path of pools.json, or pools.
        budgets: one budget or several; "2e10:1e9" is 2e10 tokens and 1e9 parameters.
        limits: what every mixture must keep; None for no limits.
        target: what is minimised over the evals of the fit: "mean"; "worst", the largest excess over what each eval
            could have at best; "worst:loss", the largest loss; the name of an eval; or weights by eval.
        pareto: two evals whose Pareto front is wanted too.
        robust: minimise this quantile over bootstrap draws, such as 0.9; None minimises the loss itself.
        prior: shares of a mixture to stay near. A divergence of one nat from it costs ``strength`` nats of loss.
        strength: see ``prior``.
        within: nats of loss that near-optimal mixtures may lose; 0 for no near-optimal ranges.
        draws: bootstrap draws that are planned too; 0 for none.
        keep_curve: the pools are bins of one score, and the number of bins to keep is wanted too.
        seed: every random choice follows from it.

    Raises:
        SchemaError: for a file that is no fit.json, and for pools, evals or limits that do not fit together.
        Infeasible: if no mixture keeps the limits, with the numbers that would have to change.
        FitError: if the fit gives no finite loss at a budget.
    """
    plans = job.plan(
        fit_files.load(Path(fit)) if isinstance(fit, str | Path) else fit,
        pools,
        budgets,
        limits=limits,
        target=target,
        pareto=pareto,
        robust=robust,
        prior=prior,
        strength=strength,
        within=within,
        draws=draws,
        keep_curve=keep_curve,
        seed=seed,
    )
    if not isinstance(fit, str | Path):
        return plans
    origin = plans.origin
    arguments, inputs = {**origin.arguments, "fit": fit}, (Path(fit), *origin.inputs)
    return replace(plans, origin=replace(origin, arguments=arguments, inputs=inputs))
