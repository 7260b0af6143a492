"""Mixtures that are named by a rule, such as uniform or one of the plans of plan.json, as shares of all pools."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from curate.errors import SchemaError
from curate.pool import baselines, plan_files
from curate.pool.plan_files import PlanSource
from curate.pool.pool import Budget, Pool

RULES = ("proportional", "uniform", "tau", "unimax", "plan")


@dataclass(frozen=True)
class MixtureRule:
    """A mixture by a rule: proportional, uniform, tau (a temperature), unimax (a cap) or plan (an index from 0).

    ``value`` is the temperature, the most epochs of a pool, or the index. UniMax and plans have a default.

    Raises:
        SchemaError: an unknown rule, or a temperature without a value.
    """

    name: str
    value: float | None = None

    def __post_init__(self) -> None:
        """Check the rule."""
        if self.name not in RULES:
            raise SchemaError(f"no mixture is called {self.name!r}: choose one of {', '.join(RULES)}, or give shares")
        if self.name == "tau" and self.value is None:
            raise SchemaError("a mixture by temperature needs a value: MixtureRule('tau', 3.3)")

    def __str__(self) -> str:
        """Return the rule as it is written on a command line."""
        return self.name if self.value is None else f"{self.name}={self.value:g}"


MixtureLike = Mapping[str, float] | MixtureRule | str  # shares by pool, a rule, or the name of one


@dataclass(frozen=True)
class PlannedMixture:
    """One plan of plan.json: its budget and its shares of all pools."""

    budget: Budget
    weights: Mapping[str, float]


@dataclass(frozen=True)
class MixtureReader:
    """What a mixture may refer to: pools, and plans.

    ``index`` is the plan that is meant if a rule names none.
    """

    pools: Sequence[Pool]
    plans: Sequence[PlannedMixture] = ()
    index: int | None = None

    @property
    def chosen(self) -> PlannedMixture | None:
        """The plan that is meant if a rule names none. None without plans, or with several and no index."""
        # With several plans and no index any choice would be a guess.
        if not self.plans or (self.index is None and len(self.plans) > 1):
            return None
        return self.pick(self.index or 0)

    def pick(self, index: int | None) -> PlannedMixture:
        """Return the plan with this index, from 0.

        Raises:
            SchemaError: no such plan, or None where there are several; the message lists the plans.
        """
        if index is not None and 0 <= index < len(self.plans):
            return self.plans[index]
        raise plan_files.no_such_plan("plan.json", [plan.budget for plan in self.plans], index)

    def shares(self, mixture: MixtureLike, tokens: float, where: str) -> dict[str, float]:
        """Return the shares of all pools in a mixture.

        ``tokens`` are those of the stretch of training that the mixture is for; UniMax needs them for its cap.
        ``where`` names the mixture in error messages.

        Raises:
            SchemaError: shares that are no mixture of the pools, or a plan that does not exist.
        """
        if isinstance(mixture, Mapping):
            return baselines.mixture(self.pools, mixture, where=where)
        rule = MixtureRule(mixture) if isinstance(mixture, str) else mixture
        if rule.name == "plan":
            if not self.plans:
                raise SchemaError(f"{where} is {str(rule)!r}, which needs a plan")
            plan = self.chosen or self.pick(None) if rule.value is None else self.pick(int(rule.value))
            return dict(plan.weights)
        if rule.name == "tau":
            return baselines.named(self.pools, baselines.temperature(self.pools, rule.value or 0.0))
        if rule.name == "unimax":
            cap = baselines.UNIMAX_EPOCHS if rule.value is None else rule.value
            return baselines.named(self.pools, baselines.unimax(self.pools, tokens, cap))
        return baselines.named(self.pools, baselines.fixed(self.pools)[rule.name])


def planned_mixtures(plan: PlanSource, pools: Sequence[Pool]) -> list[PlannedMixture]:
    """Return all plans of plan.json, which must be over ``pools`` or some of them.

    Raises:
        SchemaError: no such file, another kind of file, no plans, or shares that are no mixture of the pools.
    """
    file = plan_files.open_plan(plan)
    mixtures = []
    for i in range(plan_files.count_plans(file)):
        # Shares are not checked here but rescaled below, since plans written by hand may sum to 0.999.
        budget, shares = plan_files.parse_plan(file, i)
        mixtures.append(PlannedMixture(budget, baselines.mixture(pools, shares, where=f"plan {i} of {file.name}")))
    return mixtures
