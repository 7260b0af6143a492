"""Computed columns that are cut short, removed or damaged: computed again, and no input is blamed for it."""

from pathlib import Path

import polars as pl
import pytest
from conftest import documents, one_line, tree

from curate.engines.local import Local
from curate.errors import Interrupted
from curate.scoring import parts, score, worker
from curate.scoring.learning import learned
from curate.storage import manifest
from curate.tables.scored_inputs.row_hash import BLOCK_ROWS

# Prototypes are computed before d2 learns from them, so that there are two stages of columns.
SPECS = ("embedding:width=8", "prototypes:k=3", "d2:by=score.prototypes", "duplicates")


class Killed(BaseException):
    """Stands for the end of a process."""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write small files, some with labels, one with a bad line, and a long file of three parts."""
    monkeypatch.setattr(parts, "PART_ROWS", BLOCK_ROWS)
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(4):
        rows = documents(5, 5 * number)
        (rows.with_columns(label=pl.lit(1)) if number % 2 else rows).write_parquet(folder / f"{number}.parquet")
    documents(5, 100).write_ndjson(folder / "lines.jsonl")
    with (folder / "lines.jsonl").open("a") as handle:
        handle.write("{broken\n")
    count = 2 * BLOCK_ROWS + 9
    long = pl.DataFrame({"id": [f"l{i}" for i in range(count)], "text": [f"row {i % 50}" for i in range(count)]})
    long.write_parquet(folder / "long.parquet", row_group_size=1000)
    return folder


def call(data: Path, out: Path) -> score.Scored:
    return score.score(data, SPECS, out, engine=Local(1), max_bad=0.5)


def score_bytes(out: Path) -> dict[str, bytes]:
    return {name: content for name, content in tree(out).items() if name.endswith(".scores.parquet")}


def killed_after(data, out, monkeypatch, module, function, calls):
    whole = getattr(module, function)

    def counted(*arguments):
        nonlocal calls
        calls -= 1
        if calls < 0:
            raise Killed
        return whole(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, function, counted)
        call(data, out)


def column_files(out: Path) -> list[Path]:
    return sorted((out / manifest.FOLDER / manifest.PARTS / manifest.COLUMNS).rglob("*.arrow"))


@pytest.mark.parametrize("how", ["removed", "emptied", "cut"])
@pytest.mark.parametrize(("module", "function", "calls"), [(learned, "_learn", 2), (worker, "finish", 0)])
def test_columns_that_are_damaged_between_two_calls_are_computed_again(
    data, tmp_path, monkeypatch, module, function, calls, how
):
    out = tmp_path / "out"
    call(data, tmp_path / "calm")
    killed_after(data, out, monkeypatch, module, function, calls)
    damaged = column_files(out)
    # Stage 0 has a file of small inputs with labels and one without, and three parts of the long file. Stage 1 has one
    # file of all small inputs, and three parts.
    assert len(damaged) == 9
    # Every second file, so that a part in the middle of others is damaged, too.
    for path in damaged[::2] if how != "cut" else damaged[1::2]:
        if how == "removed":
            path.unlink()
        else:
            path.write_bytes(b"" if how == "emptied" else path.read_bytes()[:-100])
    result = call(data, out)
    assert not result.quarantined
    assert score_bytes(out) == score_bytes(tmp_path / "calm")


@pytest.mark.parametrize("which", ["_small", "long.parquet.parts"])
@pytest.mark.parametrize("how", ["removed", "cut"])
def test_columns_that_are_gone_while_the_job_runs_stop_it_with_one_line(data, tmp_path, monkeypatch, which, how):
    out = tmp_path / "out"
    call(data, tmp_path / "calm")
    whole = score.run.run

    def damaged(*arguments):
        for path in column_files(out):
            if which in path.parts:
                path.unlink() if how == "removed" else path.write_bytes(path.read_bytes()[:-100])
        return whole(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Interrupted) as stop:
        patch.setattr(score.run, "run", damaged)
        call(data, out)
    assert "was removed or damaged while the job ran. Run the same command again" in str(stop.value)
    assert which in str(stop.value) and "\n" not in str(stop.value)
    assert not call(data, out).quarantined
    assert score_bytes(out) == score_bytes(tmp_path / "calm")


def test_a_damaged_record_of_bad_lines_is_named(data, tmp_path, monkeypatch, cli):
    out = tmp_path / "out"
    killed_after(data, out, monkeypatch, learned, "_learn", 0)
    (record,) = (out / manifest.FOLDER / "bad_lines").iterdir()
    record.write_bytes(record.read_bytes()[:-10])
    command = ["score", data, *(f"--scorer={spec}" for spec in SPECS), "--out", out, "--max-bad", "0.5"]
    line = one_line(cli(*command))
    assert line.startswith(f"curate: {record} is damaged (") and line.endswith(
        "give --restart to score all files again"
    )
    assert cli(*command, "--restart").code == 0
    call(data, tmp_path / "calm")
    assert score_bytes(out) == score_bytes(tmp_path / "calm")
