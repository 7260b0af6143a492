"""Long files are cut at row groups into ranges that together have every row once."""

import polars as pl
import pyarrow.parquet as pq
import pytest

from curate.tables import batches, readers, row_ranges
from curate.tables.reading import Reading
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


def decoded_pieces(monkeypatch):
    """Return a list that receives the rows of each piece that is decoded."""
    pieces = []
    decode = pq.ParquetFile.iter_batches

    def counted(*args, **options):
        for batch in decode(*args, **options):
            pieces.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    return pieces


def test_a_row_deep_in_a_row_group_is_decoded_with_many_others(tmp_path, monkeypatch):
    """An example of removed rows is one row: the rows before it are not decoded one by one."""
    shard = written(tmp_path, 20_000, 20_000)
    pieces = decoded_pieces(monkeypatch)
    frame = next(batches.batches(shard, reading=Reading(batch_rows=1), identity=("id",), start=15_000))
    assert frame["id"].to_list() == ["r15000"]
    assert pieces == [batches.BATCH_ROWS] * 4


@pytest.mark.parametrize("start", [0, 1, 99, 100, 101, 250, 999, 1000])
@pytest.mark.parametrize("batch_rows", [1, 7, 5000])
def test_rows_from_any_row_on_are_those_of_the_whole_file(start, batch_rows, tmp_path):
    shard = written(tmp_path, 1000, 100)
    frames = list(readers.read(shard, ["id"], batch_rows, start=start))
    assert [name for frame in frames for name in frame["id"].to_pylist()] == [f"r{i}" for i in range(start, 1000)]
    assert all(frame.num_rows <= batch_rows for frame in frames)
