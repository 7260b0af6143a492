"""Files of rows beside the data are read by one rule, whichever scorer or command reads them.

They are read like the data, with the columns of ``--columns``, as far as a file has them; without them, by the names
that jobs use; and a file with neither is one clear line.
"""

import inspect
import json
from importlib import import_module
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import documents, one_line

from curate import member_help, open_sets, score
from curate.errors import Interrupted, SchemaError
from curate.runs.pilots import pilot
from curate.scoring import specs
from curate.training_set.job import materialize
from pipelines.shared import cli as console

COLUMNS = "text=body,id=key,emb.x=vector,correct=right,member=used"
NAMES = {"body": "text", "key": "id", "vector": "emb.x", "right": "correct", "used": "member"}
# A scorer and its option: how it is given a file. {file} is the file that is tried, {other} another one.
OPTIONS = {
    ("classifier", "good"): "classifier:good={file},bad={other}",
    ("classifier", "bad"): "classifier:good={other},bad={file}",
    ("contamination", "against"): "contamination:against={file},n=5,shortest=3",
    ("dsir", "target"): "dsir:target={file}",
    ("duplicates", "against"): "duplicates:against={file}",
    ("influence", "target"): "influence:target={file}",
    ("perplexity", "target"): "perplexity:target={file}",
    ("transport_value", "target"): "transport_value:embedding=emb.x,target={file}",
}
# Jobs that read rows of files which need not have been scored. `run` reads them in its step `score`.
READ_ROWS = {"score", "describe", "select", "pilot", "materialize"}
READ_NO_ROWS = {
    *("cmr", "demo", "doctor", "export", "fit", "list", "plan", "pools", "predict", "prune", "report", "schedule"),
    *("status", "why"),
}


