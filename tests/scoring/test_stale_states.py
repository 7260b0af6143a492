"""What scorers learned in calls that were killed before any score: used again only for the same files."""

from pathlib import Path

import polars as pl
import pytest
from conftest import documents, tree

from curate.engines.local import Local
from curate.scoring import score, worker

# A scorer of each kind: one learns the counts of all rows, one also learns from files that are added.
SPECS = ("perplexity:order=2", "duplicates")


class Killed(BaseException):
    """Stands for the end of a process."""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write four files, which are recorded as done one by one."""
    monkeypatch.setattr(worker, "TOGETHER", 1)
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(4):
        rows = documents(10, 10 * number)
        rows.with_columns(pl.col("text") + pl.lit(" word" * number)).write_parquet(folder / f"{number}.parquet")
    return folder


def call(data: Path, out: Path) -> score.Scored:
    return score.score(data, SPECS, out, engine=Local(1))


def killed_after(data, out, monkeypatch, files):
    """Score with a kill after so many files are recorded as done."""
    whole = worker.finish

    def finish(done):
        nonlocal files
        files -= 1
        if files < 0:
            raise Killed
        return whole(done)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(worker, "finish", finish)
        call(data, out)


def score_bytes(out: Path) -> dict[str, bytes]:
    return {name: content for name, content in tree(out).items() if name.endswith(".scores.parquet")}


def test_a_state_of_files_that_were_removed_before_any_score_is_not_used_when_they_come_back(
    data, tmp_path, monkeypatch
):
    out, calm, last = tmp_path / "out", tmp_path / "calm", data / "3.parquet"
    content = last.read_bytes()
    killed_after(data, out, monkeypatch, 0)
    last.unlink()
    killed_after(data, out, monkeypatch, 1)
    call(data, calm)
    last.write_bytes(content)
    # One file is scored with what was learned from three, and so must the others be.
    for folder in (out, calm):
        call(data, folder)
    assert score_bytes(out) == score_bytes(calm)


@pytest.mark.parametrize("broken_first", [True, False])
def test_a_file_that_breaks_or_is_repaired_before_any_score_changes_what_is_learned(
    data, tmp_path, monkeypatch, broken_first
):
    out, calm, last = tmp_path / "out", tmp_path / "calm", data / "3.parquet"
    content = last.read_bytes()
    last.write_bytes(content[:50] if broken_first else content)
    killed_after(data, out, monkeypatch, 0)
    last.write_bytes(content if broken_first else content[:50])
    for folder in (out, calm):
        assert list(call(data, folder).quarantined) == ([] if broken_first else ["3.parquet"])
    assert score_bytes(out) == score_bytes(calm)
