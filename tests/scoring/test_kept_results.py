"""What scorers left for later jobs: if some of it is gone or damaged, added files are refused with one clear line."""

import shutil
from pathlib import Path

import polars as pl
import pytest
from conftest import documents, one_line, tree

from curate.errors import CurateError, Interrupted
from curate.scoring import parts, score
from curate.scoring.learning import corpus_parts
from curate.tables.corpus import array_files
from curate.tables.scored_inputs.row_hash import BLOCK_ROWS

SPECS = ("duplicates", "embedding:width=16", "semdedup:k=3,epsilon=0.3", "prototypes:k=3")


def rows(count: int, first: int) -> pl.DataFrame:
    """Rows of which many are like others, so that nearly every score depends on all of them."""
    texts = [" ".join(f"w{(i * i + j * (i % 7)) % 31}" for j in range(30)) for i in range(first, first + count)]
    return documents(count, first).with_columns(id=pl.format("n{}-{}", pl.lit(first), "id"), text=pl.Series(texts))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished job of two deliveries of files, and a file of a third."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "data").mkdir()
    for delivery, first in enumerate((0, 60)):
        for i in range(2):
            rows(30, first + 30 * i).write_parquet(folder / "data" / f"{delivery}{i}.parquet")
        score.score(folder / "data", SPECS, folder / "out")
    rows(40, 300).write_parquet(folder / "third.parquet")
    return folder


@pytest.fixture
def job(finished, tmp_path, monkeypatch):
    """A copy of the finished job to which a file was added, at the path that it was made at."""
    copy = tmp_path / "job"
    shutil.copytree(finished, copy)
    (copy / "third.parquet").rename(copy / "data" / "20.parquet")
    return copy


def again(job: Path) -> score.Scored:
    return score.score(job / "data", SPECS, job / "out")


# Files that a later job relies on, as globs below OUT/_curate. Each has one file at least.
RELIED_ON = (
    "corpus.json",
    "duplicates/finished.npz",
    "duplicates/origin.txt",
    "duplicates/signatures/*.npz",
    "duplicates/merges/*.npz",
    "semdedup/origin.txt",
    "semdedup/centres-*.npz",
    "semdedup/finished-*.npz",
    "semdedup/decided-*/*.npz",
    "learned/0-duplicates-*.json",
    "learned/2-semdedup-*.json",
    "learned/3-prototypes-*.json",
    "learned/3-prototypes-*.npz",
)


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "removed":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :])


# One of each kind of file runs in the quick suite.
QUICK = {"removed": RELIED_ON[::3], "cut": RELIED_ON[:1], "flipped": ("corpus.json", "duplicates/merges/*.npz")}
CASES = [
    pytest.param(path, how, marks=() if path in QUICK[how] else pytest.mark.slow)
    for path in RELIED_ON
    for how in ("removed", "cut", "flipped")
]


@pytest.mark.parametrize(("relied_on", "how"), CASES)
def test_a_file_that_is_gone_or_damaged_is_named_and_no_score_changes(job, relied_on, how):
    out = job / "out"
    before = {name: content for name, content in tree(out).items() if name.endswith(".scores.parquet")}
    paths = sorted((out / "_curate").glob(relied_on))
    assert paths
    for path in paths:
        damaged(path, how)
    for _ in range(2):  # A refused call must not repair the record that made it stop.
        with pytest.raises(CurateError) as stop:
            again(job)
        message = str(stop.value)
        assert "\n" not in message and "--restart" in message and str(out / "_curate") in message
        assert any(path.name in message for path in paths) or "*" in message
    assert {name: content for name, content in tree(out).items() if name.endswith(".scores.parquet")} == before


def test_a_restart_does_what_the_message_says(job):
    damaged(job / "out" / "_curate" / "corpus.json", "cut")
    assert score.score(job / "data", SPECS, job / "out", restart=True).rows == 160


