"""Select rows of a run table by a condition in SQL, such as ``params > 70M AND corpus = 'c4'``."""

import polars as pl

from curate.errors import first_few
from curate.runs import number_columns
from curate.tables import sql


def rows_where(frame: pl.DataFrame, where: str, origin: str) -> pl.DataFrame:
    """Return the rows for which a condition holds. A word in a number column counts as empty.

    Raises:
        SchemaError: if the condition is not valid SQL, or names a column that does not exist.
    """
    remedy = f"It is a condition in SQL over the columns {first_few(frame.columns)}"
    written = sql.WrittenSql(where, f"--where {where!r}", remedy)
    condition = sql.table_expression(written, frame.columns).alias("where")
    problem = ""
    # If that fails, try again with the words kept, so that a condition can name them, as in loss.web <> 'crashed'.
    for view in (number_columns.converted(frame, words_to_null=True), frame):
        try:
            return frame.filter(view.select(condition)["where"])
        except (pl.exceptions.PolarsError, TypeError) as error:
            problem = problem or sql.detail(error)
    raise written.refusal(f"does not work on {origin} ({problem})")
