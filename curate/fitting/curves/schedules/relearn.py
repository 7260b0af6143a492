"""Describe the loss of continued pretraining over its learning rates (Wang et al. 2025, arXiv 2505.07796).

L(t) = L0 + A (S1 + S1')^-alpha - C1 S2 - C2 S2' + B (1 - (1 + E S1')^-beta): S1 and S2 of ``annealing`` for the first
training, primed for the training that continues it on other data, which shifts the loss by up to B. The paper finds
the shift the same for every starting step and size; the share of replay enters through B.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from curate.errors import FitError
from curate.fitting.curves.schedules.annealing import DELTA, SMALLEST_LOSS, s1_s2
from curate.fitting.solver import least_squares
from curate.runs.trainings.annealing_areas import MEMORY

COMMON = ("L0", "A", "alpha", "C1", "C2", "E", "beta")  # the parameters that all curves share; all positive
STARTS = tuple(product((0.5, 0.8), (0.3, 1.0), (3.0, 30.0)))  # L0 over the lowest loss, alpha, E times the largest S1'
# The precision of a prior around the start, for log losses with noise of 1e-4: it decides only what the curves do not.
WEAK_PRECISION = 1e-8


@dataclass(frozen=True)
class Areas:
    """The areas under the learning rate at the t steps of one curve, each (t,).

    ``s1``: whole area so far; ``s2``: annealing of the first training; ``s1_after`` and ``s2_after``: the same of what
    followed, 0 before.
    """

    s1: Tensor
    s2: Tensor
    s1_after: Tensor
    s2_after: Tensor

    def take(self, steps: Tensor | slice) -> "Areas":
        """Return the areas at these steps."""
        return Areas(self.s1[steps], self.s2[steps], self.s1_after[steps], self.s2_after[steps])


def areas(learning_rates: Tensor, first_steps: int, memory: float = MEMORY) -> Areas:
    """Return the areas of (t,) learning rates, of which the first ``first_steps`` belong to the first training.

    Raises:
        FitError: if there are no steps before or after.
    """
    if not 0 < first_steps < len(learning_rates):
        raise FitError(
            f"training continues after step {first_steps} of {len(learning_rates)}. Give the steps before and after"
        )
    s1, s2 = s1_s2(learning_rates[:first_steps], memory)
    # The paper, which we know from a secondary source, leaves open how the two trainings meet. Here each has its own
    # annealing: that of the first stays as it ended. Warming up again counts as negative annealing, from the last rate
    # of the first training.
    s1_after, s2_after = s1_s2(learning_rates[first_steps - 1 :], memory)
    zeros = torch.zeros_like(s1)
    after = s1_after[1:] - s1_after[0]
    return Areas(
        s1=torch.cat([s1, s1[-1] + after]),
        s2=torch.cat([s2, s2[-1].expand(len(after))]),
        s1_after=torch.cat([zeros, after]),
        s2_after=torch.cat([zeros, s2_after[1:]]),
    )


def curve(theta: Mapping[str, Tensor | float], shift: Tensor | float, steps: Areas) -> Tensor:
    """Return the (t,) losses in nats per token.

    ``theta`` holds the parameters COMMON. ``shift`` is B: above 0 for data that training has moved away from.
    """
    learned = theta["A"] * steps.s1 ** -theta["alpha"] - theta["C1"] * steps.s2 - theta["C2"] * steps.s2_after
    return theta["L0"] + learned + shift * (1 - (1 + theta["E"] * steps.s1_after) ** -theta["beta"])


def fit(curves: Sequence[tuple[Areas, Tensor]]) -> tuple[dict[str, float], list[float]]:
    """Fit the parameters COMMON, and a shift B for each curve, to curves of (areas, losses (t,)).

    The curves are of one model: the same first training, continued on different mixtures. Huber's loss on log loss is
    minimised; steps may be thinned.

    Raises:
        FitError: if there are fewer losses than parameters, or none after training continued.
    """
    m, n, k = len(curves), sum(len(loss) for _, loss in curves), len(COMMON)
    if n < k + m:
        raise FitError(f"{n} losses cannot determine {k + m} parameters. Give more steps of the {m} curves")
    fields = [torch.cat([getattr(steps, name) for steps, _ in curves]) for name in Areas.__dataclass_fields__]
    unit = torch.eye(m, dtype=torch.float64)
    which_curve = torch.cat([unit[i].expand(len(loss), m) for i, (_, loss) in enumerate(curves)])
    if not bool((fields[2] > 0).any()):
        raise FitError("no loss after training continued: the shift needs at least one. Give later steps")

    def predict(u: Tensor, row: least_squares.Rows) -> Tensor:
        theta = dict(zip(COMMON, u[:k].exp(), strict=True))
        return curve(theta, u[k:] @ row[4], Areas(*row[:4])).clamp_min(SMALLEST_LOSS).log()

    start = torch.stack([_start(curves, *values) for values in STARTS])
    target = torch.cat([loss for _, loss in curves]).log().expand(len(start), -1)
    problems = least_squares.LeastSquaresProblems(
        start=start,
        target=target,
        weights=torch.ones_like(target),
        delta=torch.full((len(start),), DELTA, dtype=torch.float64),
        centre=start,
        precision=torch.full_like(start, WEAK_PRECISION),
    )
    best = least_squares.least_squares(predict, (*fields, which_curve), problems).best
    return dict(zip(COMMON, best[:k].exp().tolist(), strict=True)), best[k:].tolist()


def _start(curves: Sequence[tuple[Areas, Tensor]], share: float, alpha: float, speed: float) -> Tensor:
    """Return (k + m,) where a fit starts: a floor below the lowest loss, and shifts from first to last loss."""
    floor = share * min(float(loss.min()) for _, loss in curves)
    steps, loss = curves[0]
    scale = max(float(loss[0]) - floor, 1e-3) * float(steps.s1[0]) ** alpha
    longest = max(float(steps.s1_after.max()) for steps, _ in curves)
    common = torch.tensor([floor, scale, alpha, 0.3, 0.3, speed / longest, 0.5], dtype=torch.float64).log()
    shifts = [float(loss[-1] - loss[int((steps.s1_after > 0).double().argmax())]) for steps, loss in curves]
    return torch.cat([common, torch.tensor(shifts, dtype=torch.float64)])
