"""Load a folder of rows with the libraries that people use, for tests: `datasets`, DuckDB and Polars."""

from pathlib import Path

import polars as pl
import pytest


def rows_of_datasets(folder: Path, tmp_path: Path, split: str = "train") -> list[dict[str, object]]:
    """Return the rows of a split of a data set, after checking that streaming gives the same."""
    datasets = pytest.importorskip("datasets")
    options = {"split": split, "cache_dir": str(tmp_path / "cache")}
    whole = list(datasets.load_dataset(str(folder), **options))
    streamed = list(datasets.load_dataset(str(folder), streaming=True, **options))
    assert whole == streamed
    return whole


def rows_of_duckdb(folder: Path, pattern: str = "data/*") -> list[dict[str, object]]:
    """Return the rows of the data files, read by DuckDB."""
    duckdb = pytest.importorskip("duckdb")
    names = sorted(path.name for path in folder.glob(pattern))
    read = "read_parquet" if names[0].endswith(".parquet") else "read_json"
    with duckdb.connect() as connection:
        result = connection.execute(f"select * from {read}('{folder}/{pattern}')")
        columns = [column[0] for column in result.description]
        return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]


def rows_of_polars(folder: Path, pattern: str = "data/*") -> list[dict[str, object]]:
    """Return the rows of the data files, read by Polars."""
    names = sorted(path.name for path in folder.glob(pattern))
    scan = pl.scan_parquet if names[0].endswith(".parquet") else pl.scan_ndjson
    return scan(f"{folder}/{pattern}").collect().to_dicts()
