r"""Prepend to the text of a row a line that names its domain, such as ``source: books`` and an empty line.

In: a column of the data. Out: tags, and how many tokens they count.
The form is that of MeCo, ``URL: en.wikipedia.org\n\n`` before the document (Gao et al. 2025, arXiv 2501.01956): models
that see where a text is from need fewer tokens. The last tenth of their training has no tags, so that the model works
without them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from curate import open_sets
from curate.errors import SchemaError
from curate.models import token_counter
from curate.storage.files import content_hash
from curate.tables import readers, scored, token_counts
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


def tokens(tag: pl.Series, tokenizer: str = "") -> np.ndarray:
    """Return the tokens (n,) that tags count, each by itself: those of a tokenizer, or a quarter of the bytes."""
    if not tokenizer:
        return np.asarray((tag.str.len_bytes().to_numpy().astype(np.int64) + BYTES_PER_TOKEN - 1) // BYTES_PER_TOKEN)
    # Few tags stand in many rows.
    distinct = tag.unique()
    counts = token_counter.load(tokenizer).count(distinct.to_list())
    return tag.replace_strict(distinct, counts, return_dtype=pl.Int64).to_numpy()


@dataclass(frozen=True)
class TagCounter:
    """How the tokens of tags are counted in the rows of a folder of scores.

    ``tokenizer`` is the one that counted the texts. If it is empty, counts are estimates (bytes / 4), and ``reason``
    says why, unless the counts of the texts are estimates too.
    """

    tokenizer: str = ""
    reason: str = ""


def counter(scores: str) -> TagCounter:
    """Return how tokens of tags are counted: with the tokenizer that counted the texts, if it is as it was."""
    if not scores:
        return TagCounter()
    kind = scored.token_counts(Path(scores))
    if kind == token_counts.COLUMN:
        return TagCounter("", "a column of the inputs counts the tokens of the texts, and not those of tags")
    if kind != token_counts.TOKENIZER:
        return TagCounter()
    record = scored.job(Path(scores))
    specs = [open_sets.parse(str(spec)) for spec in cast(Sequence[object], record["scorers"])]
    names = [str(options["tokenizer"]) for name, options in specs if name == "length" and options.get("tokenizer")]
    if not names:
        return TagCounter("", "a scorer of your own counted the tokens of the texts")
    hashes = cast(Mapping[str, str], record.get("targets", {}))
    if lost := next((path for path in hashes if path == names[-1] and not Path(path).exists()), None):
        return TagCounter("", f"{lost}, which counted the tokens of the texts, is gone")
    try:
        token_counter.load(names[-1])
    except SchemaError as error:
        return TagCounter("", str(error))
    if any(hashes.get(str(path)) != content_hash(path) for path in token_counter.files_of(names[-1])):
        return TagCounter("", f"tokenizer={names[-1]} is not the one any more that counted the tokens of the texts")
    return TagCounter(names[-1])
