"""Texts with which a scorer compares: the rows of ``target=``, examples of the texts that are wanted.

In: a file, folder or glob. Out: columns of texts, batch by batch.
"""

from collections.abc import Iterator

import polars as pl

from curate.errors import SchemaError
from curate.tables import batches


def texts(target: str, text_column: str, scorer: str) -> Iterator[pl.Series]:
    """Yield the texts of a file, folder or glob, batch by batch.

    Raises:
        SchemaError: if ``target`` is empty, or has no such column.
    """
    if not target:
        raise SchemaError(
            f"{scorer} has no target. Name a file or folder of texts like those that you want more of: "
            f"{scorer}:target=PATH"
        )
    for shard in batches.shards([target]):
        for batch in batches.batches(shard, ("text",), reading=batches.Reading(text_column=text_column)):
            yield batch["text"]
