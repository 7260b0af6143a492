"""What a worker process costs before its first task, and whether it could be forked: python benchmarks/engines/start.py

The first rows are CPU seconds of a fresh Python that imports modules, the least of five runs, and the threads that it
has afterwards. A process may be forked safely only while it has one thread (POSIX, `fork`). The last row is a worker of
a session, with its end. Compiled modules are kept in a folder of this benchmark, as an installed package has them.
"""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from curate.engines._worker_processes import THREADS
from curate.engines.local import Local

ROOT = Path(__file__).parents[2]
RUNS, WORKERS = 5, 2
# What every worker imports that scores rows; see `curate.scoring.score`.
TASKS = "curate.scoring.worker"
IMPORTS = ["", "numpy", "pyarrow.parquet", "polars", "numpy, pyarrow.parquet, polars", TASKS]
IMPORTS += [f"{TASKS}, curate.scorers.{name}" for name in ("repetition", "duplicates", "semdedup")]
COUNT = "import os; print(len(os.listdir('/proc/self/task')) if os.path.exists('/proc/self/task') else '?')"


def children() -> float:
    """Return the CPU seconds of all processes that this one started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def fresh(modules: str) -> tuple[float, str]:
    """Import modules in a new process; return its CPU seconds and its number of threads."""
    code = f"import {modules}\n{COUNT}" if modules else COUNT
    before = children()
    threads = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    return children() - before, threads


def worker() -> float:
    """Return the CPU seconds of a worker that imports what scoring needs, runs two tasks of no work, and ends."""
    before = children()
    with Local(WORKERS).session(imports=[TASKS]) as session:
        list(session.run(abs, range(2 * WORKERS)))
    return (children() - before) / WORKERS


def main() -> None:
    """Print one table."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    print("| a new process that imports | CPU s | threads |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        for modules in IMPORTS:
            fresh(modules)
            runs = [fresh(modules) for _ in range(RUNS)]
            print(f"| {modules or 'nothing'} | {min(seconds for seconds, _ in runs):.2f} | {runs[0][1]} |", flush=True)
        print(f"| worker of a session, from start to end | {min(worker() for _ in range(RUNS)):.2f} | |")


if __name__ == "__main__":
    main()
