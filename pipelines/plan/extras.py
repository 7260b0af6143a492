"""What `curate plan` adds to its mixtures: ranges, shares over the draws, crossings, a front, a keep curve."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import inf, log

from curate.planning.aims import Aim
from curate.planning.details import crossings, keep_curve, near_optimal, pareto_front
from curate.planning.limits import Limits
from curate.planning.plan import Plan, to_json
from curate.pool.pool import Budget, Pool
from curate.runs.predictor import Predictor

SAME = 1e-6  # budgets whose tokens are this near are one
KEEP_POINTS = 16  # budgets a decade of a keep curve: where it changes is known to 15 %


@dataclass(frozen=True)
class Extras:
    """The question that was planned."""

    fit: Predictor
    pools: Sequence[Pool]
    limits: Limits
    aim: Aim
    seed: int

    def ranges(self, rows: list[dict[str, object]], plans: Sequence[Plan], within: float) -> None:
        """Add ``ranges`` to every row of plan.json, where the law has a gradient and one loss is minimised."""
        if within and self._smooth:
            found = near_optimal.ranges(self.fit, self.pools, plans, self.limits, aim=self.aim, within=within)
            for row, one in zip(rows, found, strict=True):
                row["within"] = within
                row["ranges"] = {name: list(pair) for name, pair in one.items()}

    def entries(
        self, rows: list[dict[str, object]], budgets: Sequence[Budget], draws: int
    ) -> list[dict[str, object]] | None:
        """Add ``shares``, the 90 % interval of every pool's planned share over the draws, to every row; return where
        pools enter and leave on the way from each budget to the next larger one."""
        if not (draws and self._smooth):
            return None
        between = _between(budgets, crossings.POINTS)
        new = [one for one in between if all(abs(log(one.tokens / asked.tokens)) > SAME for asked in budgets)]
        many = sorted({*budgets, *new}, key=lambda one: one.tokens)
        found = crossings.paths(self.fit, self.pools, many, self.limits, aim=self.aim, draws=draws, seed=self.seed)
        parts = dict(zip(many, found.table().iter_slices(len(self.pools)), strict=True))
        for row, budget in zip(rows, budgets, strict=True):
            frame = parts[budget].select("pool", "low", "high")
            row["shares"] = {pool: [low, high] for pool, low, high in frame.iter_rows()}
        return [_finite(asdict(one)) | {"text": str(one)} for one in crossings.crossings(found)] if between else None

    def front(self, budgets: Sequence[Budget], evals: tuple[str, str]) -> list[dict[str, object]]:
        """Return the front of two evals at every budget."""
        found = []
        for budget in budgets:
            points = pareto_front.front(self.fit, self.pools, budget, self.limits, evals=evals, seed=self.seed)
            found.append({"tokens": budget.tokens, "params": budget.params, "evals": list(evals),
                          "plans": to_json(points)})  # fmt: skip
        return found

    def keep(self, budgets: Sequence[Budget], order: Sequence[str]) -> dict[str, object]:
        """Return the keep curve of bins, best first, at the budgets, and where it changes between them."""
        found = keep_curve.curve(self.fit, self.pools, budgets, best_first=order)
        record: dict[str, object] = {"bins": list(order), "curve": found.table().to_dicts()}
        if dense := _between(budgets, KEEP_POINTS):
            changes = keep_curve.changes(keep_curve.curve(self.fit, self.pools, dense, best_first=order))
            record["changes"] = [_finite(asdict(one)) | {"text": str(one)} for one in changes]
        return record

    @property
    def _smooth(self) -> bool:
        return self.fit.differentiable and self.aim.worst is None


def _between(budgets: Sequence[Budget], points: int) -> tuple[Budget, ...]:
    """Return budgets from the smallest to the largest, through all of them, ``points`` a decade of tokens; none where
    their tokens do not rise, as where model sizes are compared at one count of tokens."""
    rising = sorted({*budgets}, key=lambda one: one.tokens)
    if len(rising) < 2 or any(log(two.tokens / one.tokens) <= SAME for one, two in pairwise(rising)):
        return ()
    legs = [crossings.between(one, two, points=points) for one, two in pairwise(rising)]
    return (*(budget for leg in legs for budget in leg[:-1]), rising[-1])


def _finite(row: dict[str, object]) -> dict[str, object]:
    """JSON has no infinity: None."""
    return {name: None if value == inf else value for name, value in row.items()}
