"""Read how much is to be kept: a share of the rows, a number of rows, or a number of tokens.

In: the options --keep, --keep-rows and --keep-tokens. Out: a `KeepBudget`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from curate.errors import SchemaError

Unit = Literal["share", "rows", "tokens"]
FLAGS: Mapping[Unit, str] = {"share": "--keep", "rows": "--keep-rows", "tokens": "--keep-tokens"}


@dataclass(frozen=True)
class KeepBudget:
    """What is kept: ``amount`` is a share of the rows that are ranked, a number of rows, or a number of tokens."""

    amount: float
    unit: Unit = "share"

    def __post_init__(self) -> None:
        """Check the amount."""
        if self.unit == "share" and not 0 < self.amount <= 1:
            raise SchemaError(
                f"--keep {self.amount:g} must be a share of the rows in (0, 1], such as 0.3. Only --rule threshold "
                "takes a score; --keep-rows and --keep-tokens take numbers"
            )
        # Not a number is not larger than 0 either.
        whole = self.unit == "share" or (self.amount > 0 and np.isfinite(self.amount) and self.amount % 1 == 0)
        if not whole:
            raise SchemaError(f"{self.flag} {self.amount:g} must be a whole number above 0, such as 20e9 or 20B")

    @property
    def flag(self) -> str:
        """Return the option that gives this budget."""
        return FLAGS[self.unit]

    @property
    def in_tokens(self) -> bool:
        """Return whether tokens are counted rather than rows."""
        return self.unit == "tokens"

    @property
    def things(self) -> str:
        """Return what is counted: rows or tokens."""
        return "tokens" if self.in_tokens else "rows"

    def weights(self, tokens: np.ndarray) -> np.ndarray:
        """Return what each row counts, (n,): its tokens, or 1."""
        return tokens if self.in_tokens else np.ones(len(tokens), np.int64)

    def target(self, total: int) -> int:
        """Return how many rows or tokens are kept out of ``total`` that are ranked."""
        return round(self.amount * total) if self.unit == "share" else int(self.amount)

    def share(self, total: int) -> float:
        """Return the share of ``total`` rows or tokens that is kept."""
        return self.amount if self.unit == "share" else self.amount / max(1, total)

    def option(self) -> dict[str, float]:
        """Return the option and its value, as records of a job hold them."""
        return {self.flag.removeprefix("--").replace("-", "_"): self.amount}
