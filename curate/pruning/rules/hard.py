"""The rule `hard`."""

from dataclasses import dataclass

from curate.pruning.rules._rule import DIFFICULTIES, Rule


@dataclass(frozen=True)
class Hard(Rule):
    """Keep the hardest rows of a difficulty score."""

    name = "hard"
    summary = "Keep the hardest rows: the highest of a hardness score, the lowest of an easiness score."
    serves = DIFFICULTIES

    @property
    def sign(self) -> float:
        """Return the factor of scores that puts the hardest rows first."""
        return -self.harder

    def words(self, score: str) -> str:
        """Return which values of a score are kept."""
        return f"hard keeps the {'highest' if self.sign < 0 else 'lowest'} values of {score}"
