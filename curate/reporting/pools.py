"""Show the pools, and what pruning kept and removed: pools.json and kept/removal.parquet."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import SchemaError
from curate.pool.pool import load_pools
from curate.pruning.removal_table import TABLE
from curate.reporting.html_page import Section
from curate.shown import shortened
from curate.storage import completion, files, s3, schema
from curate.tables import file_format, scored


class RemovalForm(TypedDict, total=False):
    """The fields in the metadata of removal.parquet."""

    summary: str
    warnings: list[str]
    tokens_noun: str


def pool_section(folder: Path) -> Iterator[Section]:
    """Show the unique tokens and examples of each pool."""
    path = folder / "pools.json"
    if files.exists(path):
        pools = load_pools(path)
        noun = scored.tokens_noun_of(pools)
        frame = pl.DataFrame({"pool": p.name, noun: p.tokens, "examples": p.examples} for p in pools)
        yield Section("Pools", f"Unique {noun} and examples of each pool, after pruning.", [], [frame])


def removal_section(folder: Path) -> Iterator[Section]:
    """Show the rows and tokens that pruning kept and removed, by source and reason, and its warnings."""
    path = folder / "kept" / TABLE
    completion.require(folder / "kept", "prune")
    if files.exists(path):
        remedy = "run `curate prune` again"
        try:
            with files.opened(path) as source:
                table = pq.read_table(source)
            # polars panics on metadata that is not UTF-8, which the file may have.
            frame = pl.DataFrame(table.replace_schema_metadata(None))
        except (pa.ArrowException, pl.exceptions.PolarsError) as error:
            raise SchemaError(f"{s3.shown(path)} cannot be read ({shortened(str(error))}): {remedy}") from None
        file_format.check(path, table.schema.metadata)
        fields = schema.check(file_format.fields(table.schema.metadata), RemovalForm, s3.shown(path), remedy)
        # Files of older versions do not say where tokens were counted.
        frame = frame.rename({"tokens": fields.get("tokens_noun", "tokens")}, strict=False)
        lines = [fields.get("summary", ""), *(f"Warning: {line}." for line in fields.get("warnings", []))]
        yield Section("Pruning: what is kept, and why rows were dropped", " ".join(lines), [], [frame])
