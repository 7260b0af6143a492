"""Parquet files carry the number of their format, and a reader refuses a higher one."""

import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import documents

from curate.errors import SchemaError
from curate.tables import batches, file_format, readers, writer
from curate.tables.shards import Shard


def fields(path):
    return file_format.fields(pq.read_metadata(path).metadata)


def test_every_way_to_write_records_the_format(tmp_path):
    frame = documents(5)
    writer.write(tmp_path / "rows.parquet", [frame], metadata={"tokens": "7"})
    writer.save(tmp_path / "runs.parquet", frame)
    writer.write_whole(tmp_path / "whole.parquet", [frame], frame.schema)
    writer.write_part(tmp_path / "part.arrow", [frame], frame.schema)
    writer.join(tmp_path / "joined.parquet", [tmp_path / "part.arrow"], frame.schema)
    for path in tmp_path.glob("*.parquet"):
        assert fields(path) == {"format": file_format.FORMAT}, path
        assert pl.read_parquet(path).equals(frame)
    assert pq.read_metadata(tmp_path / "rows.parquet").metadata[b"tokens"] == b"7"


def test_other_fields_have_room_beside_the_format(tmp_path):
    writer.write(tmp_path / "x.parquet", [documents(2)], fields={"scores": {"length": "quality"}})
    assert fields(tmp_path / "x.parquet") == {"format": 1, "scores": {"length": "quality"}}


@pytest.fixture
def newer(tmp_path):
    """A file of the format after the present one."""
    metadata = {file_format.KEY: json.dumps({"format": file_format.FORMAT + 1})}
    table = pa.table({"text": ["a"]}).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "x.parquet")
    return tmp_path / "x.parquet"


def test_a_higher_format_is_refused_in_one_line(newer):
    shard, message = Shard(newer, "x"), r"x\.parquet has format 2; this curate reads up to 1\. Install a newer curate"
    for read in (readers.head, batches.columns, lambda shard: list(batches.batches(shard, ("text",)))):
        with pytest.raises(SchemaError, match=message) as caught:
            read(shard)
        assert "\n" not in str(caught.value)
    with pytest.raises(SchemaError, match=message):
        file_format.check_file(newer)


@pytest.mark.parametrize("value", ["no JSON", "[1]", '{"format": "x"}', "{}"])
def test_metadata_of_other_programs_is_let_pass(tmp_path, value):
    pq.write_table(pa.table({"text": ["a"]}).replace_schema_metadata({file_format.KEY: value}), tmp_path / "x.parquet")
    assert batches.columns(Shard(tmp_path / "x.parquet", "x"))
    file_format.check_file(tmp_path / "x.parquet")
