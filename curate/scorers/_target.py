"""Texts that a scorer compares with: the rows of ``target=``, files of examples like those that are wanted."""

from collections.abc import Iterator

import polars as pl

from curate import tables
from curate.errors import SchemaError


def texts(target: str, text_column: str, scorer: str) -> Iterator[pl.Series]:
    """Yield the texts of a file, folder or glob, batch by batch."""
    if not target:
        raise SchemaError(
            f"{scorer} has no target: name a file or folder of the texts that you want more of, {scorer}:target=PATH"
        )
    for shard in tables.shards([target]):
        for batch in tables.batches(shard, ("text",), text_column=text_column):
            yield batch["text"]
