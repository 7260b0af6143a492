"""Hold the ends of descents from many starts, and choose the best minima of each eval."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

FAR = 0.1  # two solutions further apart than this in any coordinate are two minima
NEARLY_AS_GOOD = 1.1  # a second minimum counts if its objective is at most this many times the best one


@dataclass(frozen=True)
class Minima:
    """The solutions of m evals, and the noise and priors with which they were found.

    ``point`` (m, k); ``other`` (m, k), a second minimum that is nearly as good, or the same point; ``noise`` (m,) of
    log loss; ``centre`` and ``width`` (m, k) of the priors.
    """

    point: Tensor
    other: Tensor
    noise: Tensor
    centre: Tensor
    width: Tensor

    def ends(self) -> "Ends":
        """Return the points as ends: the first of every eval, and the second where there is one."""
        second = torch.nonzero((self.other != self.point).any(dim=1))[:, 0]
        evals = torch.cat([torch.arange(len(self.point)), second])
        point = torch.cat([self.point, self.other[second]])
        return Ends(evals, point, torch.zeros(len(point), dtype=torch.float64))

    def with_ends(self, ends: "Ends") -> "Minima":
        """Return the minima with those of some evals replaced by the best ends."""
        evals, point, other = ends.two_minima()
        return replace(self, point=self.point.index_copy(0, evals, point), other=self.other.index_copy(0, evals, other))


@dataclass(frozen=True)
class Ends:
    """Where s descents ended: ``evals`` (s,) are positions of evals, ``point`` (s, k) and ``objective`` (s,)."""

    evals: Tensor
    point: Tensor
    objective: Tensor

    @staticmethod
    def of_starts(points: Tensor) -> "Ends":
        """Return the starts ``points`` (m, s, k) of m evals, whose objectives are not known yet."""
        m, s, k = points.shape
        objective = torch.full((m * s,), torch.inf, dtype=points.dtype)
        return Ends(torch.arange(m).repeat_interleave(s), points.reshape(m * s, k), objective)

    def part(self, rows: Tensor) -> "Ends":
        """Return the ends at these positions, or where a mask is true."""
        return Ends(self.evals[rows], self.point[rows], self.objective[rows])

    def and_also(self, others: "Ends") -> "Ends":
        """Return these ends and others together."""
        return Ends(*(torch.cat([getattr(self, name), getattr(others, name)]) for name in self.__dataclass_fields__))

    def distinct(self, count: int | None = None) -> "Ends":
        """Return the ends without those near a better one of the same eval: the best ``count`` of every eval."""
        kept: dict[int, list[int]] = {}
        for i in self.objective.argsort(stable=True).tolist():
            same = kept.setdefault(int(self.evals[i]), [])
            near = bool(same) and float((self.point[same] - self.point[i]).abs().amax(dim=1).min()) <= FAR
            if not near and (count is None or len(same) < count):
                same.append(i)
        return self.part(torch.tensor([i for same in kept.values() for i in same]))

    def two_minima(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the (e,) evals, their best points (e, k), and second-best ones (e, k).

        The second is a minimum that is nearly as good, or the best point again.
        """
        ends = self.distinct()
        evals, first, second = sorted(set(ends.evals.tolist())), [], []
        for i in evals:
            places = torch.nonzero(ends.evals == i)[:2, 0]
            near = ends.objective[places[-1]] < NEARLY_AS_GOOD * ends.objective[places[0]]
            first.append(places[0])
            second.append(places[-1] if near else places[0])
        return torch.tensor(evals), ends.point[torch.stack(first)], ends.point[torch.stack(second)]
