"""Tables that are written as one file with a section for each split."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from curate.tables.corpus import array_files

SPLITS = 4


def lists(lengths: list[int]) -> pl.Series:
    """Return lists of whole numbers that share one array of values, as scorers that learn make them."""
    edges = np.cumsum([0, *lengths])
    values = np.arange(edges[-1], dtype=np.uint64)
    return pl.Series("values", pl.from_arrow(pa.LargeListArray.from_arrays(pa.array(edges), pa.array(values))))


@pytest.mark.parametrize("tables", [1, 2, 3])
@pytest.mark.parametrize("lengths", [[0, 1, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0], [2, 5, 1, 4]])
def test_every_section_has_its_rows_in_their_order(tmp_path, lengths, tables):
    """Lists after the first are often empty, each table has two pieces in memory, and one table lacks a section."""
    frames = []
    for number in range(tables):
        pieces = [pl.DataFrame([pl.Series("split", range(SPLITS)), lists(part)]) for part in (lengths, lengths[::-1])]
        frames.append(pl.concat(pieces, rechunk=False).filter(pl.col("split") != number))
    sent = ((frame, frame["split"].to_numpy()) for frame in frames)
    array_files.write_splits(tmp_path / "table", sent, SPLITS)
    rows = pl.concat(frames)
    for split in range(SPLITS):
        section = array_files.read_split(tmp_path / "table", split, SPLITS)
        assert section.equals(rows.filter(pl.col("split") == split))
