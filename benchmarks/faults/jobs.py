"""The jobs that the fault campaign breaks, how they are run, and how a run is judged.

Every job runs in one folder with relative paths, since results record the paths that the user wrote. A calm run of each
job is made first; later runs are compared with it, byte by byte.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

CURATE = str(Path(sys.executable).parent / "curate")
FILES, ROWS, LONG_ROWS = 5, 300, 40_000  # the long file is scored in parts
PATIENCE = 600  # seconds after which a command counts as hanging


@dataclass(frozen=True)
class Job:
    """A command, with the output that it writes; ``out`` is a folder or a file in the folder ``out``."""

    name: str
    words: tuple[str, ...]
    out: str

    def command(self, *more: str) -> list[str]:
        return [CURATE, *self.words, "--out", self.out, *more]


def jobs() -> list[Job]:
    scorers = [w for s in ("length", "compression", "duplicates", "embedding:width=8") for w in ("--scorer", s)]
    by = ("--by", "score.compression")
    pilot = (
        "--runs",
        "6",
        "--params",
        "2e4",
        "--tokens",
        "2e4",
        "--trainer",
        "tiny:layers=1",
        "--target",
        "t=target.parquet",
    )
    return [
        Job("score", ("score", "data", *scorers, "--scorer", "prototypes:k=4", "--workers", "2"), "out/scores"),
        Job("prune", ("prune", "in/scores", *by, "--keep", "0.5", "--materialize"), "out/kept"),
        Job("pools", ("pools", "in/scores", *by, "--bins", "3"), "out/pools.json"),
        Job("materialize", ("materialize", "in/pools.json", "--shard-rows", "10000", "--workers", "2"), "out/train"),
        Job("describe", ("describe", "data"), "out/description.json"),
        Job("pilot", ("pilot", "in/pools.json", *pilot, "--workers", "2"), "out/runs.parquet"),
        Job("fit", ("fit", "in/runs.csv", "--law", "chinchilla,power", "--draws", "60"), "out/fit.json"),
        Job("plan", ("plan", "in/fit.json", "--pools", "one.json", "--budget", "1e10:1e9"), "out/plan.json"),
    ]


@dataclass
class Ledger:
    """What happened: one line of the table for each fault, and every loss in words."""

    losses: list[str] = field(default_factory=list)
    faults: int = 0

    def line(self, fault: str, tries: int, happened: str, losses: Sequence[str]) -> None:
        """Print a line, and note its losses."""
        self.faults += tries
        self.losses += [f"{fault}: {loss}" for loss in losses]
        print(f"| {fault} | {tries} | {happened} | {len(losses)} |", flush=True)


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        lines = (self.err if self.code else self.out).strip().splitlines()
        return lines[-1] if lines else ""

    def losses(self, codes: Sequence[int] = (0,)) -> list[str]:
        """Return what no command may do: a traceback, a crash, another code than these, a failure without a word."""
        if "Traceback" in self.err:
            return [f"traceback: {self.last[:150]}"]
        if self.code not in codes:
            return [f"exit {self.code}: {self.last[:150]}"]
        return [] if self.code == 0 or self.last.startswith("curate: ") else [f"exit {self.code} without a line"]


class Bench:
    """The folder in which all jobs run, with the results of their calm runs."""

    def __init__(self, folder: Path, names: Collection[str]) -> None:
        self.folder, self.jobs = folder, {job.name: job for job in jobs() if job.name in names}
        self.calm: dict[str, dict[str, bytes]] = {}
        self.seconds: dict[str, float] = {}
        write_inputs(folder)
        for job in self.jobs.values():
            began = time.monotonic()
            ended = self.run(job)
            assert ended.code == 0, f"{job.name}: {ended.last}"
            self.seconds[job.name] = time.monotonic() - began
            self.calm[job.name] = self.tree(job)
            # Later jobs read the calm results; `out` is cleared after each fault.
            if (folder / job.out).is_dir():
                shutil.copytree(folder / job.out, folder / "in" / Path(job.out).name)
            else:
                shutil.copy(folder / job.out, folder / "in" / Path(job.out).name)
            self.clear()

    def clear(self) -> None:
        shutil.rmtree(self.folder / "out", ignore_errors=True)

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        return os.environ | {"OMP_NUM_THREADS": "1"} | dict(more)

    def start(self, command: Sequence[str], **more: str) -> subprocess.Popen:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder,
            env=self.environment(more), start_new_session=True,
        )  # fmt: skip

    def run(self, job: Job, *words: str, limits: Callable[[], None] | None = None, **more: str) -> Ended:
        return self.run_words(job.command(*words), limits=limits, **more)

    def run_words(self, command: Sequence[str], limits: Callable[[], None] | None = None, **more: str) -> Ended:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=self.folder, env=self.environment(more), preexec_fn=limits,
            timeout=PATIENCE,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)

    def tree(self, job: Job, root: Path | None = None) -> dict[str, bytes]:
        """Return the result of a job by relative name: no records of `_curate`, which may hold stamps and locks."""
        top = (root or self.folder) / job.out
        paths = [top] if top.is_file() else sorted(top.rglob("*"))
        names = {path: path.relative_to(top).as_posix() for path in paths if path.is_file()}
        return {
            name: path.read_bytes() for path, name in names.items() if not any(n[:1] in "._" for n in name.split("/"))
        } if top.is_dir() else {names[path]: path.read_bytes() for path in names}  # fmt: skip

    def continued(self, job: Job, *words: str) -> list[str]:
        """Run a job again after a fault; return what was lost."""
        ended = self.run(job, *words)
        return ended.losses() or ([] if self.tree(job) == self.calm[job.name] else ["other bytes than the calm run"])


def end(process: subprocess.Popen, sign: signal.Signals) -> None:
    """Send a signal to a job and all its workers."""
    try:
        os.killpg(process.pid, sign)
    except ProcessLookupError:
        return


def collected(process: subprocess.Popen) -> Ended:
    out, err = process.communicate(timeout=PATIENCE)
    return Ended(process.returncode, out, err)


def write_inputs(folder: Path) -> None:
    """Write data, a target, a run table, and the pool of the fit."""
    words = np.array([f"w{i}" for i in range(400)])
    (folder / "data").mkdir(parents=True)
    (folder / "in").mkdir()
    (folder / "out").mkdir()
    for i in range(FILES):
        rng = np.random.default_rng(i)
        texts = [" ".join(words[rng.integers(0, 400, 30)]) for _ in range(ROWS)]
        texts[7] = texts[3]  # a duplicate
        frame = pl.DataFrame({"id": [f"{i}-{j}" for j in range(ROWS)], "text": texts, "source": f"s{i % 2}"})
        frame.write_parquet(folder / "data" / f"{i}.parquet")
        if i == 0:
            frame.write_parquet(folder / "target.parquet")
    rng = np.random.default_rng(99)
    short = [" ".join(words[rng.integers(0, 400, 8)]) for _ in range(LONG_ROWS // 10)]
    long = {"id": [f"l{j}" for j in range(LONG_ROWS)], "text": [f"{t} {k}" for k in range(10) for t in short]}
    pl.DataFrame({**long, "source": "long"}).write_parquet(folder / "data" / "long.parquet", row_group_size=20_000)
    params, tokens = np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5))
    loss = 1.7 + 400 / params**0.34 + 410 / tokens**0.28 + rng.normal(0, 0.003, params.shape)
    columns = {"params": params, "tokens": tokens, "loss.t": loss, "weight.web": np.ones_like(loss)}
    table = pl.DataFrame({name: values.ravel() for name, values in columns.items()})
    table.with_columns(run=pl.format("r{}", pl.int_range(pl.len()))).write_csv(folder / "in" / "runs.csv")
    (folder / "one.json").write_text('{"format": 2, "pools": [{"name": "web", "tokens": 1e12}]}')
