"""Heads of Arrow IPC files against what pyarrow says once it has unpacked them."""

import numpy as np
import pyarrow as pa
import pytest

from curate import ipc, readers
from curate.errors import SchemaError
from curate.shards import Shard

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
        dictionaries, batches = ipc.blocks(source)
        found = [reader.get_batch(i) for i in range(reader.num_record_batches)]
    assert [b.rows for b in batches] == [b.num_rows for b in found] == [1000, 1000, 500]
    assert len(dictionaries) == 1
    for block, batch in zip(batches, found, strict=True):
        plain = sum(b.size for column in batch.columns for b in column.buffers() if b is not None)
        assert block.unpacked == pytest.approx(plain, rel=0.02)  # buffers in memory are padded
        assert (block.packed < 0.9 * block.unpacked) == (codec is not None)
    assert [rows for rows, _ in readers.head(shard).groups] == [1000, 1000, 500]
    assert sum(b.num_rows for b in readers.read(shard, ["text"], 300)) == 2500


def test_a_batch_that_grows_beyond_reason_is_a_bomb(tmp_path):
    shard = written(tmp_path / "x.arrow", pa.table({"text": ["a" * (40 * MB)] * 3}), "zstd")
    assert shard.path.stat().st_size < MB
    before = pa.total_allocated_bytes()
    with pytest.raises(SchemaError, match="grows from .* to 120 MB .* a compression bomb"):
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
    for at in rng.integers(len(whole) - 700, len(whole), 120):
        spoiled.append(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
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
