"""A training set of conversations or joined columns has these columns as they came, beside the text that was scored."""

import csv
import json

import polars as pl
import pytest

from curate.errors import Interrupted
from curate.pruning import make_pools
from curate.scoring import score
from curate.training_set.job import materialize

TALKS = [
    [
        {"role": "user", "content": f"How much is {i} and 1?"},
        {"role": "assistant", "content": f"It is {i + 1}.", "weight": i},
    ]
    for i in range(30)
]
COLUMNS = ["id", "source", "text", "tokens", "pool", "epoch"]


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def drawn(folder, **options):
    """Score a folder and draw every row of it once; the rows by id."""
    out = folder / "train"
    score.score([str(folder / "data")], ["length"], folder / "scores", **options)
    result = materialize(make_pools.pools(folder / "scores"), out, shard_rows=7)
    rows = pl.concat(pl.read_parquet(path) for path in sorted(out.glob("part-*.parquet")))
    return result, {row["id"]: row for row in rows.iter_rows(named=True)}


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "json", "arrow"])
def test_conversations_are_written_as_they_came(tmp_path, kind):
    rows = [{"id": f"r{i}", "messages": talk} for i, talk in enumerate(TALKS)]
    data = tmp_path / "data" / f"a.{kind}"
    data.parent.mkdir()
    if kind == "jsonl":
        lines(data, rows)
    elif kind == "json":
        data.write_text(json.dumps(rows))
    elif kind == "parquet":
        pl.DataFrame(rows).write_parquet(data)
    else:
        pl.DataFrame(rows).write_ipc(data)
    result, by_id = drawn(tmp_path, text_column="messages", render="chat")
    assert result.columns == ("messages",)
    assert list(by_id["r0"]) == [*COLUMNS, "messages"]
    for i, talk in enumerate(TALKS):
        assert by_id[f"r{i}"]["messages"] == [{"weight": None, **message} for message in talk]
        assert by_id[f"r{i}"]["text"].startswith(f"user: How much is {i} and 1?\n\nassistant: ")
    assert "It was made of `messages`" in (tmp_path / "train" / "README.md").read_text()


