"""Show the pools: pools.json."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from curate.pool.pool import load_pools
from curate.reporting.html_page import Section
from curate.storage import files


def pool_section(folder: Path) -> Iterator[Section]:
    """Show the unique tokens and examples of each pool."""
    path = folder / "pools.json"
    if files.exists(path):
        frame = pl.DataFrame({"pool": p.name, "tokens": p.tokens, "examples": p.examples} for p in load_pools(path))
        yield Section("Pools", "Unique tokens and examples of each pool, after pruning.", [], [frame])
