"""Long files are cut at row groups into ranges that together have every row once."""

import polars as pl
import pytest

from curate.tables import batches, row_ranges
from curate.tables.row_ranges import RowRange
from curate.tables.shards import Shard


def written(folder, rows, group, name="a.parquet"):
    path = folder / name
    frame = pl.DataFrame({"id": [f"r{i}" for i in range(rows)], "text": ["x" * (i % 5) for i in range(rows)]})
    if name.endswith(".parquet"):
        frame.write_parquet(path, row_group_size=group)
    else:
        frame.write_ndjson(path)
    return Shard(path, name)


@pytest.mark.parametrize("rows, group", [(1000, 100), (1000, 333), (10, 1), (5, 5), (0, 5)])
@pytest.mark.parametrize("size", [1, 700, 3000])
def test_ranges_have_every_row_once_and_end_with_row_groups(rows, group, size, tmp_path, monkeypatch):
    monkeypatch.setattr(row_ranges, "RANGE_BYTES", size)
    shard = written(tmp_path, rows, group)
    ranges = row_ranges.row_ranges(shard)
    frames = [
        pl.concat(
            [
                pl.DataFrame(schema={"id": pl.String}),
                *part.cut(batches.batches(shard, identity=("id",), start=part.first)),
            ]
        )
        for part in ranges
    ]
    assert pl.concat(frames)["id"].to_list() == [f"r{i}" for i in range(rows)]
    assert all(part.first % group == 0 for part in ranges) and ranges[-1].count is None
    assert len(ranges) <= max(1, shard.path.stat().st_size // size)
    if size == 1:
        assert len(ranges) == max(1, -(-rows // group))


def test_files_that_are_small_or_do_not_say_their_rows_are_one_range(tmp_path, monkeypatch):
    shard = written(tmp_path, 1000, 100)
    assert row_ranges.row_ranges(shard) == (RowRange(shard),)
    lines = written(tmp_path, 1000, 100, "a.jsonl")
    monkeypatch.setattr(row_ranges, "RANGE_BYTES", 100)
    assert row_ranges.row_ranges(lines) == (RowRange(lines),)


def test_a_range_says_which_rows_it_has(tmp_path):
    shard = Shard(tmp_path / "a.parquet", "a.parquet")
    assert str(RowRange(shard)) == f"{shard.path}"
    assert str(RowRange(shard, 10, 5)) == f"{shard.path}, rows 10 to 14"
    assert str(RowRange(shard, 15)) == f"{shard.path} from row 15 on"