def rows(start: int, count: int) -> pl.DataFrame:
    """Rows whose columns have names of their own."""
    rng = np.random.default_rng(start)
    theirs = documents(count, start).select(key="id", body="text")
    return theirs.with_columns(
        pl.Series("vector", rng.normal(size=(count, 4)).astype(np.float32), dtype=pl.Array(pl.Float32, 4)),
        pl.Series("right", (rng.random((count, 6)) < 0.5).tolist(), dtype=pl.List(pl.Boolean)),
        pl.Series("used", (np.arange(6) % 2 == np.arange(count)[:, None] % 2).tolist(), dtype=pl.List(pl.Boolean)),
    )


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Data and others with columns of their own (``theirs``), with those of jobs (``ours``), and with neither."""
    monkeypatch.chdir(tmp_path)
    rows(0, 60).write_parquet("data.parquet")
    rows(100, 30).write_parquet("other.parquet")
    tried = rows(40, 40)
    tried.write_parquet("theirs.parquet")
    tried.rename(NAMES).write_parquet("ours.parquet")
    # Where a file has both, it is read like the data.
    both = tried.rename(NAMES).rename({"id": "key"})
    both.with_columns(body="text", text=pl.lit("nothing")).write_parquet("both.parquet")
    tried.select(title="body", n=pl.int_range(40)).write_parquet("neither.parquet")
    return tmp_path


def scored(name: str, option: str, file: str) -> pl.DataFrame:
    return score("data.parquet", OPTIONS[name, option].format(file=file, other="other.parquet"), columns=COLUMNS)


def test_every_option_that_names_files_is_listed():
    named = {
        (name, option.name)
        for name in open_sets.names("scorers")
        for option in member_help.options("scorers", name)
        if "files, folders or globs" in option.meaning
    }
    assert named == set(OPTIONS)
    assert {option for _, option in OPTIONS} == set(specs.ROW_FILES)


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_a_file_is_read_like_the_data_or_by_the_names_of_jobs(files, name, option):
    like_the_data, by_our_names = scored(name, option, "theirs.parquet"), scored(name, option, "ours.parquet")
    assert like_the_data.equals(by_our_names)
    assert like_the_data.select(pl.selectors.starts_with("score.")).width >= 1
    if name not in ("influence", "transport_value"):
        assert scored(name, option, "both.parquet").equals(like_the_data)


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_a_file_with_neither_is_one_clear_line(files, cli, name, option):
    spec = OPTIONS[name, option].format(file="neither.parquet", other="other.parquet")
    told = one_line(cli("score", "data.parquet", "--scorer", spec, "--columns", COLUMNS, "--out", "out"))
    assert "neither.parquet has no column" in told and "it has title, n" in told
    own = {"contamination": "against_columns=", "duplicates": "against_columns=", "classifier": "column=COLUMN"}
    assert own.get(name, "--columns" if name in ("influence", "transport_value") else "target_column=COLUMN") in told


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_files_of_two_folders_may_have_one_name(files, name, option):
    parts = {"one": pl.read_parquet("theirs.parquet"), "two": rows(200, 20)}
    for folder, part in parts.items():
        Path(folder).mkdir()
        part.write_parquet(Path(folder, "0000.parquet"))
    both = scored(name, option, "one+two")
    pl.concat(parts.values()).write_parquet("joined.parquet")
    assert both.equals(scored(name, option, "joined.parquet"))


def test_an_option_names_the_texts_of_these_files_alone(files):
    as_they_are = score("data.parquet", "dsir:target=theirs.parquet", columns=COLUMNS)
    named = score("data.parquet", "dsir:target=neither.parquet,target_column=title", columns=COLUMNS)
    assert named.equals(as_they_are)
    # It names a column of the file, also where the file has that of the data too.
    nothing = score("data.parquet", "dsir:target=both.parquet,target_column=text", columns=COLUMNS)
    assert not nothing.equals(as_they_are)


def test_conversations_and_joined_columns_are_read_alike(files):
    talk = [[{"role": "user", "content": text}] for text in rows(0, 20)["body"]]
    pl.DataFrame({"messages": talk}).write_parquet("chat.parquet")
    pl.DataFrame({"text": [f"user: {text}" for text in rows(0, 20)["body"]]}).write_parquet("texts.parquet")
    options = {"text_column": "messages", "render": "chat"}
    rendered = score("chat.parquet", "dsir:target=chat.parquet", **options)
    assert rendered.equals(score("chat.parquet", "dsir:target=texts.parquet", **options))
    halves = [text.partition(" ") for text in rows(0, 20)["body"]]
    pairs = pl.DataFrame({"a": [first for first, _, _ in halves], "b": [last for _, _, last in halves]})
    pairs.write_parquet("pairs.parquet")
    pairs.select(text=pl.concat_str("a", "b", separator="\n\n")).write_parquet("joined.parquet")
    joined = score("pairs.parquet", "dsir:target=pairs.parquet", join="a,b")
    assert joined.equals(score("pairs.parquet", "dsir:target=joined.parquet", join="a,b"))


def test_every_job_is_judged():
    assert {*console.jobs()} - {"run", "doctor"} == (READ_ROWS | READ_NO_ROWS) & {*console.jobs()}
    for name in READ_ROWS:
        flags = inspect.signature(import_module(f"pipelines.{name}").main).parameters
        assert {"columns", "text_column", "join", "render"} <= set(flags), name


def pool(where: str, **more: object) -> dict[str, object]:
    return {"name": "all", "tokens": 400, "examples": 60, "where": [where], **more}


def test_select_reads_mapped_columns(files, cli):
    for name in ("a", "b"):
        for end, renamed in (("theirs", {}), ("ours", NAMES)):
            Path(end, f"source={name}").mkdir(parents=True)
            rows(50 * (name == "b"), 30).rename(renamed).write_parquet(Path(end, f"source={name}", "x.parquet"))
    flags = ("--columns", COLUMNS, "--budget", 20, "--encoder", "hashed", "--json")
    mapped = cli("select", "theirs", "--target", "ours.parquet", "--out", "mapped.json", *flags)
    assert mapped.code == 0, mapped.err
    plain = cli("select", "ours", "--target", "ours.parquet", "--out", "plain.json", *flags[2:])
    plans = [json.loads(reply.out)["plans"] for reply in (mapped, plain)]
    assert plans[0] == plans[1]
    assert json.loads(Path("mapped.json").read_text())["made_by"]["arguments"]["columns"] == COLUMNS
    assert "columns" not in json.loads(Path("plain.json").read_text())["made_by"]["arguments"]
    told = one_line(cli("select", "theirs", "--target", "neither.parquet", "--out", "no.json", *flags))
    assert "the target has no column 'text'" in told and "--columns text=COLUMN" in told
    refused = one_line(cli("materialize", "mapped.json", "--out", "no"))
    assert "has no column 'text'" in refused and "--text-column" in refused


def test_a_training_set_is_drawn_from_pools_that_were_not_scored(files, cli):
    tokens = sum(-(-len(text.encode()) // 4) for text in rows(40, 40)["body"])
    for name, file in (("mapped", "theirs.parquet"), ("plain", "ours.parquet")):
        Path(f"{name}.json").write_text(json.dumps({"format": 1, "pools": [pool(file, tokens=tokens)]}))
    drawn = [materialize("mapped.json", "mapped", columns=COLUMNS), materialize("plain.json", "plain")]
    assert [training_set.tokens_noun for training_set in drawn] == ["tokens (bytes / 4)"] * 2
    texts = [pl.read_parquet(f"{name}/part-*.parquet")["text"].sort() for name in ("mapped", "plain")]
    assert drawn[0].record()["pools"] == drawn[1].record()["pools"] and texts[0].equals(texts[1])
    with pytest.raises(Interrupted, match="mapped columns"):
        materialize("mapped.json", "mapped", columns=COLUMNS.replace("id=key,", ""))


def test_targets_of_pilots_are_read_like_the_pools(files, cli):
    Path("pools.json").write_text(json.dumps({"format": 1, "pools": [pool("data.parquet")]}))
    options = {"runs": 1, "params": 1000, "tokens": 600}
    mapped = pilot("pools.json", targets={"x": "theirs.parquet"}, columns=COLUMNS, **options)
    assert mapped.table().equals(pilot("pools.json", targets={"x": "ours.parquet"}, columns=COLUMNS, **options).table())
    in_memory = pilot("pools.json", targets={"x": rows(40, 40)}, columns=COLUMNS, **options)
    assert in_memory.table().equals(mapped.table())
    # Pools that were scored bring the names of their columns.
    score("data.parquet", "length", "scores", columns=COLUMNS)
    assert cli("pools", "scores", "--out", "scored.json").code == 0
    alike = pilot("scored.json", targets={"x": "theirs.parquet"}, **options)
    assert alike.table()["loss.x"].to_list() == mapped.table()["loss.x"].to_list()
    with pytest.raises(SchemaError, match="no target has the column 'bodies' for text.*Correct --columns"):
        pilot("scored.json", targets={"x": "ours.parquet"}, columns="text=bodies", **options)
    with pytest.raises(SchemaError, match="all pools were scored.*Leave out --columns"):
        materialize("scored.json", "out", columns=COLUMNS)


def test_a_compared_data_set_may_have_the_names_of_jobs(files, cli):
    words = ("describe", "data.parquet", "--columns", COLUMNS, "--json", "--against")
    replies = [cli(*words, name) for name in ("theirs.parquet", "ours.parquet")]
    assert replies[0].code == 0, replies[0].err
    records = [{**json.loads(reply.out), "made_by": None} for reply in replies]
    assert records[0] == records[1] and records[0]["rows"]
    told = one_line(cli(*words, "neither.parquet"))
    assert "no column 'body' for text, and none called 'text'" in told and "Rename the column" in told


def test_lines_are_read_by_the_same_rule(files):
    for name in ("theirs", "ours"):
        frame = pl.read_parquet(f"{name}.parquet")
        frame.select(pl.col(pl.String)).write_ndjson(f"{name}.jsonl")
    # A column that first appears late is one that the file has.
    late = [{"n": 1}] * 3000 + [{"body": text} for text in pl.read_parquet("ours.parquet")["text"]]
    Path("late.jsonl").write_text("".join(json.dumps(row) + "\n" for row in late))
    scores = [
        score("data.parquet", f"dsir:target={name}.jsonl", columns="text=body,id=key")
        for name in ("theirs", "ours", "late")
    ]
    assert scores[0].equals(scores[1]) and scores[0].equals(scores[2])


def test_a_job_goes_on_with_its_target(files):
    """The target is part of the job: another column of it is another job."""
    score("data.parquet", "dsir:target=theirs.parquet", "out", columns=COLUMNS)
    assert score("data.parquet", "dsir:target=theirs.parquet", "out", columns=COLUMNS).rows == 0
