"""Folders as `datasets` writes them: the rows of the data set, and nothing of its records and caches."""

import json

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pytest

from curate.errors import SchemaError
from curate.scoring import score
from curate.tables.batches import batches, shards


def saved(folder, texts: list[list[str]], **state) -> None:
    """Write a data set as ``Dataset.save_to_disk`` of `datasets` 2.14 and later does, a shard for each list."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{len(texts):05d}.arrow" for i in range(len(texts))]
    features = {"text": {"dtype": "string", "_type": "Value"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}, "fingerprint": "0c1d"})}
    for name, part in zip(names, texts, strict=True):
        stream(folder / name, part, metadata)
    (folder / "dataset_info.json").write_text(json.dumps({"citation": "", "features": features}))
    record = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": "0c1d",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    (folder / "state.json").write_text(json.dumps(record | state, indent=2))


def stream(path, texts: list[str], metadata: dict[str, str] | None = None) -> None:
    schema = pa.schema([pa.field("text", pa.string())], metadata=metadata)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for start in range(0, len(texts), 2):
            writer.write_table(pa.table({"text": texts[start : start + 2]}, schema=schema))


def texts_of(item) -> dict[str, list[str]]:
    return {
        shard.relative: pl.concat(list(batches(shard, ("text",))))["text"].to_list() for shard in shards([str(item)])
    }


def test_a_saved_data_set_is_read(tmp_path):
    saved(tmp_path / "d", [["a", "bb", "ccc"], ["dddd"]])
    stream(tmp_path / "d" / "cache-4f2a.arrow", ["of an earlier step"])
    assert texts_of(tmp_path / "d") == {
        "data-00000-of-00002.arrow": ["a", "bb", "ccc"],
        "data-00001-of-00002.arrow": ["dddd"],
    }
    done = score.score(str(tmp_path / "d"), "length", tmp_path / "out", on_error="fail")
    assert done.scores().collect().select("source", "score.length").rows() == [("d", 1), ("d", 2), ("d", 3), ("d", 4)]


def test_a_dictionary_of_splits_is_read_and_each_split_is_a_source(tmp_path):
    saved(tmp_path / "d" / "train", [["a"], ["b"]])
    saved(tmp_path / "d" / "test", [["c"]], _indices_files=[])
    (tmp_path / "d" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    assert texts_of(tmp_path / "d") == {
        "test/data-00000-of-00001.arrow": ["c"],
        "train/data-00000-of-00002.arrow": ["a"],
        "train/data-00001-of-00002.arrow": ["b"],
    }
    assert {shard.source for shard in shards([str(tmp_path / "d")])} == {"train", "test"}


@pytest.mark.parametrize("key", ["_indices_files", "_indices_data_files"])
def test_a_selection_of_rows_is_refused(tmp_path, key):
    saved(tmp_path / "d", [["a"]], **{key: [{"filename": "indices.arrow"}]})
    with pytest.raises(SchemaError, match=r"state.json selects some rows .*flatten_indices\(\).save_to_disk"):
        shards([str(tmp_path / "d")])


def test_a_missing_file_is_named(tmp_path):
    saved(tmp_path / "d", [["a"], ["b"]])
    (tmp_path / "d" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(SchemaError, match=r"state.json names data-00001-of-00002.arrow, which is missing. Copy all 2"):
        shards([str(tmp_path / "d")])


@pytest.mark.parametrize("text", ["{}", '{"_data_files": 3}', '{"_data_files": ["a"]}'])
def test_another_file_of_that_name_changes_nothing(tmp_path, text):
    stream(tmp_path / "a.arrow", ["a"])
    (tmp_path / "state.json").write_text(text)
    assert texts_of(tmp_path) == {"a.arrow": ["a"]}
