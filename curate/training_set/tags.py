r"""Prepend to the text of a row a line that names its domain, such as ``source: books`` and an empty line.

In: a column of the data. Out: tags, and how many tokens they count.
The form is that of MeCo, ``URL: en.wikipedia.org\n\n`` before the document (Gao et al. 2025, arXiv 2501.01956): models
that see where a text is from need fewer tokens. The last tenth of their training has no tags, so that the model works
without them.
"""

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.tables import readers
from curate.tables.batches import BYTES_PER_TOKEN, Reading, Shard
from curate.tables.columns.arrow_types import is_text

# Domains, topics and hosts are shorter. A longer value is a text rather than a tag, and would take most of the budget.
MOST_BYTES = 256


def check(data: Shard, reading: Reading) -> None:
    """Check that the rows of a file have one column of text to which a tag can be prepended.

    Raises:
        SchemaError: if their text is made of several columns or of a conversation.
    """
    column = reading.column("text")
    columns = readers.head(data, [column]).columns
    # A file of lines without any line has no columns.
    if columns and (column not in columns or not is_text(columns[column])):
        what = f"{column} is {columns[column]}" if column in columns else f"its texts are made of {column}"
        raise SchemaError(
            f"--tag prepends a line to a column of text, and in {data.path} {what}. Leave --tag out, or write the text "
            "as one column"
        )


def tags(column: str, values: pl.Series, data: Shard) -> pl.Series:
    """Return the tag (n,) of each row from its value; empty where the value is null.

    Spaces and line breaks in a value become one space.

    Raises:
        SchemaError: if the values are neither text nor numbers, or one is longer than ``MOST_BYTES``.
    """
    if values.dtype.is_nested() or values.dtype == pl.Binary:
        raise SchemaError(
            f"--tag {column}: in {data.path} it is {values.dtype}, not text or a number. Name another one"
        )
    shown = values.cast(pl.String).str.replace_all(r"\s+", " ").str.strip_chars()
    longest = shown.str.len_bytes().max()
    if isinstance(longest, int) and longest > MOST_BYTES:
        raise SchemaError(
            f"--tag {column}: a value in {data.path} has {longest} bytes, and a tag has at most {MOST_BYTES}. Name a "
            "column of short names"
        )
    return (pl.lit(f"{column}: ") + shown + "\n\n").pipe(lambda tag: pl.select(tag.fill_null("")).to_series())


def tokens(tag: pl.Series) -> np.ndarray:
    """Return the tokens (n,) that tags count: a quarter of their bytes, rounded up."""
    return np.asarray((tag.str.len_bytes().to_numpy().astype(np.int64) + BYTES_PER_TOKEN - 1) // BYTES_PER_TOKEN)
