"""The rule `easy`."""

from dataclasses import dataclass

from curate.pruning.rules._rule import DIFFICULTIES, Rule


@dataclass(frozen=True)
class Easy(Rule):
    """Keep the easiest rows of a difficulty score."""

    name = "easy"
    summary = "Keep the easiest rows: the lowest of a hardness score, the highest of an easiness score."
    serves = DIFFICULTIES

    @property
    def sign(self) -> float:
        """Return the factor of scores that puts the easiest rows first."""
        return self.harder

    def words(self, score: str) -> str:
        """Return which values of a score are kept."""
        return f"easy keeps the {'highest' if self.sign < 0 else 'lowest'} values of {score}"
