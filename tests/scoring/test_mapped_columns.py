"""Jobs on files with other names of columns: every format, any number of workers, and what is recorded."""

import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from conftest import one_line

from curate.engines.local import Local
from curate.errors import Interrupted, SchemaError
from curate.pruning.make_pools import pools
from curate.pruning.prune import prune
from curate.scoring import score as scoring
from curate.tables import scored
from curate.training_set.job import materialize

ROWS = 300
COLUMNS = "text=\"Raw Content\",id=DocID,source=lower(meta['domain']),tokens=n_tokens,label=y"
SCORERS = ("length", "duplicates")
THEIRS = pl.DataFrame(
    {
        "Raw Content": [f"a text of number {i // 2} " * 9 for i in range(ROWS)],
        "DocID": range(ROWS),
        "meta": [{"n": i, "domain": f"D{i % 3}.ORG"} for i in range(ROWS)],
        "n_tokens": [i + 1 for i in range(ROWS)],
        "y": [i % 2 for i in range(ROWS)],
        "text": [None if i % 7 else i * 0.5 for i in range(ROWS)],
        "messages": [[{"role": "user", "content": f"question {i}"}] for i in range(ROWS)],
    }
)


def write(folder: Path, kind: str, frame: pl.DataFrame) -> Path:
    """Write a frame as a data set of two files, or as the folder that `save_to_disk` of Hugging Face makes."""
    folder.mkdir(parents=True)
    for i, part in enumerate(frame.iter_slices(200)):
        if kind == "parquet":
            part.write_parquet(folder / f"{i}.parquet", row_group_size=64)
        elif kind == "jsonl":
            (folder / f"{i}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part.to_dicts()))
        elif kind == "arrow":
            part.write_ipc(folder / f"{i}.arrow")
        elif kind == "saved":
            with pa.ipc.new_stream(folder / f"data-{i:05d}-of-00002.arrow", part.to_arrow().schema) as sink:
                sink.write_table(part.to_arrow())
    if kind == "saved":
        names = [{"filename": f"data-{i:05d}-of-00002.arrow"} for i in range(2)]
        (folder / "state.json").write_text(json.dumps({"_data_files": names}))
        (folder / "dataset_info.json").write_text("{}")
    return folder


def scores(out: Path) -> pl.DataFrame:
    paths = [shard.path for shard in scored.score_files(out)]
    return pl.concat([pl.read_parquet(path) for path in paths])


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "arrow", "saved"])
def test_every_format_gives_the_scores_of_our_names(tmp_path, kind):
    ours = THEIRS.select(
        text="Raw Content",
        id=pl.col("DocID").cast(pl.String),
        source=pl.col("meta").struct.field("domain").str.to_lowercase(),
        tokens="n_tokens",
        label="y",
    )
    scoring.score(str(write(tmp_path / "ours", "parquet", ours)), SCORERS, tmp_path / "plain")
    scoring.score(str(write(tmp_path / "theirs", kind, THEIRS)), SCORERS, tmp_path / "out", columns=COLUMNS)
    assert scores(tmp_path / "out").equals(scores(tmp_path / "plain"))
    assert scored.token_counts(tmp_path / "out") == "column"


def test_many_workers_write_the_same_bytes(tmp_path):
    data = str(write(tmp_path / "data", "jsonl", THEIRS))
    outs = tmp_path / "one", tmp_path / "two"
    scoring.score(data, SCORERS, outs[0], columns=COLUMNS)
    scoring.score(data, SCORERS, outs[1], columns=COLUMNS, engine=Local(2))
    for path in sorted(outs[0].glob("*.scores.parquet")):
        assert path.read_bytes() == (outs[1] / path.name).read_bytes()


def test_a_mapping_is_recorded_and_another_one_is_refused(tmp_path):
    data, out = str(write(tmp_path / "data", "parquet", THEIRS)), tmp_path / "out"
    scoring.score(data, "length", out, columns=COLUMNS)
    record = json.loads((out / "_curate" / "score.json").read_text())
    assert record["text_column"] == "Raw Content"
    assert record["columns"]["source"] == "lower(meta['domain'])"
    # Other spellings of the same mapping continue.
    again = scoring.score(data, "length", out, columns=COLUMNS.replace("=DocID", '="DocID"'))
    assert again.rows == 0
    for columns in ("text=Raw Content", COLUMNS.replace("lower", "upper")):
        with pytest.raises(Interrupted, match="columns changed"):
            scoring.score(data, "length", out, columns=columns)
    with pytest.raises(Interrupted, match="render changed"):
        scoring.score(data, "length", tmp_path / "out", text_column="messages", render="chat")


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_later_jobs_read_the_same_way_and_rows_come_back_as_they_were(tmp_path, kind):
    data, out, kept = write(tmp_path / "data", kind, THEIRS), tmp_path / "out", tmp_path / "kept"
    scoring.score(str(data), SCORERS, out, columns=COLUMNS)
    pruned = prune(out, kept, by="score.duplicates", keep=0.5, rule="threshold", max_source_removal=1, materialize=True)
    assert pruned.removal.tokens_noun == "tokens"
    keep = pl.concat([pl.read_parquet(path) for path in sorted(kept.glob("*.keep.parquet"))])["keep"]
    names = sorted((kept / "rows").rglob(f"*.{kind}"))
    rows = pl.concat([pl.read_parquet(n) if kind == "parquet" else pl.read_ndjson(n) for n in names])
    assert rows.equals(THEIRS.filter(keep))
    kept_pools = pools(out, kept=kept)
    assert [pool.name for pool in kept_pools.pools] == ["d0.org", "d1.org", "d2.org"]
    drawn = materialize(kept_pools, tmp_path / "train")
    assert drawn.table()["tokens"].sum() == THEIRS.filter(keep)["n_tokens"].sum()
    texts = pl.read_parquet(tmp_path / "train" / "*.parquet")
    assert sorted(texts["text"]) == sorted(THEIRS.filter(keep)["Raw Content"])


