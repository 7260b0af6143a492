"""Texts that a scorer compares with: the rows of ``target=``, files of examples like those that are wanted."""

from collections.abc import Iterator

import polars as pl

from curate.errors import SchemaError
from curate.tables import batches


def texts(target: str, text_column: str, scorer: str) -> Iterator[pl.Series]:
    """Yield the texts of a file, folder or glob, batch by batch."""
    if not target:
        raise SchemaError(
            f"{scorer} has no target: name a file or folder of the texts that you want more of, {scorer}:target=PATH"
        )
    for shard in batches.shards([target]):
        for batch in batches.batches(shard, ("text",), reading=batches.Reading(text_column=text_column)):
            yield batch["text"]
