"""Jobs with scorers that learn: each thing is computed once, in any order of options, and files may be added."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import console, documents, tree

from curate.engines.local import Local
from curate.errors import SchemaError
from curate.scorers import embedding, length, prototypes
from curate.scoring import dependencies, run, score
from curate.scoring.learning import corpus_parts
from curate.scoring.reports import status
from curate.tables.corpus import Corpus, array_files

SPECS = ("length", "embedding:width=16", "prototypes:k=3", "semdedup", "duplicates", "perplexity:bits=10")


def scores(out: Path) -> dict[str, pl.DataFrame]:
    return {name: pl.read_parquet(out / name) for name in tree(out) if name.endswith(".scores.parquet")}


def test_the_order_of_options_changes_no_score(corpus, tmp_path):
    score.score(corpus, SPECS, tmp_path / "a")
    score.score(corpus, tuple(reversed(SPECS)), tmp_path / "b")
    first, second = scores(tmp_path / "a"), scores(tmp_path / "b")
    assert first.keys() == second.keys()
    assert all(frame.select(first[name].columns).equals(first[name]) for name, frame in second.items())


def test_a_job_with_its_scorers_in_another_order_is_the_same_job(corpus, tmp_path):
    score.score(corpus, SPECS, tmp_path / "out")
    before = tree(tmp_path / "out")
    assert score.score(corpus, tuple(reversed(SPECS)), tmp_path / "out").rows == 0
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize("specs", [SPECS, tuple(reversed(SPECS)), ("duplicates", "embedding:width=16", "length")])
def test_no_scorer_sees_a_row_twice(corpus, tmp_path, monkeypatch, specs):
    rows: Counter[str] = Counter()
    for module, name in ((length, "Length"), (embedding, "Embedding"), (prototypes, "Prototypes")):
        whole = getattr(module, name).__call__

        def seen(self, batch, whole=whole, name=name):
            rows[name] += batch.height
            return whole(self, batch)

        monkeypatch.setattr(getattr(module, name), "__call__", seen)
    score.score(corpus, specs, tmp_path / "out")
    assert set(rows.values()) == {100}
    assert len(rows) == (3 if "prototypes:k=3" in specs else 2)


def test_scorers_that_read_the_columns_of_learned_ones_come_after_them():
    specs = ("d2", "dichotomy", "prototypes:k=3", "dynamics", "embedding")
    ordered = dependencies.ordered(specs)
    assert sorted(ordered) == sorted(specs)
    place = ordered.index
    assert place("embedding") < place("prototypes:k=3") < place("d2")
    assert place("embedding") < place("dynamics") < place("dichotomy")
    assert dependencies.independent(ordered) == ("embedding",)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_killed_while_it_learns_continues_to_the_same_scores(tmp_path, workers):
    data, out, calm = tmp_path / "data", tmp_path / "out", tmp_path / "calm"
    data.mkdir()
    for i in range(4):
        long = pl.concat_str([pl.col("text")] * 40, separator="\n")
        documents(120, 120 * i).with_columns(text=long).write_parquet(data / f"{i}.parquet")
    specs = [item for spec in ("repetition", "duplicates", "embedding", "semdedup") for item in ("--scorer", spec)]
    command = [*console("score", data, *specs, "--workers", workers), "--out"]
    running = subprocess.Popen(
        [*command, str(out)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + 60
    # Signatures are written after the first pass: the job is killed while it learns.
    while not list(out.glob("_curate/duplicates/signatures/*.npz")) and time.monotonic() < until:
        time.sleep(0.002)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not list(out.glob("*.scores.parquet")), "it was to be killed before it scores"
    for folder in (out, calm):
        subprocess.run([*command, str(folder)], check=True, capture_output=True)
    first, second = scores(out), scores(calm)
    assert first.keys() == second.keys() and all(frame.equals(second[name]) for name, frame in first.items())


@pytest.mark.parametrize(
    "before",
    [
        ("embedding:width=24", "prototypes:k=3", "d2:near=3", "semdedup"),
        ("embedding:width=16", "prototypes:k=7", "d2:near=3", "semdedup"),
    ],
)
def test_what_a_killed_job_with_other_options_left_is_not_used(corpus, tmp_path, monkeypatch, before):
    specs = ("embedding:width=16", "prototypes:k=3", "d2:near=3", "semdedup")
    out, fresh = tmp_path / "out", tmp_path / "fresh"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        # All scorers have learned then, and no file is scored yet.
        patch.setattr(run, "run", killed)
        score.score(corpus, before, out)
    score.score(corpus, specs, out)
    score.score(corpus, specs, fresh)
    first, second = scores(out), scores(fresh)
    assert first and all(frame.equals(second[name]) for name, frame in first.items())


def test_duplicates_are_sought_among_new_and_old_files(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    words = pl.Series("text", [" ".join(f"w{i}x{j}" for j in range(20)) for i in range(30)])
    old = documents(30).with_columns(words)
    old.write_parquet(data / "old.parquet")
    score.score(data, "duplicates", out)
    before = scores(out)["old.parquet.scores.parquet"]
    assert (before["score.duplicates"] == 1).all()
    other = documents(10, 500).with_columns(
        text=pl.format("{} and more", words.head(10).str.to_uppercase().str.reverse())
    )
    copies = pl.concat([other, old.head(5).with_columns(id=pl.format("copy-{}", "id"))])
    copies.write_parquet(data / "new.parquet")
    again = score.score(data, "duplicates", out)
    assert again.rows == 15
    after = scores(out)
    assert after["old.parquet.scores.parquet"].equals(before)
    new = after["new.parquet.scores.parquet"]
    assert new["score.duplicates"].to_list() == [1.0] * 10 + [0.0] * 5
    assert not again.notes


def test_relearning_scores_as_a_fresh_job_does(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    documents(40).write_parquet(data / "b.parquet")
    specs = ("duplicates", "embedding:width=16", "semdedup", "prototypes:k=3")
    score.score(data, specs, out)
    documents(60, 20).with_columns(id=pl.format("n-{}", "id")).write_parquet(data / "a.parquet")
    score.score(data, specs, out)
    assert score.score(data, specs, out, relearn=True).rows == 100
    score.score(data, specs, tmp_path / "fresh")
    first, second = scores(out), scores(tmp_path / "fresh")
    assert all(frame.equals(second[name]) for name, frame in first.items())


def test_the_cache_is_told_and_can_be_removed(cli, corpus, tmp_path):
    out = tmp_path / "out"
    command = [
        "score",
        corpus,
        "--scorer",
        "embedding:width=16",
        "--scorer",
        "prototypes:k=3",
        "--scorer",
        "duplicates",
    ]
    assert cli(*command, "--out", out).code == 0
    assert status.cache_bytes(out) > 0
    assert "of cache in _curate/parts: only --relearn uses it" in cli("status", out).out
    assert json.loads(cli("status", out, "--json").out)["cache_bytes"] == status.cache_bytes(out)
    lean = tmp_path / "lean"
    assert cli(*command, "--no-cache", "--out", lean).code == 0
    assert status.cache_bytes(lean) == 0
    assert list((lean / "_curate" / "duplicates").rglob("*.npz")), "signatures are results, and stay"
    assert all(frame.equals(scores(out)[name]) for name, frame in scores(lean).items())
    # A score file that is lost is made again from what was learned.
    lost = lean / "source=a" / "0.parquet.scores.parquet"
    whole = lost.read_bytes()
    lost.unlink()
    assert cli(*command, "--no-cache", "--out", lean).code == 0
    assert lost.read_bytes() == whole


def test_a_file_and_a_folder_of_one_name_do_not_share_parts(tmp_path, monkeypatch):
    from curate.scoring import parts

    monkeypatch.setattr(parts, "PART_ROWS", 20)
    (tmp_path / "one").mkdir()
    (tmp_path / "two" / "x.parquet").mkdir(parents=True)
    documents(90).write_parquet(tmp_path / "one" / "x.parquet")
    documents(90, 900).write_parquet(tmp_path / "two" / "x.parquet" / "000000000000.parquet")
    inputs = [str(tmp_path / "one"), str(tmp_path / "two")]
    score.score(inputs, ("length", "duplicates"), tmp_path / "out", engine=Local(2))
    assert {frame.height for frame in scores(tmp_path / "out").values()} == {90}
    assert len(scores(tmp_path / "out")) == 2


def test_a_long_file_learns_and_scores_like_its_pieces(tmp_path, monkeypatch):
    """A long file has several parts; what was learned by part reaches the right rows."""
    from curate.scoring import parts
    from curate.tables.scored_inputs.row_hash import BLOCK_ROWS

    monkeypatch.setattr(parts, "TASK_ROWS", BLOCK_ROWS)
    monkeypatch.setattr(parts, "PART_ROWS", BLOCK_ROWS)
    rows = 2 * BLOCK_ROWS + 50
    texts = [f"row {i} has the words {i * 7} and {i * 11} in it" for i in range(rows)]
    texts[-3:] = texts[:3]
    frame = pl.DataFrame({"id": [str(i) for i in range(rows)], "text": texts})
    (tmp_path / "long").mkdir()
    frame.write_parquet(tmp_path / "long" / "x.parquet", row_group_size=1000)
    (tmp_path / "short").mkdir()
    for number, piece in enumerate(frame.iter_slices(1500)):
        piece.write_parquet(tmp_path / "short" / f"{number:02d}.parquet")
    for name in ("long", "short"):
        score.score(tmp_path / name, ("length", "duplicates", "perplexity:bits=10"), tmp_path / f"{name}-out")
    whole = pl.concat(scores(tmp_path / "long-out").values())
    pieces = pl.concat(scores(tmp_path / "short-out").values())
    columns = ["id", "score.length", "score.duplicates", "score.perplexity"]
    assert whole.select(columns).equals(pieces.select(columns))
    assert (whole["score.duplicates"] == 0).sum() == 3
    recorded = json.loads((tmp_path / "long-out" / "_curate" / "corpus.json").read_text())["parts"]
    assert [part["pieces"][0][1] for part in recorded] == [0, BLOCK_ROWS, 2 * BLOCK_ROWS]


def test_small_files_are_put_together(tmp_path):
    sizes = {f"{i:04d}": 10_000 for i in range(2000)}
    from curate.scoring.tasks.scoring_task import ScoringTask
    from curate.tables.reading import Reading
    from curate.tables.shards import Shard

    tasks = [
        ScoringTask(Shard(tmp_path / name, name), tmp_path / f"{name}.s", tmp_path, (), Reading()) for name in sizes
    ]
    groups = corpus_parts.bundles(tasks, sizes)
    assert [task for group in groups for task in group] == tasks
    assert max(map(len, groups)) * 10_000 <= max(corpus_parts.LEAST_BUNDLE_BYTES, 20_000_000 // corpus_parts.BUNDLES)
    assert len(groups) <= corpus_parts.BUNDLES


def test_a_scorer_that_reads_a_column_that_reads_it_is_refused():
    with pytest.raises(SchemaError, match="read each other's columns"):
        dependencies.ordered(("d2:by=score.moderate", "moderate:embedding=emb.x,by=score.d2"))


def test_files_of_arrays_are_read_as_they_were_written(tmp_path):
    arrays = {"a": np.arange(5), "b": np.zeros((0, 3), np.float32), "c": np.array(["x", "yy"])}
    array_files.write_arrays(tmp_path / "x.npz", arrays)
    assert all(
        np.array_equal(arrays[name], value) for name, value in array_files.read_arrays(tmp_path / "x.npz").items()
    )


def many_alike(count: int, first: int) -> pl.DataFrame:
    """Rows of which many are like others, so that nearly every score depends on all of them."""
    texts = [" ".join(f"w{(i * i + j * (i % 7)) % 31}" for j in range(30)) for i in range(first, first + count)]
    return documents(count, first).with_columns(id=pl.format("n{}-{}", pl.lit(first), "id"), text=pl.Series(texts))


class Killed(BaseException):
    """Stands for the end of a process."""


ALIKE = ("embedding:width=8", "prototypes:k=3", "semdedup:k=3,epsilon=0.3", "d2:by=score.prototypes")


def changed(change: str, data: Path) -> tuple[str, ...]:
    """Change the files or the options of the job with the scorers `ALIKE`, and return its scorers from then on."""
    if change == "files":
        many_alike(60, 300).write_parquet(data / "a.parquet")
        return ALIKE
    return ("embedding:width=16", *ALIKE[1:])


def three_files(data: Path) -> None:
    data.mkdir(parents=True)
    for first in (0, 60, 120):
        many_alike(60, first).write_parquet(data / f"b{first}.parquet")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The scores of a job that began after a change, by the change."""

    @cache
    def after(change: str) -> dict[str, pl.DataFrame]:
        folder = tmp_path_factory.mktemp(change)
        three_files(folder / "data")
        score.score(folder / "data", changed(change, folder / "data"), folder / "out", engine=Local(1))
        return scores(folder / "out")

    return after