def test_joined_columns_are_written_as_they_came(tmp_path):
    rows = [{"prompt": f"ask {i}", "answer": None if i % 5 == 0 else f"answer {i}", "source": "web"} for i in range(25)]
    lines(tmp_path / "data" / "a.jsonl", rows[:9])
    with (tmp_path / "data" / "b.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ["prompt", "answer", "source"])
        writer.writeheader()
        writer.writerows(rows[9:17])
    pl.DataFrame(rows[17:]).write_parquet(tmp_path / "data" / "c.parquet")
    _, by_id = drawn(tmp_path, join=["prompt", "answer"])
    assert len(by_id) == 25
    by_prompt = {row["prompt"]: row for row in by_id.values()}
    for row in rows:
        assert by_prompt[row["prompt"]]["answer"] == row["answer"]
        assert by_prompt[row["prompt"]]["text"] == "\n\n".join(filter(None, (row["prompt"], row["answer"])))


def test_a_column_with_the_name_of_another_column_of_training_sets_is_renamed(tmp_path):
    lines(tmp_path / "data" / "a.jsonl", [{"source": f"eins {i}", "target": f"one {i}"} for i in range(5)])
    _, by_id = drawn(tmp_path, join=["source", "target"])
    row = next(iter(by_id.values()))
    assert list(row) == [*COLUMNS, "input_source", "target"]
    assert row["text"] == f"{row['input_source']}\n\n{row['target']}"


def test_conversations_of_several_types_are_json_text(tmp_path):
    parts = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    lines(tmp_path / "data" / "a.jsonl", [{"id": "parts", "messages": parts}, {"id": "plain", "messages": TALKS[0]}])
    pl.DataFrame({"id": ["table"], "messages": [TALKS[1]]}).write_parquet(tmp_path / "data" / "b.parquet")
    pl.DataFrame({"id": ["text"], "messages": [json.dumps(TALKS[2])]}).write_parquet(tmp_path / "data" / "c.parquet")
    _, by_id = drawn(tmp_path, text_column="messages", render="chat")
    assert json.loads(by_id["parts"]["messages"]) == parts
    assert json.loads(by_id["plain"]["messages"]) == TALKS[0]
    assert [m["content"] for m in json.loads(by_id["table"]["messages"])] == [m["content"] for m in TALKS[1]]
    assert json.loads(by_id["text"]["messages"]) == TALKS[2]


def test_bad_lines_are_skipped_and_rows_without_text_are_not_drawn(tmp_path):
    path = tmp_path / "data" / "a.jsonl"
    rows = [{"id": f"r{i}", "messages": None if i % 7 == 0 else talk} for i, talk in enumerate(TALKS)]
    lines(path, rows)
    path.write_text(path.read_text().replace('{"id": "r3"', '{"id": r3', 1))
    result, by_id = drawn(tmp_path, text_column="messages", render="chat", max_bad=0.5)
    assert sorted(by_id) == sorted(f"r{i}" for i in range(30) if i % 7 and i != 3)
    assert all(row["messages"][0]["content"] == f"How much is {name[1:]} and 1?" for name, row in by_id.items())
    assert len(result.notes) == 1


def test_held_out_rows_have_the_columns_too_and_files_do_not_depend_on_workers(tmp_path):
    lines(tmp_path / "data" / "a.jsonl", [{"messages": talk} for talk in TALKS])
    pl.DataFrame({"messages": TALKS}).write_parquet(tmp_path / "data" / "b.parquet")
    score.score([str(tmp_path / "data")], ["length"], tmp_path / "scores", text_column="messages", render="chat")
    pools = make_pools.pools(tmp_path / "scores")
    for name, workers in (("one", 1), ("two", 2)):
        materialize(pools, tmp_path / name, shard_rows=7, holdout=0.2, workers=workers)
    for path in sorted((tmp_path / "one").rglob("*.parquet")):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
    held = pl.concat(pl.read_parquet(path) for path in (tmp_path / "one" / "holdout").rglob("*.parquet"))
    assert held.columns == [*COLUMNS, "messages"]
    assert held.height > 3
    assert all(row["text"].endswith(row["messages"][1]["content"]) for row in held.iter_rows(named=True))


def test_a_folder_of_an_older_version_without_the_columns_is_not_continued(tmp_path):
    lines(tmp_path / "data" / "a.jsonl", [{"messages": talk} for talk in TALKS])
    _, _ = drawn(tmp_path, text_column="messages", render="chat")
    record = tmp_path / "train" / "_curate" / "materialize.json"
    content = json.loads(record.read_text())
    del content["arguments"]["columns"]
    record.write_text(json.dumps(content))
    with pytest.raises(Interrupted, match=r"holds another training set: .*columns.*--restart"):
        materialize(make_pools.pools(tmp_path / "scores"), tmp_path / "train", shard_rows=7)


def test_datasets_duckdb_and_polars_read_it(tmp_path):
    datasets, duckdb = pytest.importorskip("datasets"), pytest.importorskip("duckdb")
    lines(tmp_path / "data" / "a.jsonl", [{"messages": talk} for talk in TALKS])
    drawn(tmp_path, text_column="messages", render="chat")
    for streaming in (False, True):
        rows = list(datasets.load_dataset(str(tmp_path / "train"), split="train", streaming=streaming))
        assert sorted(row["messages"][0]["content"] for row in rows) == sorted(talk[0]["content"] for talk in TALKS)
    query = f"select messages[1].content from '{tmp_path}/train/part-*.parquet'"
    assert {row[0] for row in duckdb.sql(query).fetchall()} == {talk[0]["content"] for talk in TALKS}
