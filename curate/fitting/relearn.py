"""Loss of continued pretraining over its learning rates (Wang et al. 2025, arXiv 2505.07796).

L(t) = L0 + A (S1 + S1')^-alpha - C1 S2 - C2 S2' + B (1 - (1 + E S1')^-beta): S1 and S2 of ``curate.fitting.annealing``
before, primed after training has continued on other data, which shifts the loss by up to B. The paper finds the shift
the same for every starting step and size; the share of replay enters through B. Read from a secondary source: what it
leaves open is said in ``areas``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from curate.errors import FitError
from curate.fitting import least_squares
from curate.fitting.annealing import DELTA, MEMORY, s1_s2

COMMON = ("L0", "A", "alpha", "C1", "C2", "E", "beta")  # of all curves; all positive
STARTS = tuple(product((0.5, 0.8), (0.3, 1.0), (3.0, 30.0)))  # L0 over the lowest loss, alpha, E times the largest S1'
WEAK = 1e-8  # precision around the start, of log losses with noise of 1e-4: decides only what the curves do not


@dataclass(frozen=True)
class Areas:
    """Of one curve's t steps: ``s1`` (t,) whole area under the learning rate, ``s2`` (t,) annealing of the first
    training; ``s1_after``, ``s2_after`` (t,) of what followed, 0 before."""

    s1: Tensor
    s2: Tensor
    s1_after: Tensor
    s2_after: Tensor

    def take(self, rows: Tensor | slice) -> "Areas":
        """Return the areas at positions."""
        return Areas(self.s1[rows], self.s2[rows], self.s1_after[rows], self.s2_after[rows])


def areas(learning_rates: Tensor, begun: int, memory: float = MEMORY) -> Areas:
    """(t,) learning rates of all steps, of which the first ``begun`` are the first training.

    Each training has its own annealing: that of the first stays as it ended. Warming up again counts as negative
    annealing, from the last rate of the first training.
    """
    if not 0 < begun < len(learning_rates):
        raise FitError(
            f"training continues after step {begun} of {len(learning_rates)}: give both the steps before and after"
        )
    s1, s2 = s1_s2(learning_rates[:begun], memory)
    s1_after, s2_after = s1_s2(learning_rates[begun - 1 :], memory)
    zeros = torch.zeros_like(s1)
    after = s1_after[1:] - s1_after[0]
    return Areas(
        s1=torch.cat([s1, s1[-1] + after]),
        s2=torch.cat([s2, s2[-1].expand(len(after))]),
        s1_after=torch.cat([zeros, after]),
        s2_after=torch.cat([zeros, s2_after[1:]]),
    )


def curve(theta: Mapping[str, Tensor | float], shift: Tensor | float, at: Areas) -> Tensor:
    """(t,) loss in nats per token; ``theta`` has COMMON, ``shift`` is B: above 0 for data that training has left."""
    learned = theta["A"] * at.s1 ** -theta["alpha"] - theta["C1"] * at.s2 - theta["C2"] * at.s2_after
    return theta["L0"] + learned + shift * (1 - (1 + theta["E"] * at.s1_after) ** -theta["beta"])


def fit(curves: Sequence[tuple[Areas, Tensor]]) -> tuple[dict[str, float], list[float]]:
    """Fit COMMON and one B a curve to curves of (areas, losses (t,)), by Huber on log loss; steps may be thinned.

    The curves of one model: the same first training, continued on different mixtures.
    """
    m, n = len(curves), sum(len(loss) for _, loss in curves)
    if n < len(COMMON) + m:
        raise FitError(f"{n} losses cannot determine {len(COMMON) + m} parameters: give more steps of the {m} curves")
    fields = [torch.cat([getattr(at, name) for at, _ in curves]) for name in Areas.__dataclass_fields__]
    which = torch.cat([torch.eye(m, dtype=torch.float64)[i].expand(len(loss), m) for i, (_, loss) in enumerate(curves)])
    if not bool((fields[2] > 0).any()):
        raise FitError("no loss after training continued: the shift needs some")
    k = len(COMMON)

    def predict(u: Tensor, row: least_squares.Rows) -> Tensor:
        theta = dict(zip(COMMON, u[:k].exp(), strict=True))
        return curve(theta, u[k:] @ row[4], Areas(*row[:4])).clamp_min(1e-6).log()

    start = torch.stack([_start(curves, *one) for one in STARTS])
    target = torch.cat([loss for _, loss in curves]).log().expand(len(start), -1)
    found = least_squares.least_squares(
        predict, (*fields, which),
        least_squares.Problems(
            start, target, torch.ones_like(target), delta=torch.full((len(start),), DELTA, dtype=torch.float64),
            centre=start, precision=torch.full_like(start, WEAK),
        ),
    )  # fmt: skip
    best = found.point[found.objective.argmin()]
    return dict(zip(COMMON, best[:k].exp().tolist(), strict=True)), best[k:].tolist()


def _start(curves: Sequence[tuple[Areas, Tensor]], part: float, alpha: float, speed: float) -> Tensor:
    """(k + m,) where a fit starts: a floor below the lowest loss, the first loss, and shifts from first to last."""
    floor = part * min(float(loss.min()) for _, loss in curves)
    at, loss = curves[0]
    scale = max(float(loss[0]) - floor, 1e-3) * float(at.s1[0]) ** alpha
    longest = max(float(at.s1_after.max()) for at, _ in curves)
    common = torch.tensor([floor, scale, alpha, 0.3, 0.3, speed / longest, 0.5], dtype=torch.float64).log()
    shifts = [float(loss[-1] - loss[int((at.s1_after > 0).double().argmax())]) for at, loss in curves]
    return torch.cat([common, torch.tensor(shifts, dtype=torch.float64)])
