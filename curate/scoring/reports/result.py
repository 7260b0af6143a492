"""What a scoring job did, and the scores that it wrote."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from curate.errors import SchemaError, files_set_aside, first_few
from curate.scoring.reports import status
from curate.storage import s3
from curate.tables import scored

if TYPE_CHECKING:
    from curate.charts.chart import Chart


@dataclass(frozen=True, repr=False)
class Scored:
    """What a call of `score` did.

    ``rows`` were scored now, ``shards`` are all input files, ``quarantined`` holds those that were set aside with their
    reasons. ``bad_lines`` counts the lines that were set aside alone, for each file that has any. ``notes`` are of
    scorers on what they learned, such as how much their scores depend on chance.
    """

    out: Path
    rows: int
    shards: int
    warnings: tuple[str, ...]
    quarantined: Mapping[str, str]
    notes: tuple[str, ...] = ()
    bad_lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def tokens_noun(self) -> str:
        """What people read for the column ``tokens``: ``tokens``, or ``tokens (bytes / 4)`` where they are guesses."""
        return scored.tokens_noun([self.out])

    def table(self) -> pl.DataFrame:
        """Return one row for each input file: ``shard, state, rows, why``."""
        schema = {"shard": pl.String, "state": pl.String, "rows": pl.Int64, "why": pl.String}
        return pl.DataFrame(status.status(self.out), schema=schema)

    def scores(self) -> pl.LazyFrame:
        """Return all scores as a lazy frame: ``id, source, tokens, score.<name>...``, in file and row order."""
        paths = [s3.shown(shard.path) for shard in scored.score_files(self.out)]
        # Diagonal, since only files with class labels have the column `label`.
        return pl.concat([pl.scan_parquet(path, glob=False) for path in paths], how="diagonal")

    def chart(self, column: str = "") -> "Chart":
        """Return a histogram of one score, a colour for each source. The default is the first score.

        Raises:
            SchemaError: if there is no such score.
        """
        from curate.charts import row_charts

        scores = self.scores()
        columns = [name for name in scores.collect_schema().names() if name.startswith("score.")]
        if not columns or column not in ("", *columns):
            raise SchemaError(f"{self.out} has no score {column!r}; it has {first_few(columns, near=column) or 'none'}")
        chosen = column or columns[0]
        return row_charts.histogram(scores.select("source", chosen).collect(), chosen)

    def __repr__(self) -> str:
        """Return one line with the counts, and one for the files that were set aside."""
        lines = [f"Scored({self.rows} rows scored now, {self.shards} files, out={s3.shown(self.out)!r})"]
        if self.quarantined:
            first = next(iter(self.quarantined.values()))
            lines.append(f"{files_set_aside(len(self.quarantined), self.shards)}, the first: {first}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the counts, the warnings and the table for a notebook."""
        notes = [repr(self).split("\n")[0], *(f"warning: {line}" for line in self.warnings), *self.notes]
        return "".join(f"<p>{escape(note)}</p>" for note in notes) + self.table()._repr_html_()
