"""The distance of mixtures to the target, by one of several measures."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from curate.errors import SchemaError
from curate.transport import distance
from curate.transport.ground_cost import TransportProblem
from curate.transport.nearest_draws import Order, order, reach
from curate.transport.surrogates import Energies, Slices, energies, energy, sliced, slices

KINDS = {"transport": "OT", "sliced": "sliced", "energy": "energy"}  # names of distances, and how tables print them


@dataclass(frozen=True, eq=False)
class MixtureDistance:
    """The distance of mixtures of the sources to the target.

    ``kind``: balanced transport, or the cheaper sliced transport or energy distance (`curate.transport.surrogates`).
    With ``draws`` it is instead the mean distance of a target example to the nearest of so many examples drawn from the
    mixture (`curate.transport.nearest_draws`).
    """

    problem: TransportProblem
    draws: float | None = None
    kind: str = "transport"

    def __post_init__(self) -> None:
        """Raise SchemaError for an unknown kind."""
        if self.kind not in KINDS:
            raise SchemaError(f"no distance {self.kind!r}: there are {', '.join(KINDS)}")

    @property
    def name(self) -> str:
        """The name of the distance in tables."""
        return KINDS[self.kind] if self.draws is None else f"reach {self.draws:g}"

    @cached_property
    def _slices(self) -> Slices:
        return slices(self.problem)

    @cached_property
    def _energies(self) -> Energies:
        return energies(self.problem)

    @cached_property
    def _order(self) -> Order:
        return order(self.problem)

    def __call__(self, weights: Tensor) -> Tensor:
        """Return (m,) distances of mixtures (m, p), in units of the problem's scale; differentiable.

        Raises:
            Unconverged: if balanced transport does not converge.
        """
        if self.draws is not None:
            return reach(self.problem, weights, self.draws, sorted_=self._order)
        if self.kind == "sliced":
            return sliced(self.problem, weights, slices_=self._slices)
        if self.kind == "energy":
            return energy(self.problem, weights, energies_=self._energies)
        # Every solve starts cold: a distance must not depend on which mixtures were solved before.
        return distance.distance(self.problem, weights)