@pytest.mark.parametrize(
    ("function", "after"), [("store", 1), ("exchange", 1), ("exchange", 2), ("answer", 1), ("map", 9)]
)
@pytest.mark.parametrize("change", ["files", "options"])
def test_a_killed_job_with_other_files_or_options_scores_as_a_fresh_one(
    tmp_path, monkeypatch, fresh, function, after, change
):
    data, out = tmp_path / "data", tmp_path / "out"
    monkeypatch.setattr(corpus_parts, "LEAST_BUNDLE_BYTES", 1)
    three_files(data)
    whole, calls = getattr(Corpus, function), Counter[str]()

    def killed(self, *args, **keywords):
        result = whole(self, *args, **keywords)
        calls[function] += 1
        if calls[function] > after:
            raise Killed
        return result

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Corpus, function, killed)
        score.score(data, ALIKE, out, engine=Local(1))
    score.score(data, changed(change, data), out, engine=Local(1))
    continued, expected = scores(out), fresh(change)
    assert continued.keys() == expected.keys()
    assert all(frame.equals(expected[name]) for name, frame in continued.items())


def test_relearning_decides_anew_which_rows_stay(tmp_path, monkeypatch):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    monkeypatch.setattr(corpus_parts, "LEAST_BUNDLE_BYTES", 1)
    many_alike(80, 0).write_parquet(data / "b.parquet")
    score.score(data, ALIKE, out, engine=Local(1))
    many_alike(80, 300).write_parquet(data / "a.parquet")
    score.score(data, ALIKE, out, relearn=True, engine=Local(1))
    score.score(data, ALIKE, tmp_path / "fresh", engine=Local(1))
    first, second = scores(out), scores(tmp_path / "fresh")
    assert all(frame.equals(second[name]) for name, frame in first.items())


def test_a_scorer_of_ones_own_that_fails_while_it_learns_is_named(corpus, tmp_path):
    own = tmp_path / "own.py"
    own.write_text("class Own:\n    pass\n\ndef learn(stream):\n    raise ValueError('odd row')\n")
    with pytest.raises(SchemaError, match="own.py:Own failed while it learned .ValueError: odd row."):
        score.score(corpus, f"{own}:Own", tmp_path / "out", engine=Local(1))


def test_a_restart_with_other_scorers_removes_the_results_of_the_job_before(corpus, tmp_path):
    out = tmp_path / "out"
    score.score(corpus, ("length", "duplicates"), out)
    assert (out / "_curate" / "duplicates").is_dir()
    score.score(corpus, "length", out, restart=True)
    assert not (out / "_curate" / "duplicates").exists()
