"""Scoring a folder: resume, refusal, determinism, a killed process."""

import inspect
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import get_type_hints

import numpy as np
import polars as pl
import pytest
from conftest import console, documents, tree

from curate.engines.local import Local
from curate.errors import Interrupted, SchemaError
from curate.pruning import make_pools, prune
from curate.scoring import score, worker
from curate.scoring.reports import status
from curate.scoring.score_options import FolderOptions
from curate.tables import batches, scored

SPECS = ("length", "compression", "embedding:width=16", "prototypes:k=3")


def frames(out):
    return {name: pl.read_parquet(out / name) for name in tree(out) if name.endswith(".scores.parquet")}


def test_one_score_file_per_input_file_with_one_row_per_row(corpus, tmp_path):
    before = tree(corpus)
    assert score.score([str(corpus)], SPECS, tmp_path / "out").rows == 100
    assert tree(corpus) == before, "the input was modified"
    scores = frames(tmp_path / "out")
    assert sorted(scores) == sorted(f"{name}.scores.parquet" for name in before)
    for name, frame in scores.items():
        data = pl.read_parquet(corpus / name.removesuffix(".scores.parquet"))
        assert frame["id"].equals(data["id"])
        assert frame.columns == [
            "id",
            "source",
            "tokens",
            "score.length",
            "score.compression",
            "emb.hashed",
            "score.prototypes",
            "cluster.prototypes",
        ]
        assert frame["score.length"].equals(data["text"].str.len_chars().cast(pl.Float64).alias("score.length"))
        assert set(frame["source"]) == {name.split("/")[0].removeprefix("source=")}


def test_one_and_two_workers_write_identical_bytes(corpus, tmp_path):
    for workers in (1, 2):
        score.score([str(corpus)], SPECS, tmp_path / str(workers), engine=Local(workers))
    assert tree(tmp_path / "1") == tree(tmp_path / "2")


@pytest.mark.parametrize("rows", [1, 7, 20, 1000])
def test_the_batch_size_does_not_change_scores(corpus, tmp_path, rows):
    whole, small = tmp_path / "whole", tmp_path / "small"
    score.score([str(corpus)], ("length", "repetition"), whole)
    score.score([str(corpus)], ("length", "repetition"), small, batch_rows=rows)
    assert all(frame.equals(frames(whole)[name]) for name, frame in frames(small).items())


def test_only_what_is_missing_is_scored_again(corpus, tmp_path):
    out = tmp_path / "out"
    score.score([str(corpus)], SPECS, out)
    full = tree(out)
    assert score.score([str(corpus)], SPECS, out).rows == 0
    (out / "source=a" / "0.parquet.scores.parquet").unlink()
    assert [row["state"] for row in status.status(out)].count("to do") == 1
    assert score.score([str(corpus)], SPECS, out).rows == 20
    assert tree(out) == full


def test_an_output_without_its_manifest_entry_is_done_again(corpus, tmp_path):
    out = tmp_path / "out"
    score.score([str(corpus)], ("length",), out)
    (out / "_curate" / "score" / "source=a" / "0.parquet.json").unlink()
    assert score.score([str(corpus)], ("length",), out).rows == 20


def test_a_touched_but_equal_input_is_done(corpus, tmp_path):
    score.score([str(corpus)], ("length",), tmp_path / "out")
    os.utime(corpus / "source=a" / "0.parquet", (1, 1))
    assert score.score([str(corpus)], ("length",), tmp_path / "out").rows == 0


def test_a_new_input_file_is_added(corpus, tmp_path):
    score.score([str(corpus)], ("length",), tmp_path / "out")
    documents(7, 900).write_parquet(corpus / "new.parquet")
    assert score.score([str(corpus)], ("length",), tmp_path / "out").rows == 7


