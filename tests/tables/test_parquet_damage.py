"""Damaged Parquet files: the right rows, or one line that names the row group and the column."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import SchemaError
from curate.tables import readers
from curate.tables.shards import Shard

ROWS, GROUP = 600, 100


def table() -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "id": [f"r{i}" for i in range(ROWS)],
            "text": [" ".join(rng.choice(["one", "two", "three", "four"], 30)) for _ in range(ROWS)],
            "tokens": pa.array(rng.integers(1, 1 << 40, ROWS)),
            "emb.x": pa.array(rng.random((ROWS, 4)).tolist()),
        }
    )


@pytest.mark.parametrize("compression", ["none", "zstd", "snappy"])
def test_every_damage_of_a_file_with_checksums_gives_the_right_rows_or_one_line(tmp_path, compression):
    path = tmp_path / "x.parquet"
    expected = table()
    pq.write_table(expected, path, compression=compression, row_group_size=GROUP, write_page_checksum=True)
    whole, shard = path.read_bytes(), Shard(path, path.name)
    rng = np.random.default_rng(1)
    named = refused = 0
    for place in rng.integers(4, len(whole) - 8, 120):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ int(rng.integers(1, 256))]) + whole[place + 1 :])
        try:
            readers.head(shard)
            rows = pa.Table.from_batches(readers.read(shard, expected.column_names, 64))
        except SchemaError as error:
            refused += 1
            line = str(error)
            assert "\n" not in line
            assert str(path) in line
            named += re.search(r"row group \d, column (id|text|tokens|emb\.x): ", line) is not None
        else:
            # A byte of a page's head that no reader needs, or of a statistic.
            assert rows.equals(expected)
    assert refused > 60
    assert named > 0.8 * refused


def test_damage_without_checksums_never_ends_the_process(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(table(), path, compression="zstd", row_group_size=GROUP)
    whole, shard = path.read_bytes(), Shard(path, path.name)
    rng = np.random.default_rng(2)
    refused = 0
    for _ in range(120):
        start = int(rng.integers(4, len(whole) - 40))
        path.write_bytes(whole[:start] + rng.bytes(32) + whole[start + 32 :])
        try:
            readers.head(shard)
            for _ in readers.read(shard, ["id", "text", "emb.x"], 64):
                pass
        except SchemaError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 40


def test_the_damaged_row_group_is_named_where_small_groups_are_read_together(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(table(), path, compression="zstd", row_group_size=GROUP)
    column = pq.read_metadata(path).row_group(4).column(1)
    body = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    body[start + 30 : start + column.total_compressed_size] = bytes(column.total_compressed_size - 30)
    path.write_bytes(body)
    with pytest.raises(SchemaError, match=r"x.parquet cannot be read: row group 4, column text: .* Replace or remove"):
        list(readers.read(Shard(path, path.name), ["id", "text"], 4096))


@pytest.mark.parametrize("rows", [0, 3])
def test_files_without_rows_or_row_groups_are_read(tmp_path, rows):
    path = tmp_path / "x.parquet"
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(rows):
            writer.write_table(schema.empty_table())
    assert readers.head(Shard(path, path.name)).rows == 0
    assert list(readers.read(Shard(path, path.name), ["text"], 10)) == []
