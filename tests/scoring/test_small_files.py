"""Many small files with scorers that learn: their columns share files, and each input still stands for itself."""

from pathlib import Path

import polars as pl
import pytest
from conftest import documents, tree

from curate.engines.local import Local
from curate.errors import SchemaError
from curate.scorers import embedding
from curate.scoring import parts, score, worker
from curate.scoring.learning import corpus_parts, learned
from curate.scoring.tasks import computing
from curate.storage import manifest

# Prototypes are computed before d2 learns from them, so that there are two stages of columns.
SPECS = ("embedding:width=8", "prototypes:k=3", "d2:by=score.prototypes", "duplicates")
FILES = 70  # more than are written together


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Write small files of three kinds, some with labels, some with copies of rows of others."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(FILES):
        rows = documents(5, 5 * (number % 60)).with_columns(id=pl.format("{}-{}", pl.lit(number), "id"))
        if number % 3 == 0:
            rows.write_parquet(folder / f"{number:03d}.parquet")
        elif number % 3 == 1:
            rows.with_columns(label=pl.lit(number % 2)).write_parquet(folder / f"{number:03d}.parquet")
        else:
            rows.write_ndjson(folder / f"{number:03d}.jsonl")
    return folder


def score_bytes(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in tree(out) if name.endswith(".scores.parquet")}


def column_files(out: Path) -> list[str]:
    folder = out / manifest.FOLDER / manifest.PARTS / manifest.COLUMNS
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.arrow"))


class Killed(BaseException):
    """Stands for the end of a process."""


def killed(*_: object, **__: object) -> None:
    raise Killed


def test_scores_are_the_same_for_one_and_two_workers(data, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_parts, "LEAST_BUNDLE_BYTES", 1)
    for workers in (1, 2):
        score.score(data, SPECS, tmp_path / f"{workers}", engine=Local(workers))
    monkeypatch.undo()
    # Bundles of another size, too.
    score.score(data, ("length", *SPECS), tmp_path / "other", engine=Local(1))
    first = score_bytes(tmp_path / "1")
    assert len(first) == FILES
    assert first == score_bytes(tmp_path / "2")
    for name in first:
        columns = pl.read_parquet(tmp_path / "1" / name)
        assert pl.read_parquet(tmp_path / "other" / name).select(columns.columns).equals(columns)
    assert not column_files(tmp_path / "1")


@pytest.mark.parametrize(
    ("module", "function", "after"), [(computing, "_compute_small", 1), (learned, "_learn", 2), (worker, "finish", 1)]
)
def test_a_killed_job_computes_no_column_twice(data, tmp_path, monkeypatch, module, function, after):
    out, calm = tmp_path / "out", tmp_path / "calm"
    whole, calls, rows = getattr(module, function), 0, 0
    vectors = embedding.Embedding.__call__

    def killed_later(*arguments):
        nonlocal calls
        calls += 1
        if calls > after:
            raise Killed
        return whole(*arguments)

    def counted(self, batch):
        nonlocal rows
        rows += batch.height
        return vectors(self, batch)

    monkeypatch.setattr(embedding.Embedding, "__call__", counted)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, function, killed_later)
        score.score(data, SPECS, out, engine=Local(1))
    assert column_files(out)
    score.score(data, SPECS, out, engine=Local(1))
    assert rows == 5 * FILES
    score.score(data, SPECS, calm, engine=Local(1))
    assert score_bytes(out) == score_bytes(calm)
    assert not column_files(out)


def test_columns_of_small_files_lie_in_few_files(data, tmp_path, monkeypatch):
    out = tmp_path / "out"

    with pytest.raises(Killed):
        monkeypatch.setattr(learned, "prepare", killed)
        score.score(data, SPECS, out, engine=Local(1))
    # One for files with labels, and one for those without.
    assert len(column_files(out)) == 2
    assert not [path for path in (out / manifest.FOLDER).rglob("*.parts")]


def test_a_file_that_changed_after_its_columns_were_computed_is_read_again(data, tmp_path, monkeypatch):
    out = tmp_path / "out"

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(learned, "prepare", killed)
        score.score(data, SPECS, out, engine=Local(1))
    documents(7, 400).write_parquet(data / "003.parquet")
    (data / "006.parquet").unlink()
    documents(3, 500).write_parquet(data / "new.parquet")
    score.score(data, SPECS, out, engine=Local(1))
    score.score(data, SPECS, tmp_path / "fresh", engine=Local(1))
    assert score_bytes(out) == score_bytes(tmp_path / "fresh")


def test_a_bad_file_among_small_ones_is_set_aside_alone(data, tmp_path):
    out, without = tmp_path / "out", tmp_path / "without"
    whole = (data / "009.parquet").read_bytes()
    # The footer is whole, so that the damage shows only when the rows are read.
    (data / "009.parquet").write_bytes(whole[:4] + bytes(len(whole[4:200])) + whole[200:])
    result = score.score(data, SPECS, out, engine=Local(1))
    assert list(result.quarantined) == ["009.parquet"]
    (tmp_path / "good").mkdir()
    for path in data.iterdir():
        if path.name != "009.parquet":
            (tmp_path / "good" / path.name).write_bytes(path.read_bytes())
    score.score(tmp_path / "good", SPECS, without, engine=Local(1))
    assert {name: pl.read_parquet(out / name).drop("source").to_dicts() for name in score_bytes(out)} == {
        name: pl.read_parquet(without / name).drop("source").to_dicts() for name in score_bytes(without)
    }
    (data / "009.parquet").write_bytes(whole)
    again = score.score(data, SPECS, out, engine=Local(1))
    assert again.rows == 5 and not again.quarantined


def test_bad_lines_of_small_files_are_counted_when_a_job_continues(data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with (data / "002.jsonl").open("a") as handle:
        handle.write("{broken\n")

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(learned, "prepare", killed)
        score.score(data, SPECS, out, engine=Local(1), max_bad=0.5)
    result = score.score(data, SPECS, out, engine=Local(1), max_bad=0.5)
    assert result.bad_lines == {"002.jsonl": 1}
    assert pl.read_parquet(out / "002.jsonl.scores.parquet").height == 5


@pytest.mark.parametrize("long", [False, True])
def test_a_larger_limit_for_texts_is_followed_after_a_stop(tmp_path, monkeypatch, long):
    if long:
        monkeypatch.setattr(parts, "SMALL_BYTES", 1)
    out, path = tmp_path / "out", tmp_path / "a.jsonl"
    documents(5).with_columns(pl.lit("word " * 500).alias("text")).write_ndjson(path)
    with pytest.raises(SchemaError, match="raise that to read it"):
        score.score(path, "duplicates", out, engine=Local(1), document_bytes=1000)
    assert score.score(path, "duplicates", out, engine=Local(1)).rows == 5
    score.score(path, "duplicates", tmp_path / "calm", engine=Local(1))
    assert score_bytes(out) == score_bytes(tmp_path / "calm")


def test_new_small_files_leave_old_scores_as_they_are(data, tmp_path):
    out = tmp_path / "out"
    score.score(data, SPECS, out, engine=Local(1), cache=False)
    before = score_bytes(out)
    documents(3, 500).write_parquet(data / "000-new.parquet")
    assert score.score(data, SPECS, out, engine=Local(1), cache=False).rows == 3
    after = score_bytes(out)
    assert {name: after[name] for name in before} == before