def change_input(corpus):
    documents(20, 500).write_parquet(corpus / "source=a" / "0.parquet")
    return {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (change_input, r"source=a/0\.parquet: the rows of input .*0\.parquet changed"),
        (lambda corpus: {"scorers": ("length", "compression")}, r"scorers changed \(length -> length, compression\)"),
        (lambda corpus: {"scorers": ("compression",)}, r"scorers changed \(length -> compression\)"),
        (lambda corpus: {"batch_rows": 5}, r"batch rows changed \(4096 -> 5\)"),
    ],
)
def test_another_job_is_refused_with_the_reason_until_restart(corpus, tmp_path, change, reason):
    out = tmp_path / "out"
    score.score([str(corpus)], ("length",), out)
    old = tree(out)
    arguments = {"scorers": ("length",), **change(corpus)}
    specs = arguments.pop("scorers")
    with pytest.raises(Interrupted, match=reason) as caught:
        score.score([str(corpus)], specs, out, **arguments)
    assert "--restart" in str(caught.value)
    assert tree(out) == old, "a refusal must not change anything"
    assert score.score([str(corpus)], specs, out, restart=True, **arguments).rows == 100
    fresh = tmp_path / "fresh"
    score.score([str(corpus)], specs, fresh, **arguments)
    assert tree(out) == tree(fresh)


