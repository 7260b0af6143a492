"""What `cmr` is asked: the runs, the budgets, the tolerances and what fills the rest of a mixture."""

from collections.abc import Mapping
from dataclasses import dataclass

from curate.continual.critical_ratio import ceiling_of
from curate.pool.pool import Budget, Pool
from curate.runs.continued_runs import Continued


@dataclass(frozen=True)
class Question:
    """What to find for which runs. It is checked before anything is fitted.

    ``pools``: unique tokens. ``replay``: proportions of the pools other than the domain's; see ``share_path``.
    ``tolerances``: nats over the start's general loss, or shares of it if ``relative``. ``largest``: the largest share
    to examine; None: the largest run.

    Raises:
        SchemaError: if a budget's size has no start, or a tolerance is negative.
    """

    continued: Continued
    budgets: tuple[Budget, ...]
    pools: tuple[Pool, ...]
    replay: Mapping[str, float] | str | None
    tolerances: tuple[float, ...]
    relative: bool
    largest: float | None

    def __post_init__(self) -> None:
        """Check that every budget has a start and every tolerance is 0 or more."""
        for budget in self.budgets:
            for tolerance in self.tolerances:
                self.ceiling(budget, tolerance)

    def ceiling(self, budget: Budget, tolerance: float) -> float:
        """Return the ceiling of general loss, in nats per token, for the model of this budget."""
        return ceiling_of(self.continued.start(budget.params)[0], tolerance, relative=self.relative)

    @property
    def proportions(self) -> Mapping[str, float] | None:
        """The fixed proportions of the other pools; None if they are by size, or searched for."""
        return None if isinstance(self.replay, str) else self.replay

    @property
    def longest_run(self) -> float:
        """Tokens of the longest run."""
        return float(self.continued.runs.recipes().tokens.max())

    @property
    def largest_budget(self) -> Budget:
        """The budget with the most compute."""
        return max(self.budgets, key=lambda budget: budget.flops)