@pytest.mark.parametrize("folder", ["semdedup", "duplicates/merges", "learned"])
def test_a_folder_that_is_gone_is_named(job, folder, cli):
    (path,) = (job / "out" / "_curate").glob(folder)
    shutil.rmtree(path)
    specs = [word for spec in SPECS for word in ("--scorer", spec)]
    result = cli("score", job / "data", *specs, "--out", job / "out")
    line = one_line(result)
    assert f"{path.relative_to(job / 'out').as_posix()}/" in line and "is missing" in line and "--restart" in line


def test_put_back_the_job_goes_on_as_if_nothing_had_been_gone(job, finished):
    path = job / "out" / "_curate" / "semdedup"
    shutil.move(path, job / "elsewhere")
    with pytest.raises(Interrupted, match="semdedup"):
        again(job)
    shutil.move(job / "elsewhere", path)
    assert again(job).rows == 40
    calm = job.parent / "calm"
    shutil.copytree(finished / "data", calm / "data")
    shutil.copytree(finished / "out", calm / "out")
    shutil.copy(finished / "third.parquet", calm / "data" / "20.parquet")
    score.score(calm / "data", SPECS, calm / "out")
    names = [name for name in tree(calm / "out") if name.endswith(".scores.parquet")]
    assert len(names) == 5
    assert all((job / "out" / name).read_bytes() == (calm / "out" / name).read_bytes() for name in names)


def test_a_job_without_new_files_does_not_need_what_it_left(job):
    (job / "data" / "20.parquet").unlink()
    for name in ("duplicates", "semdedup"):
        shutil.rmtree(job / "out" / "_curate" / name)
    assert again(job).rows == 0


def test_a_file_written_again_in_other_row_groups_is_cut_as_before(tmp_path, monkeypatch):
    """A long file has parts; their names and what is decided about their rows must not change."""
    monkeypatch.setattr(parts, "TASK_ROWS", BLOCK_ROWS)
    monkeypatch.setattr(parts, "PART_ROWS", BLOCK_ROWS)
    monkeypatch.setattr(corpus_parts, "LEAST_BUNDLE_BYTES", 1)
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    frame = pl.DataFrame({"id": [f"r{i}" for i in range(2 * BLOCK_ROWS + 50)]}).with_columns(
        text=pl.format("the row {} has some words", pl.col("id").str.slice(0, 3))
    )
    frame.write_parquet(data / "long.parquet", row_group_size=500)
    score.score(data, "duplicates", out)
    before = (out / "long.parquet.scores.parquet").read_bytes()
    names = {path.name for path in (out / "_curate" / "duplicates" / "merges").iterdir()}
    assert len(names) == 3
    frame.write_parquet(data / "long.parquet", row_group_size=1 << 20)
    monkeypatch.setattr(parts, "TASK_ROWS", 1 << 20)
    frame.head(5).with_columns(id=pl.format("new-{}", "id")).write_parquet(data / "z.parquet")
    assert score.score(data, "duplicates", out).rows == 5
    assert {path.name for path in (out / "_curate" / "duplicates" / "merges").iterdir()} > names
    assert (out / "long.parquet.scores.parquet").read_bytes() == before
    assert (pl.read_parquet(out / "z.parquet.scores.parquet")["score.duplicates"] == 0).all()


def test_no_flipped_bit_changes_what_is_read_from_a_file_of_arrays(tmp_path):
    import numpy as np

    arrays = {"a": np.arange(7, dtype=np.uint64), "b": np.ones((3, 2)), "c": np.zeros(0), "d": np.array(["x", "yy"])}
    path = tmp_path / "x.npz"
    array_files.write_arrays(path, arrays)
    content = path.read_bytes()
    for position in range(len(content)):
        for bit in (1 << position % 8,):
            path.write_bytes(content[:position] + bytes([content[position] ^ bit]) + content[position + 1 :])
            try:
                read = array_files.read_arrays(path)
            except array_files.DamagedFile as damage:
                assert str(path) in str(damage) and "\n" not in str(damage)
                continue
            assert read.keys() == arrays.keys()
            assert all(np.array_equal(read[name], value) for name, value in arrays.items()), (position, bit)