def test_status_says_why_it_would_refuse(corpus, tmp_path):
    score.score([str(corpus)], ("length",), tmp_path / "out")
    assert {row["state"] for row in status.status(tmp_path / "out")} == {"done"}
    change_input(corpus)
    (row,) = [row for row in status.status(tmp_path / "out") if row["state"] == "refused"]
    assert row["shard"] == "source=a/0.parquet"
    assert "changed" in row["why"]


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_killed_job_continues_to_the_same_result(tmp_path, workers):
    data, out, calm = tmp_path / "data", tmp_path / "out", tmp_path / "calm"
    data.mkdir()
    # Small files are written in groups, and there are several groups.
    for i in range(4 * worker.TOGETHER):
        long = pl.concat_str([pl.col("text")] * 8, separator="\n")
        documents(8, 8 * i).with_columns(text=long).write_parquet(data / f"{i:03d}.parquet")
    command = console("score", data, "--scorer", "length", "--scorer", "repetition", "--workers", workers)
    running = subprocess.Popen(
        [*command, "--out", str(out)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + 60
    while len(list(out.glob("*.scores.parquet"))) < 3 and time.monotonic() < until:
        time.sleep(0.005)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert 3 <= len(list(out.glob("*.scores.parquet"))) < 4 * worker.TOGETHER, "it was to be killed in the middle"
    assert all(pl.read_parquet(path).height == 8 for path in out.glob("*.scores.parquet")), "a half-written file"
    for folder in (out, calm):
        subprocess.run([*command, "--out", str(folder)], check=True, capture_output=True)
    assert tree(out) == tree(calm)


def test_a_score_that_is_no_number_names_the_row(corpus, tmp_path):
    @dataclass(frozen=True)
    class Broken:
        needs = ("text",)
        schema = {"score.broken": pl.Float64()}

        def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
            return batch.select(pl.when(pl.col("id") == "d3").then(float("nan")).otherwise(1.0).alias("score.broken"))

    (shard, *_) = batches.shards([str(corpus)])
    (batch,) = batches.batches(shard, ("text",))
    with pytest.raises(SchemaError, match=r"score\.broken is not a finite number in 1 rows, the first with id 'd3'"):
        worker.apply((Broken(),), batch)


def test_a_vector_that_is_no_number_is_refused_by_name(tmp_path):
    vectors = np.ones((5, 4), np.float32)
    vectors[2, 1] = np.nan
    documents(5).with_columns(pl.Series("emb.e", vectors, dtype=pl.Array(pl.Float32, 4))).write_parquet(
        tmp_path / "x.parquet"
    )
    with pytest.raises(SchemaError, match="'d2'"):
        score.score([str(tmp_path / "x.parquet")], ("prototypes:k=1,embedding=emb.e",), tmp_path / "out")


def test_a_missing_column_is_an_error_before_any_work(corpus, tmp_path):
    with pytest.raises(SchemaError, match="no column 'body'"):
        score.score([str(corpus)], ("length",), tmp_path / "out", text_column="body")
    assert not (tmp_path / "out").exists()


def test_what_was_learned_is_kept(corpus, tmp_path):
    out = tmp_path / "out"
    score.score([str(corpus)], SPECS, out)
    (learned,) = (out / "_curate" / "learned").glob("*.npz")
    stamp = learned.stat().st_mtime_ns
    (out / "source=b" / "1.parquet.scores.parquet").unlink()
    score.score([str(corpus)], SPECS, out)
    assert learned.stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (("nosuch",), "unknown scorer 'nosuch'"),
        (("length:x=1",), "has no option 'x'"),
        (("embedding", "prototypes:q=1"), "has no option 'q'"),
        (("embedding", "prototypes:sampel=1"), "has no option 'sampel'; did you mean 'sample'?"),
        (("embedding", "prototypes:k=2.5"), "prototypes: k=2.5 is not a whole number"),
        (("embedding", "semdedup:epsilon=a"), "semdedup: epsilon=a is not a number"),
        (("embedding:width=x",), "embedding: width=x is not a whole number"),
        (("el2n:epochs=0,logits=3",), "el2n: logits=3 is not true or false"),
        (("prototypes:k=2,embedding=text",), "embedding=text is not a column of vectors"),
        (("embedding", "prototypes:k=1000"), "k=1000"),
        (("prototypes:k=2",), r"emb\.hashed"),
        (("length", "length"), "length"),
    ],
)
def test_wrong_scorers_are_named_in_one_line(corpus, tmp_path, specs, message):
    from curate.errors import CurateError

    with pytest.raises(CurateError, match=message) as caught:
        score.score([str(corpus)], specs, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_an_empty_shard_among_others_does_not_stop_the_job(corpus, tmp_path):
    documents(0).write_parquet(corpus / "empty.parquet")
    assert score.score([str(corpus)], ("length",), tmp_path / "out").rows == 100
    assert pl.read_parquet(tmp_path / "out" / "empty.parquet.scores.parquet").height == 0


@pytest.mark.parametrize("name", ["empty.parquet", "empty.jsonl"])
def test_scores_of_a_file_without_rows_have_the_columns_of_the_others(corpus, tmp_path, name):
    documents(0).write_parquet(corpus / name) if name.endswith(".parquet") else (corpus / name).touch()
    out = tmp_path / "out"
    assert score.score([str(corpus)], SPECS, out).rows == 100
    assert len({tuple(frame.schema.items()) for frame in frames(out).values()}) == 1
    pruned = prune.prune(out, tmp_path / "kept", by="score.length", keep=0.5)
    assert pruned.table()["rows"].sum() == 100
    decisions = pl.read_parquet(tmp_path / "kept" / f"{name}.keep.parquet")
    assert decisions.height == 0
    assert decisions.schema == {"id": pl.String, "source": pl.String, "keep": pl.Boolean, "reason": pl.String}
    pools = make_pools.pools(out, kept=tmp_path / "kept", by="score.length", bins=2)
    assert sum(pool.examples for pool in pools) == 50
    assert sum(batch.height for pool in pools for batch in scored.pool_batches(pool, ("text",))) == 50


def test_a_folder_of_empty_files_is_refused_where_rows_are_needed(tmp_path):
    documents(0).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(SchemaError, match="no rows to learn from"):
        score.score([str(tmp_path / "x.parquet")], SPECS, tmp_path / "learned")
    assert score.score([str(tmp_path / "x.parquet")], ("length",), tmp_path / "out").rows == 0
    with pytest.raises(SchemaError, match="empty"):
        prune.prune(tmp_path / "out", tmp_path / "kept", by="score.length", keep=0.5)
    with pytest.raises(SchemaError, match="no rows"):
        make_pools.pools(tmp_path / "out")


@pytest.mark.parametrize(
    ("specs", "column"),
    [
        (("length", "length"), "score.length"),
        (("embedding:width=8", "embedding:width=16"), "emb.hashed"),
        (("embedding", "prototypes:k=2", "prototypes:k=3"), "score.prototypes"),
    ],
)
def test_two_scorers_of_one_column_are_refused_before_any_work(corpus, tmp_path, specs, column):
    score.score([str(corpus)], ("length",), tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(SchemaError, match=f"both make {column}"):
        score.score([str(corpus)], specs, tmp_path / "out", restart=True)
    assert tree(tmp_path / "out") == before


def test_an_encoder_that_gives_no_number_never_reaches_the_centres():
    @dataclass(frozen=True)
    class Broken:
        needs = ("text",)
        schema = {"emb.broken": pl.Array(pl.Float32, 2)}

        def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
            vectors = np.ones((batch.height, 2), np.float32)
            vectors[3] = np.inf
            return pl.DataFrame([pl.Series("emb.broken", vectors, dtype=self.schema["emb.broken"])])

    with pytest.raises(SchemaError, match=r"emb\.broken is not a finite number in 1 rows, the first with id 'd3'"):
        worker.apply((Broken(),), documents(5))


def test_what_was_learned_is_learned_again_when_the_input_changes(corpus, tmp_path):
    out = tmp_path / "out"
    score.score([str(corpus)], SPECS, out)
    (old,) = (out / "_curate" / "learned").glob("*.npz")
    change_input(corpus)
    with pytest.raises(Interrupted, match="--restart"):
        score.score([str(corpus)], SPECS, out)
    score.score([str(corpus)], SPECS, out, restart=True)
    (new,) = (out / "_curate" / "learned").glob("*.npz")
    assert new.name != old.name
    score.score([str(corpus)], SPECS, tmp_path / "fresh")
    assert tree(out) == tree(tmp_path / "fresh")


def test_one_more_file_is_scored_with_the_centres_that_come_from_fewer(corpus, tmp_path):
    out = tmp_path / "out"
    score.score([str(corpus)], SPECS, out)
    before = frames(out)
    documents(7, 900).write_parquet(corpus / "new.parquet")
    again = score.score([str(corpus)], SPECS, out)
    assert again.rows == 7
    (note,) = again.notes
    assert note.startswith(
        "prototypes did not learn from 1 new file (new.parquet): it scored with what it learned from 5"
    )
    after = frames(out)
    assert all(after[name].equals(frame) for name, frame in before.items())
    assert len(list((out / "_curate" / "learned").glob("*.npz"))) == 1
    relearned = score.score([str(corpus)], SPECS, out, relearn=True)
    assert relearned.rows == 107 and not relearned.notes
    score.score([str(corpus)], SPECS, tmp_path / "fresh")
    fresh = frames(tmp_path / "fresh")
    assert all(fresh[name].equals(frame) for name, frame in frames(out).items())


def test_what_a_killed_job_left_half_written_is_removed(corpus, tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    out = tmp_path / "out"
    (out / "_curate" / "score").mkdir(parents=True)
    stale = [out / f".x.parquet.scores.parquet.{gone.pid}.tmp", out / "_curate" / "score" / f".x.json.{gone.pid}.tmp"]
    alive = out / f".x.parquet.scores.parquet.{os.getppid()}.tmp"
    for path in (*stale, alive):
        path.touch()
    score.score([str(corpus)], ("length",), out)
    assert not any(path.exists() for path in stale)
    assert alive.exists()


def test_scorers_of_embeddings_follow_each_other_in_one_job(corpus, tmp_path):
    """Each learns from the columns of those before; the bytes do not depend on the workers."""
    specs = (
        "embedding:width=16",
        "prototypes:k=3",
        "density:k=3",
        "semdedup",
        "coverage:planes=4",
        "d2",
        "moderate:by=all",
    )
    for workers in (1, 2):
        score.score([str(corpus)], specs, tmp_path / str(workers), engine=Local(workers))
    assert tree(tmp_path / "1") == tree(tmp_path / "2")
    scores = pl.concat(frames(tmp_path / "1").values())
    assert {n for n in scores.columns if n[:8] == "cluster."} == {"cluster.prototypes", "cluster.density"}
    assert sorted(scores["score.d2"]) == pytest.approx([i / 100 for i in range(1, 101)])
    assert scores["score.semdedup"].is_between(0, 1).all() and scores["score.coverage"].sum() == pytest.approx(0)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (("embedding", "class_prototypes"), "has no column 'label'"),
        (("embedding", "d2"), "has no column 'score.prototypes'"),
        (("prototypes",), "has no column 'emb.hashed'"),
        (("embedding", "prototypes:k=101"), "k=101 centres need 101 rows; there are 100"),
    ],
)
def test_what_a_scorer_of_embeddings_lacks_is_said_before_any_row_is_scored(corpus, tmp_path, specs, message):
    with pytest.raises(SchemaError, match=message):
        score.score([str(corpus)], specs, tmp_path / "out")
    assert not [name for name in tree(tmp_path / "out") if name.endswith(".parquet")]


def test_the_types_of_options_are_those_of_the_signature():
    """The overloads of `score` name each option by a type of its own, so that its signature could differ from them."""
    parameters = inspect.signature(score.score, eval_str=True).parameters.values()
    options = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert get_type_hints(FolderOptions) == options
