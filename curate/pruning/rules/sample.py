"""The rule `sample`."""

from dataclasses import dataclass

import numpy as np

from curate.errors import SchemaError
from curate.pruning.columns.score_column import ScoreValues
from curate.pruning.ranking.codes import codes
from curate.pruning.rules._ranked_rows import Codes, RankedRows
from curate.pruning.rules._rule import Rule


@dataclass(frozen=True)
class Sample(Rule):
    """Sort by score / temperature plus Gumbel noise, the highest first.

    The first n rows are then n draws without replacement, by the softmax of score / temperature (Kool et al. 2019).
    """

    name = "sample"
    summary = "Draw rows at random, with a probability that grows with the score, whatever the score means."
    options = {
        "--temperature": (
            "standard deviations of the score, or raw:T in its own units; near 0 the highest scores are kept, and "
            "below 0 low ones are favoured (default 2, or raw:1 for the logarithm of an importance weight)"
        )
    }

    def check_budget(self) -> None:
        """Check the budget and the temperature."""
        super().check_budget()
        if np.isnan(self.temperature) or self.temperature == 0:
            raise SchemaError(
                f"--temperature {self.temperature:g} must be a number other than 0. Near 0, sample keeps the highest "
                "scores; at inf it draws at random"
            )

    def order(self, ranked: RankedRows) -> Codes:
        """Return the codes of the noisy scores; the noise of a row follows from the hash of its id."""
        values = ranked.column.values

        def noisy(rows: np.ndarray, _: np.ndarray) -> np.ndarray:
            uniform = ((rows["key"] >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
            return codes(-(self._scaled(rows["score"], values) - np.log(-np.log(uniform))))

        return noisy

    def _scaled(self, score: np.ndarray, values: ScoreValues) -> np.ndarray:
        """Return score / temperature, (n,): 0 where all scores are equal or the temperature is infinite."""
        if np.isinf(self.temperature) or (values.deviation == 0 and not self.raw):
            return np.zeros(len(score))
        z = score if self.raw else (score - values.mean) / values.deviation
        return np.asarray(z / self.temperature)

    def words(self, score: str) -> str:
        """Return which values of a score are favoured."""
        end, unit = "high" if self.temperature > 0 else "low", "" if self.raw else " standard deviations"
        return f"sample favours {end} values of {score}, at temperature {self.temperature:g}{unit}"
