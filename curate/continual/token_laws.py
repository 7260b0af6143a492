"""How the critical ratio grows with training: R = a T^s + b, through the ratios of several budgets (Gu et al. 2024)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from curate.continual.critical_ratio import CriticalRatio
from curate.fitting.power_sums import fit_powers
from curate.laws.cmr import UNIT

FEWEST = 4  # budgets: the law has three parameters


@dataclass(frozen=True)
class TokenLaw:
    """The critical ratio R = a T^s + b after T x 0.2e9 tokens, at one tolerance and model size."""

    tolerance: float
    params: float
    a: float
    s: float
    b: float

    def to_json(self) -> dict[str, float]:
        """Return an item of the list ``token_laws`` of cmr.json."""
        return asdict(self)


def token_laws(ratios: Sequence[CriticalRatio], tolerance: float) -> list[TokenLaw]:
    """Return the law in tokens for each model size with critical ratios at FEWEST or more budgets.

    ``ratios``: of this tolerance. Those without a critical share are left out.
    """
    laws = []
    for params in sorted({ratio.budget.params for ratio in ratios}):
        reached = [ratio for ratio in ratios if ratio.budget.params == params and ratio.share is not None]
        if len({ratio.budget.tokens for ratio in reached}) < FEWEST:
            continue
        units = np.array([ratio.budget.tokens / UNIT for ratio in reached])
        law = fit_powers(units, np.array([ratio.share for ratio in reached], dtype=np.float64))
        laws.append(TokenLaw(tolerance, params, law.scales[0], law.exponents[0], law.floor))
    return laws
