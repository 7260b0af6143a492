"""Heads of Arrow IPC files against what pyarrow says once it has unpacked them."""

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import SchemaError
from curate.tables import readers
from curate.tables.formats import arrow_ipc
from curate.tables.shards import Shard

MB = 1 << 20
CODECS = [None, "zstd", "lz4"]


def written(path, table, codec=None, rows=1000):
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    return Shard(path, path.name)


def table(rows=2500):
    rng = np.random.default_rng(0)
    text = ["word " * int(n) for n in rng.integers(0, 30, rows)]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rng.random(rows * 8, np.float32)), 8)
    coded = pa.array([["a", None, "ccc"][i % 3] for i in range(rows)]).dictionary_encode()
    return pa.table({"id": [f"r{i}" for i in range(rows)], "text": text, "emb.x": vectors, "source": coded})


@pytest.mark.parametrize("codec", CODECS)
def test_rows_and_sizes_are_those_of_the_batches(tmp_path, codec):
    shard = written(tmp_path / "x.arrow", table(), codec)
    with pa.memory_map(str(shard.path)) as source, pa.ipc.open_file(source) as reader:
        dictionaries, batches = arrow_ipc.blocks(source)
        result = [reader.get_batch(i) for i in range(reader.num_record_batches)]
    assert [b.rows for b in batches] == [b.num_rows for b in result] == [1000, 1000, 500]
    assert len(dictionaries) == 1
    for block, batch in zip(batches, result, strict=True):
        plain = sum(b.size for column in batch.columns for b in column.buffers() if b is not None)
        assert block.unpacked == pytest.approx(plain, rel=0.02)  # buffers in memory are padded
        assert (block.packed < 0.9 * block.unpacked) == (codec is not None)
    assert [rows for rows, _ in readers.head(shard).groups] == [1000, 1000, 500]
    assert sum(b.num_rows for b in readers.read(shard, ["text"], 300)) == 2500


def test_a_batch_that_grows_beyond_reason_is_a_bomb(tmp_path):
    shard = written(tmp_path / "x.arrow", pa.table({"text": ["a" * (40 * MB)] * 3}), "zstd")
    assert shard.path.stat().st_size < MB
    before = pa.total_allocated_bytes()
    with pytest.raises(SchemaError, match="grows from .* to 120 MB, like a compression bomb"):
        next(readers.read(shard, ["text"], 10))
    assert pa.total_allocated_bytes() - before < MB


def test_a_dictionary_is_a_bomb_too(tmp_path):
    coded = pa.DictionaryArray.from_arrays(np.zeros(3, np.int32), pa.array(["a" * (100 * MB)]))
    shard = written(tmp_path / "x.arrow", pa.table({"text": coded}), "zstd")
    with pytest.raises(SchemaError, match="a compression bomb"):
        next(readers.read(shard, ["text"], 10))


def test_damage_is_one_line(tmp_path):
    """Every cut, and every byte of the tail turned over: an error in one line or the rows, nothing else."""
    shard = written(tmp_path / "x.arrow", table(50), "lz4")
    whole = shard.path.read_bytes()
    rng = np.random.default_rng(1)
    spoiled = [whole[:n] for n in rng.integers(0, len(whole), 40)]
    for place in rng.integers(len(whole) - 700, len(whole), 120):
        spoiled.append(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
    refused = 0
    for body in spoiled:
        shard.path.write_bytes(body)
        try:
            readers.head(shard)
            list(readers.read(shard, ["text"], 10))
        except SchemaError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 60


def test_a_damaged_count_makes_no_list_of_billions(tmp_path):
    shard = written(tmp_path / "x.arrow", pa.table({"text": ["a"] * 10}))
    body = bytearray(shard.path.read_bytes())
    place = body.rfind((3).to_bytes(4, "little") + bytes(16))  # the count of buffers: validity, offsets, bytes
    body[place : place + 4] = (4_000_000).to_bytes(4, "little")
    shard.path.write_bytes(body)
    tracemalloc.start()
    with pytest.raises(SchemaError, match="4000000 records and ends before them"):
        readers.head(shard)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MB


def test_heads_of_small_buffers_are_few_requests_to_a_store(tmp_path):
    shard = written(tmp_path / "x.arrow", table(), "zstd", rows=50)
    requests = []

    class Counted:
        def __init__(self, source):
            self.size, self.read = source.size, source.read_at

        def read_at(self, length, offset):
            requests.append(length)
            return self.read(length, offset)

    with pa.memory_map(str(shard.path)) as source:
        plain = arrow_ipc.blocks(Counted(source))
        each = len(requests)
        assert arrow_ipc.blocks(Counted(source), 1 << 16) == plain
    assert len(plain[1]) == 50
    assert len(requests) - each < 15 < 300 < each


def test_only_the_columns_asked_for_are_unpacked(tmp_path):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.random.default_rng(0).random(80_000, np.float32)), 8)
    shard = written(
        tmp_path / "x.arrow",
        pa.table({"text": ["a"] * 10_000, "emb.x": vectors, "id": ["b"] * 10_000}),
        "zstd",
        rows=10_000,
    )
    del vectors
    rows = readers.read(shard, ["id", "text"], 100)
    before = pa.total_allocated_bytes()
    assert next(rows).schema.names == ["id", "text"]
    assert pa.total_allocated_bytes() - before < 160_000  # the vectors alone are twice that


def streamed(path, table, codec=None, rows=1000, **options):
    options = pa.ipc.IpcWriteOptions(compression=codec, **options)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    return Shard(path, path.name)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("ending", [".arrow", ".arrows", ".feather"])
