"""Pilot runs: train what a design says, run by run so that a stopped job continues, and record it in a run table."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path

import polars as pl

from curate.engines import Engine
from curate.engines.local import Local
from curate.errors import CurateError, Interrupted
from curate.pool.pool import Budget, Pool, read_pools
from curate.progress import Progress, silent
from curate.runs import pilot_design, run_table, trainer_data
from curate.runs.pilot_design import DESIGNS, PlannedRun, design
from curate.runs.runs import Runs
from curate.storage import completion, schema
from curate.storage.files import sweep, text_hash, write_text
from curate.storage.forms.jobs import PilotForm
from curate.storage.locks import lock
from curate.storage.scratch import scratch_folder
from curate.tables.frames import Table
from curate.tables.scored_inputs.pool_reading import mapped
from curate.trainers import Trainer

# Part of the hash by which a finished run is recognised. Raise it when the same recipe would train another model; a new
# release of curate alone must not stop a user's job.
RUN_FORMAT = "0.1.0"
# Pilots that take more are worth the start of workers at once: some seconds of one core, which does 1e10 a second.
LONG_FLOPS = 5e10
STEP = "pilot"  # the name of this job in its records

__all__ = ["DESIGNS", "PilotTask", "PlannedRun", "design", "pilot", "run", "train_one"]


def pilot(
    pools: str | Path | Iterable[Pool],
    out: str | Path | None = None,
    *,
    targets: Mapping[str, Table] | None = None,
    runs: int = 32,
    params: float = 1e6,
    tokens: float = 1e7,
    method: str = "dirichlet",
    trainer: str = "tiny",
    columns: str | Mapping[str, str] = "",
    text_column: str = "text",
    join: str | Sequence[str] = (),
    render: str = "",
    workers: int = 1,
    seed: int = 0,
    restart: bool = False,
    take_over: bool = False,
    progress: Progress = silent,
) -> Runs:
    """Train a few dozen small models on varied mixtures of ``pools`` and return their run table.

    ``targets`` are held-out examples on which losses are measured, by name, as paths or tables. Without them the last
    5 % of every pool are held out. The longest runs take ``tokens`` tokens; others are 2, 4 and 8 times shorter.
    ``method`` chooses the mixtures (see `curate.runs.pilot_design.design`), and ``trainer`` the model: tiny, linear,
    command:PROGRAM or path/to/file.py:ClassName. ``workers`` is the number of processes that train; 1 is this process
    alone, and 0 one for each core.

    ``columns``, ``text_column``, ``join`` and ``render`` are as for `curate.score`. Pools that were scored are read as
    they were scored. The files of other pools must have these columns. Targets are read in the same way, as far as they
    have them; without any, like the scored pools.

    Rows whose text is null are not trained on, and a pool of which all texts are empty or null is left out; the
    ``notes`` of the result say so.

    ``out`` is where the run table is written, and finished runs are kept beside it in a folder .runs: the same call
    continues where a stopped one ended. Without ``out`` nothing is kept. With ``take_over`` the folder is taken from a
    job on another machine, which then stops.

    Raises:
        FolderBusy: another job writes in the folder .runs.
        SchemaError: pools, targets or options that cannot be used.
        Interrupted: ``out`` has finished runs of another design or of other data, and ``restart`` is not set.
    """
    all_pools = read_pools(pools)
    loaded = trainer_data.load(trainer, all_pools, targets or {}, mapped(columns, text_column, join, render))
    planned = pilot_design.design(loaded.on_hand(all_pools), runs, Budget(tokens, params), kind=method, seed=seed)
    with ExitStack() as stack:
        # Finished runs are kept beside the table, from where a stopped job continues.
        folder = Path(out).with_suffix(".runs") if out else stack.enter_context(scratch_folder())
        stack.enter_context(lock.held(folder, "pilot", take_over=take_over, progress=progress))
        table = run(
            planned,
            loaded.trainer,
            folder,
            data=loaded.data_hash,
            engine=Local(workers),
            restart=restart,
            progress=progress,
        )
    finished = run_table.check(table, "the pilot runs")
    finished = replace(finished, notes=(*loaded.notes, *finished.notes))
    if out:
        finished.save(out)
        completion.end(folder, STEP)
    return finished


@dataclass(frozen=True)
class PilotTask:
    """What a worker needs for one run.

    It writes the losses to ``path``, with ``spec``, a hash of what it trained.
    """

    run: PlannedRun
    trainer: Trainer
    path: Path
    spec: str


def run(
    runs: Sequence[PlannedRun],
    trainer: Trainer,
    folder: Path,
    *,
    data: str,
    engine: Engine | None = None,
    restart: bool = False,
    progress: Progress = silent,
) -> pl.DataFrame:
    """Train every run that is not finished in ``folder``, and return the run table in the order of ``runs``.

    ``folder`` holds one JSON file for every finished run. ``data`` is a hash of what the trainer trains on.

    Raises:
        Interrupted: ``folder`` has a finished run of another design or of other data, and ``restart`` is not set.
    """
    names = [planned.run for planned in runs]
    if restart:
        # The finished runs are deleted next, and a table of earlier runs stays until the new ones are done.
        completion.begin(folder, STEP, names)
    tasks = []
    for planned in runs:
        path = folder / f"{planned.run}.json"
        spec = text_hash(json.dumps([asdict(planned), data, RUN_FORMAT], sort_keys=True))
        if restart:
            path.unlink(missing_ok=True)
        if not path.is_file():
            tasks.append(PilotTask(planned, trainer, path, spec))
        elif finished_run(path)["spec"] != spec:
            raise Interrupted(
                f"{path} is a finished run of another design or of other data: give --restart to train all runs "
                "again, or another --out"
            )
    if tasks:
        completion.begin(folder, STEP, names)
    finished = len(runs) - len(tasks)
    progress("trainings done", finished, len(runs))
    # A killed job may have left half-written files.
    sweep(folder, ".json")
    tasks.sort(key=lambda task: -task.run.budget.tokens)  # the longest run first, so that no worker waits for it alone
    work = sum(task.run.budget.flops for task in tasks)
    with (engine or Local()).session(long=work > LONG_FLOPS) as session:
        for done, _ in enumerate(session.run(train_one, tasks), start=1):
            progress("trainings done", finished + done, len(runs))
    return pl.DataFrame(list(_records(runs, folder)))


def train_one(task: PilotTask) -> str:
    """Train one run, write its losses (whole or not at all), and return its name."""
    planned = task.run
    returned = task.trainer.train(planned.weights, planned.budget, seed=planned.seed, unique=planned.unique)
    try:
        # JSON has no NaN: a loss that could not be measured is null.
        losses = {str(name): x if isfinite(x := float(loss)) else None for name, loss in returned.items()}
    except (AttributeError, TypeError, ValueError):
        raise CurateError(
            f"trainer {type(task.trainer).__name__}: train must return the loss of each eval, as {{'web': 2.5}}; it "
            f"returned {returned!r:.100}"
        ) from None
    write_text(task.path, json.dumps({"spec": task.spec, "losses": losses}, indent=1, sort_keys=True) + "\n")
    return planned.run


def finished_run(path: Path) -> PilotForm:
    """Read what was trained and measured in one finished run.

    Raises:
        SchemaError: if the file is damaged.
    """
    remedy = "delete it to train this run again"
    return schema.check(schema.load(path, remedy), PilotForm, str(path), remedy)


def _records(runs: Sequence[PlannedRun], folder: Path) -> Iterator[dict[str, object]]:
    for planned in runs:
        losses = finished_run(folder / f"{planned.run}.json")["losses"]
        yield (
            {
                "run": planned.run,
                "seed": planned.seed,
                "params": planned.budget.params,
                "tokens": planned.budget.tokens,
            }
            | {f"weight.{name}": share for name, share in planned.weights.items()}
            | {f"unique.{name}": float(count) for name, count in planned.unique.items()}
            | {f"loss.{name}": value for name, value in losses.items()}
        )
