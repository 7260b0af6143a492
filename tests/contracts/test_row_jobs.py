"""What `prune`, `pools`, `materialize` and `describe` promise on every engine: the same bytes, and to be continued."""

import pickle
import subprocess
import sys
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from conftest import documents, tree

from curate.description.describe import describe
from curate.engines.local import Local
from curate.engines.ray import Ray
from curate.pruning.make_pools import pools
from curate.pruning.prune import prune
from curate.scoring.score import score
from curate.tables import row_ranges
from curate.tables.shards import Shard
from curate.training_set.job import materialize


@dataclass
class Backwards:
    """Runs the last task first, and everything as workers do: after it was pickled and read again.

    After ``stop_after`` tasks in all it is interrupted.
    """

    stop_after: int = 1 << 30
    finished: int = field(default=0)

    def run(self, function, tasks):
        for task in reversed(tasks):
            if self.finished >= self.stop_after:
                raise KeyboardInterrupt
            self.finished += 1
            yield pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(function))(pickle.loads(pickle.dumps(task)))))

    @contextmanager
    def session(self, *, long=False, folders=()):
        yield self


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """Scores of six files of three sources, with duplicates, labels that are classes, and vectors."""
    folder = tmp_path_factory.mktemp("rows")
    for i in range(6):
        path = folder / "data" / f"source={'abc'[i % 3]}" / f"{i}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = documents(25, 20 * i).with_columns(label=pl.int_range(25) % (3 + i % 2))
        frame.with_columns(id=pl.format("{}-{}", pl.lit(i), "id")).write_parquet(path, row_group_size=9)
    scorers = ("length", "duplicates", "embedding:width=64")
    score([str(folder / "data")], scorers, folder / "scores")
    # Long score files have many row groups.
    for path in (folder / "scores").rglob("*.scores.parquet"):
        pq.write_table(pq.read_table(path), path, row_group_size=7)
    return folder / "scores"


def prune_by(by, **options):
    return lambda scores, out, engine: prune(scores, out, by=by, keep=0.6, seed=3, engine=engine, **options)


def make_pools(scores, out, engine, **options):
    pools(scores, engine=engine, **options).save(out / "pools.json")


def draw(scores, out, engine):
    whole = pools(scores, by="score.length", bins=2)
    materialize(whole, out, shard_rows=20, seed=1, engine=engine)


def describe_rows(scores, out, engine, **options):
    describe(scores.parent / "data", sample=70, neighbours=5, engine=engine, **options).save(out / "description.json")


# A lower bound on duplicates in front, which is applied last, a column of the inputs, and one of the scores.
REQUIRE = ("score.duplicates >= 0.25", "text LIKE '%own%'", "label <> '1'", "score.length > 100")


JOBS = {
    "prune top": prune_by("score.length", rule="top", max_source_removal=1),
    "prune hard, trimmed": prune_by(
        "score.length", rule="hard", meaning={"length": "hardness"}, trim=0.1, balance="source:0.5"
    ),
    "prune stratified": prune_by("score.length", rule="stratified", balance="label:even"),
    "prune sample": prune_by("score.length", rule="sample", balance="source"),
    "prune threshold": lambda scores, out, engine: prune(
        scores, out, by="score.length", keep=100, rule="threshold", max_source_removal=1, engine=engine
    ),
    "prune auto": prune_by("score.length", rule="auto", meaning={"length": "hardness"}, balance="source"),
    "prune duplicates": prune_by("score.duplicates", rule="top", materialize=True, shard_rows=7, max_source_removal=1),
    "prune require": lambda scores, out, engine: prune(scores, out, require=REQUIRE, engine=engine),
    "prune require, then rank": prune_by("score.length", rule="top", require=REQUIRE, max_source_removal=1),
    "pools by source": make_pools,
    "pools by score": lambda scores, out, engine: make_pools(scores, out, engine, by="score.length", bins=3),
    "materialize": draw,
    "describe": describe_rows,
    "describe labels": lambda scores, out, engine: describe_rows(scores, out, engine, encoder="hashed:width=16"),
}


def output(job, scores, out, engine):
    out.mkdir(exist_ok=True)
    JOBS[job](scores, out, engine)
    # Records name the folder that the user gave.
    return {name: content.replace(str(out).encode(), b"OUT") for name, content in tree(out).items()}


@pytest.fixture(scope="module")
def expected(scores, tmp_path_factory):
    """The files of every job in this process, made when a test asks for them."""
    folder, folders = tmp_path_factory.mktemp("expected"), {}

    def of(job):
        if job not in folders:
            folders[job] = output(job, scores, folder / job, Local(1))
        return folders[job]

    return of


EVERY = pytest.mark.parametrize("job", JOBS)


@EVERY
def test_the_order_in_which_tasks_end_changes_no_byte(job, scores, expected, tmp_path):
    assert output(job, scores, tmp_path / job, Backwards()) == expected(job)


@EVERY
def test_files_that_are_read_in_ranges_change_no_byte(job, scores, expected, tmp_path, monkeypatch):
    whole = expected(job)
    monkeypatch.setattr(row_ranges, "RANGE_BYTES", 1)
    assert len(row_ranges.row_ranges(Shard(next(scores.rglob("*.scores.parquet")), "a"))) == 4
    assert output(job, scores, tmp_path / job, Backwards()) == whole


def test_two_workers_change_no_byte(scores, expected, tmp_path):
    with Local(2).session() as session:
        for job in JOBS:
            assert output(job, scores, tmp_path / job, session) == expected(job), job


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install 'curate-planner[ray]'")
def test_ray_changes_no_byte(scores, expected, tmp_path):
    with Ray(2, "local").session() as session:
        for job in JOBS:
            assert output(job, scores, tmp_path / job, session) == expected(job), job


STOPPED = ["prune stratified", "prune duplicates", "prune require", "pools by score", "materialize", "describe"]


@pytest.mark.parametrize("job", STOPPED)
def test_a_job_that_was_stopped_ends_with_the_same_bytes(job, scores, expected, tmp_path):
    whole = Backwards()
    output(job, scores, tmp_path / "whole", whole)
    assert whole.finished > 3, "it was to run on the engine"
    for stop_after in (2, whole.finished // 2, whole.finished - 1):
        out = tmp_path / str(stop_after)
        with pytest.raises(KeyboardInterrupt):
            output(job, scores, out, Backwards(stop_after))
        assert output(job, scores, out, Backwards()) == expected(job)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows():
    """Measured by the benchmark, through the command line.

    The smaller size is so large that Arrow's allocator has kept as many free pages as it ever does. With fewer files,
    `prune` takes up to 10 % less.
    """
    benchmark = Path(__file__).parents[2] / "benchmarks" / "pipelines" / "row_jobs.py"
    command = [sys.executable, benchmark, "--rows", "4e5", "1.6e6"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peaks = defaultdict(dict)
    for line in done.stdout.splitlines()[1:]:
        name, (rows, _, _, peak, _) = line[:28].strip(), line[28:].split()
        peaks[name][int(rows)] = float(peak)
    assert len(peaks) > 5
    assert {name: peak for name, peak in peaks.items() if peak[1_600_000] > 1.1 * peak[400_000]} == {}
