"""Where long files are cut: by the bytes of their rows, not by those of the file, and always as an earlier job did."""

import json
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from conftest import documents

from curate.engines.local import Local
from curate.scoring import parts, preflight, score
from curate.tables import readers
from curate.tables.scored_inputs.row_hash import BLOCK_ROWS
from curate.tables.shards import Shard

ROWS = 3 * BLOCK_ROWS


def repeated(path: Path, *, dictionary: bool = True) -> Shard:
    """Write rows with 50 different texts of 4 to 8 kB as one row group."""
    texts = [f"{i} {'word ' * (800 + 16 * i)}" for i in range(50)]
    rows = pl.DataFrame({"id": [f"r{i}" for i in range(ROWS)], "text": [texts[i * i % 50] for i in range(ROWS)]})
    pq.write_table(rows.to_arrow(), path, row_group_size=ROWS, use_dictionary=["text"] if dictionary else False)
    return Shard(path, path.name)


def test_texts_in_a_dictionary_are_counted_once_for_each_row(tmp_path):
    coded, plain = repeated(tmp_path / "coded.parquet"), repeated(tmp_path / "plain.parquet", dictionary=False)
    head = readers.head(coded)
    ((rows, size),) = readers.with_decoded_sizes(coded, head, ("text", "id", "absent")).groups or ()
    ((_, true_size),) = readers.head(plain).groups or ()
    assert rows == ROWS
    assert size == pytest.approx(true_size, rel=0.2)
    assert true_size > 100 * sum(size for _, size in head.groups or ())
    # It would be one range by the bytes in the file.
    assert len(parts.spans(head)) == 1
    assert parts.spans(readers.with_decoded_sizes(coded, head, ("text",))) == parts.spans(readers.head(plain))
    assert len(parts.spans(readers.head(plain))) == 3


def test_sizes_that_are_not_estimated(tmp_path):
    plain = repeated(tmp_path / "plain.parquet", dictionary=False)
    head = readers.head(plain)
    assert readers.with_decoded_sizes(plain, head, ("text",)) == head
    documents(20).write_parquet(tmp_path / "small.parquet")
    small = Shard(tmp_path / "small.parquet", "small.parquet")
    assert readers.with_decoded_sizes(small, readers.head(small), ("text",)) == readers.head(small)


@pytest.mark.parametrize(
    ("ranges", "rows", "covers"),
    [
        (((0, 10), (10, 20)), 20, True),
        (((0, None),), 20, True),
        (((0, 10), (10, None)), 20, True),
        (((0, 10), (10, 20)), 21, False),
        (((0, 10), (12, 20)), 20, False),
        (((10, 20),), 20, False),
        ((), 0, False),
    ],
)
def test_which_ranges_cover_a_file(ranges, rows, covers):
    assert parts.cover(ranges, readers.Head({}, ((rows, 100),))) is covers


def test_a_file_stays_cut_as_the_first_job_cut_it(tmp_path, monkeypatch):
    """Estimates of sizes may differ between versions; rows that scorers learned from stay in their parts."""
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    repeated(data / "long.parquet")
    with monkeypatch.context() as patch:
        patch.setattr(preflight.readers, "with_decoded_sizes", lambda shard, head, names: head)
        score.score(data, ("length", "duplicates"), out, engine=Local(1))
    record = out / "_curate" / "corpus.json"
    before = json.loads(record.read_text())["parts"]
    assert len(before) == 1
    old = (out / "long.parquet.scores.parquet").read_bytes()
    documents(4, 900).write_parquet(data / "new.parquet")
    assert score.score(data, ("length", "duplicates"), out, engine=Local(1)).rows == 4
    after = json.loads(record.read_text())["parts"]
    assert before[0] in after and len(after) == 2
    assert (out / "long.parquet.scores.parquet").read_bytes() == old
    score.score(data, ("length", "duplicates"), tmp_path / "fresh", engine=Local(1))
    assert len(json.loads((tmp_path / "fresh" / "_curate" / "corpus.json").read_text())["parts"]) == 4
    assert (tmp_path / "fresh" / "long.parquet.scores.parquet").read_bytes() == old
