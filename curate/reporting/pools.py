"""Show the pools, and what pruning kept and removed: pools.json and kept/removal.parquet."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import polars as pl
import pyarrow.parquet as pq

from curate.pool.pool import load_pools
from curate.pruning.removal_table import TABLE
from curate.reporting.html_page import Section
from curate.storage import completion, files
from curate.tables import file_format


def pool_section(folder: Path) -> Iterator[Section]:
    """Show the unique tokens and examples of each pool."""
    path = folder / "pools.json"
    if files.exists(path):
        frame = pl.DataFrame({"pool": p.name, "tokens": p.tokens, "examples": p.examples} for p in load_pools(path))
        yield Section("Pools", "Unique tokens and examples of each pool, after pruning.", [], [frame])


def removal_section(folder: Path) -> Iterator[Section]:
    """Show the rows and tokens that pruning kept and removed, by source and reason, and its warnings."""
    path = folder / "kept" / TABLE
    completion.require(folder / "kept", "prune")
    if files.exists(path):
        with files.opened(path) as source:
            table = pq.read_table(source)
        file_format.check(path, table.schema.metadata)
        fields = file_format.fields(table.schema.metadata)
        lines = [
            str(fields.get("summary", "")),
            *(f"Warning: {line}." for line in cast(list[str], fields.get("warnings", []))),
        ]
        yield Section("Pruning: what is kept, and why rows were dropped", " ".join(lines), [], [pl.DataFrame(table)])