def test_a_stream_gives_the_rows_of_a_file(tmp_path, codec, ending):
    file, stream = written(tmp_path / "x.arrow", table(), codec), streamed(tmp_path / f"y{ending}", table(), codec)
    assert readers.head(stream) == readers.head(file)
    for names in (["text"], ["source", "id"], None):
        for start in (0, 1, 999, 1000, 2400):
            rows = [pa.Table.from_batches(readers.read(shard, names, 300, start=start)) for shard in (file, stream)]
            assert rows[0].equals(rows[1])
            assert rows[0].num_rows == 2500 - start


@pytest.mark.parametrize("kind", [pa.ipc.new_file, pa.ipc.new_stream])
@pytest.mark.parametrize("names", [["id", "text", "emb.x"], ["id", "text", "source"]])
def test_batches_before_the_first_row_are_not_unpacked(kind, names, tmp_path):
    rows, path = table().select(names), tmp_path / "x.arrow"
    with pa.OSFile(str(path), "wb") as sink:
        with kind(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_table(rows, max_chunksize=250)
    for start in (0, 1, 249, 250, 251, 999, 1000, 2250, 2499, 2500):
        read = [batch["id"].to_pylist() for batch in readers.read(Shard(path, "x.arrow"), ["id"], 100, start=start)]
        assert sum(read, []) == rows["id"].to_pylist()[start:]
    if "source" in names and kind is pa.ipc.new_stream:
        return  # its dictionary lies between the schema and the first batch
    # A batch that is damaged is noticed only by those who unpack it.
    data = path.read_bytes()
    first = data.index(b"\x04\x22\x4d\x18", 1000)  # a buffer of the first batch begins with the magic number of LZ4
    path.write_bytes(data[:first] + b"\0" * 200 + data[first + 200 :])
    with pytest.raises(SchemaError, match="cannot be read"):
        list(readers.read(Shard(path, "x.arrow"), ["id", "text"], 100))
    assert sum(b.num_rows for b in readers.read(Shard(path, "x.arrow"), ["id", "text"], 100, start=500)) == 2000


def test_a_stream_of_an_old_arrow_and_one_without_an_end_are_read(tmp_path):
    old = streamed(tmp_path / "old.arrow", table().drop(["source"]), use_legacy_format=True)
    assert sum(batch.num_rows for batch in readers.read(old, ["text"], 300)) == 2500
    stream = streamed(tmp_path / "y.arrow", table())
    stream.path.write_bytes(stream.path.read_bytes()[:-8])
    assert sum(batch.num_rows for batch in readers.read(stream, ["text"], 300)) == 2500


def test_a_stream_that_was_cut_short_is_refused_before_any_row(tmp_path):
    stream = streamed(tmp_path / "y.arrow", table())
    stream.path.write_bytes(stream.path.read_bytes()[:-5000])
    with pytest.raises(SchemaError, match="y.arrow cannot be read: the stream ends within a block, at byte .* of "):
        readers.head(stream)


@pytest.mark.parametrize("coded", [False, True])
def test_a_stream_can_be_a_bomb(tmp_path, coded):
    text = pa.array(["a" * (40 * MB)] * 3)
    shard = streamed(tmp_path / "x.arrow", pa.table({"text": text.dictionary_encode() if coded else text}), "zstd")
    assert shard.path.stat().st_size < MB
    before = pa.total_allocated_bytes()
    if coded:  # one value of 40 MB in three rows is no bomb
        assert sum(batch.num_rows for batch in readers.read(shard, ["text"], 10)) == 3
        return
    with pytest.raises(SchemaError, match="grows from .* to 120 MB, like a compression bomb"):
        next(readers.read(shard, ["text"], 10))
    assert pa.total_allocated_bytes() - before < MB


@pytest.mark.parametrize("write", [written, streamed])
def test_a_value_of_a_dictionary_in_many_rows_is_a_bomb(tmp_path, write):
    coded = pa.DictionaryArray.from_arrays(np.zeros(5000, np.int16), pa.array(["a" * (2 * MB)]))
    shard = write(tmp_path / "x.arrow", pa.table({"text": coded}), "zstd", rows=10_000)
    with pytest.raises(SchemaError, match="x.arrow: text of rows from 0 on grows from .* like a compression bomb"):
        next(readers.read(shard, ["text"], 4096))


@pytest.mark.parametrize("write", [written, streamed])
def test_more_rows_than_any_file_of_this_size_holds_are_refused(tmp_path, write):
    shard = write(
        tmp_path / "x.arrow", pa.table({"text": pa.Array.from_buffers(pa.null(), 2**31 - 1, [None])}), rows=2**31
    )
    with pytest.raises(
        SchemaError, match=r"x.arrow says that it has 2.147e\+09 rows in \d+ bytes, like a compression bomb"
    ):
        readers.head(shard)


def test_damage_in_a_stream_is_one_line(tmp_path):
    shard = streamed(tmp_path / "x.arrow", table(50), "lz4")
    whole = shard.path.read_bytes()
    refused = 0
    for place in np.random.default_rng(1).integers(0, len(whole), 150):
        shard.path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            readers.head(shard)
            list(readers.read(shard, None, 10))
        except SchemaError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 30


def test_feather_of_version_1_is_told_what_it_is(tmp_path):
    path = tmp_path / "x.arrow"
    path.write_bytes(b"FEA1" + bytes(40) + b"FEA1")
    with pytest.raises(SchemaError, match="it is in Feather V1: write it as one of these, or as Parquet"):
        readers.head(Shard(path, path.name))
