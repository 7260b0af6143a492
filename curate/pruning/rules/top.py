"""The rule `top`."""

from dataclasses import dataclass

from curate.pruning.rules._rule import Rule


@dataclass(frozen=True)
class Top(Rule):
    """Keep the best rows of a quality score."""

    name = "top"
    summary = "Keep the best rows of a quality score: those with the highest scores."
    serves = ("quality",)
    trims = False

    @property
    def sign(self) -> float:
        """Return -1: high scores come first."""
        return -1.0

    def words(self, score: str) -> str:
        """Return which values of a score are kept."""
        return f"top keeps the highest values of {score}"