def test_a_changed_mapped_column_is_noticed(tmp_path):
    data, out = write(tmp_path / "data", "parquet", THEIRS), tmp_path / "out"
    scoring.score(str(data), "length", out, columns=COLUMNS)
    part = pl.read_parquet(data / "1.parquet")
    # What no job reads may change.
    part.with_columns(messages=None).write_parquet(data / "1.parquet")
    scored.check_inputs(out)
    part.with_columns(meta=pl.struct(domain=pl.lit("other"))).write_parquet(data / "1.parquet")
    with pytest.raises(SchemaError, match="changed since they were scored"):
        scored.check_inputs(out)


def test_conversations_that_cannot_be_rendered(tmp_path):
    rows = [{"messages": row} for row in THEIRS["messages"].to_list()]
    rows[7] = {"messages": [{"content": "no role"}]}
    rows[8] = {"messages": None}
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = scoring.score(
        str(tmp_path / "x.jsonl"), "length", tmp_path / "out", text_column="messages", render="chat", max_bad=0.1
    )
    assert result.bad_lines == {"x.jsonl": 1}
    assert scores(tmp_path / "out")["score.length"][0] == len("user: question 0")
    pl.DataFrame(rows).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(SchemaError, match=r"messages of row 7 cannot be rendered: message 1 has no role"):
        scoring.score(
            str(tmp_path / "x.parquet"),
            "length",
            tmp_path / "out2",
            text_column="messages",
            render="chat",
            on_error="fail",
        )


def test_a_job_with_only_another_text_column_is_recorded_as_before(tmp_path):
    data, out = str(write(tmp_path / "data", "parquet", THEIRS)), tmp_path / "out"
    scoring.score(data, "length", out, text_column="Raw Content")
    assert "columns" not in json.loads((out / "_curate" / "score.json").read_text())
    assert scoring.score(data, "length", out, columns='text="Raw Content"').rows == 0
    assert scored.token_counts(out) == "estimate"
    assert scored.tokens_noun([out, None]) == "tokens (bytes / 4)"


def test_the_command_line(cli, tmp_path):
    data = write(tmp_path / "data", "parquet", THEIRS)
    arguments = ("score", data, "--scorer", "length", "--out", tmp_path / "out")
    assert "tokens (bytes / 4)" in cli(*arguments, "--text-column", "Raw Content").out
    assert cli("pools", tmp_path / "out", "--out", tmp_path / "pools.json").out.startswith("pool  tokens (bytes / 4)")
    assert '"token_counts": "estimate"' in (tmp_path / "pools.json").read_text()
    cli("prune", tmp_path / "out", "--by", "score.length", "--keep", "0.5", "--out", tmp_path / "kept")
    assert "| source | reason | rows | tokens (bytes / 4) |" in (tmp_path / "kept" / "removal.md").read_text()
    assert "tokens (bytes / 4)" in cli("materialize", tmp_path / "pools.json", "--out", tmp_path / "train").out
    assert cli(*arguments, "--restart", "--columns", COLUMNS).out.endswith("kept\n")
    result = cli(*arguments, "--columns", "text=a", "--text-column", "b")
    assert (result.code, result.err.count("\n")) == (1, 1)
    described = cli("describe", data, "--columns", COLUMNS, "--json").out
    assert [row["source"] for row in json.loads(described)["sources"]] == ["d0.org", "d1.org", "d2.org"]
    forecast = cli(*arguments, "--restart", "--columns", COLUMNS, "--dry-run")
    assert forecast.code == 0


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_null_leaves_a_column_unread(cli, tmp_path, kind):
    frame = pl.DataFrame(
        {"id": ["x", "x"], "source": ["a", "b"], "tokens": [3, 4], "text": ["five words of text..", ""]}
    )
    path = tmp_path / "data" / f"a.{kind}"
    path.parent.mkdir()
    frame.write_parquet(path) if kind == "parquet" else frame.write_ndjson(path)
    words = ("--scorer", "duplicates", "--out", tmp_path / "scores")
    assert "or give --columns id=NULL" in one_line(cli("score", path.parent, *words))
    done = cli("score", path.parent, *words, "--columns", "id=NULL,source=null,tokens=NULL", "--restart")
    assert done.code == 0, done.err
    assert "sizes are in tokens (bytes / 4), an estimate" in done.out
    scored = pl.read_parquet(tmp_path / "scores" / f"a.{kind}.scores.parquet")
    assert scored.select("id", "source", "tokens").rows() == [(f"a.{kind}:0", "data", 5), (f"a.{kind}:1", "data", 0)]


def test_a_column_called_null_is_a_column(cli, tmp_path):
    pl.DataFrame({"NULL": ["a", "b"], "text": ["x", "y"]}).write_csv(tmp_path / "a.csv")
    for written in ("NULL", '"NULL"'):
        words = ("--columns", f"id={written}", "--scorer", "length", "--out", tmp_path / "scores", "--restart")
        assert cli("score", tmp_path / "a.csv", *words).code == 0
        assert pl.read_parquet(tmp_path / "scores" / "a.csv.scores.parquet")["id"].to_list() == ["a", "b"]
