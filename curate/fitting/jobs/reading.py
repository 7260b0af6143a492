"""Read the tables of a fit as its arguments say, and record how the fit was made."""

from dataclasses import dataclass

import polars as pl

from curate import open_sets
from curate.errors import SchemaError
from curate.fitting.curves.schedules import schedule_laws, schedule_rows
from curate.fitting.fit_report import FitQuestion
from curate.fitting.jobs import questions
from curate.runs import envelope as envelopes
from curate.runs import run_table
from curate.runs.runs import Runs
from curate.runs.sources import read_tables
from curate.runs.sources.column_map import ColumnMap
from curate.runs.sources.read_tables import Tables
from curate.runs.trainings.training_keys import Checkpoints
from curate.storage import artifacts

SHOWN_SWEEPS = 20  # rows that are printed of the lowest losses of sweeps


@dataclass(frozen=True)
class TableReading:
    """The arguments of `curate.fit` that say how its tables are read. There they are described.

    ``swept`` are the columns of ``envelope``.
    """

    where: str | None
    target: str | None
    columns: ColumnMap
    source: str | None
    checkpoints: Checkpoints
    swept: tuple[str, ...]
    metric_kind: str | None

    def read(self, tables: Tables, law: str, *, losses: bool) -> tuple[Runs, tuple[str | pl.DataFrame, ...]]:
        """Return the runs, and what to show of the sweeps among them. With ``losses`` they must have a loss.

        Raises:
            SchemaError: if the tables are no run table, or ``law`` is a curve and sweeps are to be replaced.
        """
        curve = questions.is_curve(law)
        absent = schedule_rows.ABSENT if open_sets.parse(law)[0] in schedule_laws.LAWS else {}
        runs = run_table.read(
            tables,
            where=self.where,
            target=self.target,
            losses=losses and not curve,
            map=self.columns.expressions,
            source=self.source,
            # Sizes do not matter to a curve, and many tables of steps have none.
            counts=not curve,
            absent=absent,
            checkpoints=self.checkpoints,
        )
        if not self.swept:
            return runs, ()
        if curve:
            raise SchemaError(f"--envelope is for laws over recipes, and --law {law} is a curve. Leave one of them out")
        sweeps = envelopes.envelope(runs, self.swept)
        return sweeps.runs, ("Lowest losses of the sweeps:", sweeps.minima.head(SHOWN_SWEEPS))

    def made_by(self, runs: Tables, question: FitQuestion) -> dict[str, object]:
        """Return the record of how a fit was made: its arguments, the seed, and the hashes of the tables."""
        tables = read_tables.recorded(runs)
        arguments = {
            "where": self.where,
            "target": self.target,
            "envelope": ",".join(self.swept) or None,
            "metric_kind": self.metric_kind,
            "checkpoints": self.checkpoints,
            **read_tables.how_read(self.columns, self.source),
            "law": ",".join(question.laws),
            "eval": ",".join(question.evals),
            "holdout": question.holdout,  # None: the default for the run table
            "starts": question.options.starts,
            "draws": question.options.draws,
            "stack": question.stack,
            "by": question.by,
            "on": question.on,
            "tokens_per_param": question.tokens_per_param,
            "metric": ",".join(question.metrics),
            "runs": tables.argument,
        }
        return artifacts.made_by(arguments, tables.files, question.options.seed, tables.hashes)
