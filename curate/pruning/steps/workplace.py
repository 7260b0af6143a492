"""Hold what a pruning works with: the output folder, the workers, and a folder for work files.

In: the output folder and an engine. Out: a `Workplace`, for as long as the pruning runs.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from curate.engines import Engine
from curate.pruning.steps.prune_call import PruneCall
from curate.storage import disk_errors, files, manifest, s3
from curate.storage.locks import lock
from curate.storage.scratch import scratch_folder

WORK = "pruning"  # the folder of work files below the bookkeeping of the output


@dataclass(frozen=True)
class Workplace:
    """Where a pruning works: the engine that reads the files, a folder for work files, and the output folder.

    ``resources`` are released when the pruning ends.
    """

    engine: Engine
    work_files: Path
    out: Path
    resources: ExitStack

    def folder(self, name: str) -> Path:
        """Make a folder of this name among the work files."""
        path = self.work_files / name
        path.mkdir(parents=True, exist_ok=True)
        return path


@contextmanager
def workplace(out: Path | None, call: PruneCall) -> Iterator[Workplace]:
    """Hold the output folder and the workers until the pruning ends.

    Where nothing is written (``out`` None), no folder is held, and work files are in the system's temporary folder.

    Raises:
        FolderBusy: if another job writes in ``out``.
    """
    engine = call.engine
    if out is None:
        with _work_files("") as folder, engine.session(folders=(folder,)) as session, ExitStack() as resources:
            yield Workplace(session, folder, folder, resources)
        return
    # Work files are written and read in many pieces, which an object store cannot do.
    wanted = "" if s3.remote(out) else out / manifest.FOLDER / WORK
    # The lock is a file in the output folder, so it comes after all that may refuse that folder. There is one set of
    # workers for all readings: starting them takes seconds.
    with (
        lock.held(out, "prune", take_over=call.take_over, progress=call.progress),
        _work_files(wanted) as folder,
        engine.session(folders=(out,)) as session,
        ExitStack() as resources,
    ):
        yield Workplace(session, folder, out, resources)


@contextmanager
def _work_files(folder: str | Path) -> Iterator[Path]:
    """Yield an empty folder for work files, which is removed at the end; "" is one in the system's temporary folder."""
    if not folder:
        with scratch_folder() as path, disk_errors.scratch_errors(path):
            yield path
        return
    path = Path(folder)
    # A killed pruning left its work files. Its decisions are refused by later jobs, and made again here.
    files.remove(path)
    try:
        with disk_errors.scratch_errors(path):
            yield path
    finally:
        files.remove(path)
