"""The result of `cmr`: critical ratios, what they rest on, and further answers, as a table, a chart and cmr.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from curate.continual import ratio_rows
from curate.continual.choose_law import ChosenLaw
from curate.continual.critical_ratio import CriticalRatio
from curate.continual.further.answers import Further
from curate.continual.measured import MeasuredBest
from curate.continual.question import Question
from curate.continual.token_laws import TokenLaw
from curate.fitting import fit_files
from curate.storage import artifacts

if TYPE_CHECKING:
    from curate.charts.chart import Chart

CAVEATS = (
    "only losses are compared, no downstream metric",
    "a ratio holds for its budget: Gu et al. find that longer training lets more domain data in, other runs need not",
    "sizes and repeats count only as far as the chosen law models them and the runs varied them",
)


@dataclass(frozen=True, repr=False)
class CriticalRatios:
    """Critical mixture ratios for all tolerances and budgets.

    ``laws``: the chosen laws of general and of domain loss. ``ratios``: by tolerance, then by budget. ``measured``: the
    best shares that were run. ``token_laws``: how the ratio grows with tokens. ``ratio_warnings``: what to mind about
    single ratios. ``notes``: what to mind about the runs. ``made_by``: arguments and content hashes of the inputs.
    """

    question: Question
    laws: tuple[ChosenLaw, ChosenLaw]
    ratios: tuple[CriticalRatio, ...]
    measured: tuple[MeasuredBest, ...]
    token_laws: tuple[TokenLaw, ...]
    further: Further
    ratio_warnings: tuple[str, ...]
    notes: tuple[str, ...]
    made_by: Mapping[str, object]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to mind about these ratios, and about critical ratios in general."""
        return (*self.ratio_warnings, *CAVEATS)

    @property
    def shown(self) -> CriticalRatio:
        """The ratio whose trade-off is shown: of the largest budget and the last tolerance."""
        tolerance, budget = self.question.tolerances[-1], self.question.largest_budget
        return next(ratio for ratio in self.ratios if ratio.budget == budget and ratio.tolerance == tolerance)

    def table(self) -> pl.DataFrame:
        """Return critical ratios, one row a tolerance and budget; see `ratio_rows.table` for the columns."""
        return ratio_rows.table(self.ratios)

    def chart(self) -> "Chart":
        """Show general and domain loss against the domain's share at the largest budget, with all ceilings."""
        from curate.charts import plan_charts

        ceilings = self.table().filter(tokens=self.shown.budget.tokens, params=self.shown.budget.params)
        return plan_charts.trade_off(
            self.shown.curve, ceilings.select("tolerance", "ceiling").unique(maintain_order=True)
        )

    def to_json(self) -> dict[str, object]:
        """Return the content of cmr.json, without ``made_by``."""
        record: dict[str, object] = {
            "ratios": ratio_rows.to_json(self.ratios),
            "token_laws": [law.to_json() for law in self.token_laws],
            "measured": [best.to_json() for best in self.measured],
            "laws": {law.fit.eval: law.rows.to_dicts() for law in self.laws},
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }
        return record | self.further.to_json([budget.tokens for budget in self.question.budgets])

    def save(self, path: Path | str) -> None:
        """Write cmr.json."""
        artifacts.save(Path(path), "cmr", self.to_json() | {"made_by": self.made_by})

    def save_fits(self, folder: Path | str) -> None:
        """Write the chosen laws as general.json and domain.json, which `predict` reads."""
        for name, law in zip(("general", "domain"), self.laws, strict=True):
            record = fit_files.to_json(law.fit) | {"made_by": self.made_by}
            artifacts.save(Path(folder) / f"{name}.json", "fit", record)

    def __repr__(self) -> str:
        """Return the number of ratios and the one that is shown."""
        shown = self.shown
        return (
            f"CriticalRatios({len(self.ratios)} ratios of pool {shown.pool!r})\n"
            f"{shown.budget.tokens:.3g} tokens, tolerance {shown.tolerance:g}: {shown.note}"
        )

    def _repr_html_(self) -> str:
        from html import escape

        items = "".join(f"<li>{escape(warning)}</li>" for warning in self.warnings)
        return f"{self.table()._repr_html_()}<ul>{items}</ul>"
