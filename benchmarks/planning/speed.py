"""CPU time and memory of `curate plan` with many pools, through the command line: `benchmarks/planning/speed.py`.

One table on standard output: CPU-seconds (user and system) and peak memory of a child process that plans one budget
over 100 or 500 pools with a synthetic fit.json (mixture_ces with 200 draws): all of it, and without near-optimal
ranges. `threads` is the value of OMP_NUM_THREADS; `-` is a process in which nobody chose it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import numpy as np
import polars as pl
import torch
from problems import law_of, planted

from curate.fitting import fit_files
from curate.fitting.fit import Fit
from curate.pool import pool
from curate.storage import artifacts

CURATE = Path(sys.executable).with_name("curate")
LAW = "mixture_ces:linear=true"
# Runs in the child, so that its resource usage is that of one job.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
"""


def synthetic_fit(pools: int) -> Fit:
    """A fit whose parameters lie within their likely ranges."""
    rng, theta = np.random.default_rng(0), {}
    for param in law_of(LAW).params():
        low, high = np.log(param.likely) if param.positive else param.likely
        value = rng.uniform(low, high, pools if param.per_pool else None)
        theta[param.name] = torch.tensor(np.exp(value) if param.positive else value, dtype=torch.float64)
    return planted(LAW, [f"pool{i:03d}" for i in range(pools)], theta, draws=200)


def save(folder: Path, pools: int) -> None:
    """Write fit.json and pools.json."""
    fit, origin = synthetic_fit(pools), artifacts.Provenance(arguments={}).made_by()
    artifacts.save(folder / "fit.json", "fit", {**fit_files.to_json(fit), "made_by": origin})
    tokens = 10 ** np.random.default_rng(1).uniform(8.5, 10.5, pools)
    listed = [pool.Pool(name, float(count)) for name, count in zip(fit.pools, tokens, strict=True)]
    artifacts.save(folder / "pools.json", "pools", {"pools": pool.to_json(listed), "made_by": origin})


def measure(folder: Path, threads: str, *options: str) -> tuple[float, float]:
    """CPU-seconds and the peak in MB of one plan."""
    chosen = {} if threads == "-" else {"OMP_NUM_THREADS": threads}
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | chosen
    files = [str(folder / "fit.json"), "--pools", str(folder / "pools.json"), "--out", str(folder / "plan.json")]
    command = [sys.executable, "-c", MEASURE, str(CURATE), "plan", *files, "--budget", "2e10:1e9", *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    seconds, peak = map(float, done.stdout.split())
    return seconds, peak


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for pools in (100, 500):
            save(folder, pools)
            for threads, options in (("-", ()), ("1", ()), ("1", ("--within", "0"))):
                seconds, peak = measure(folder, threads, *options)
                share = json.loads((folder / "plan.json").read_text())["plans"][0]["weights"]
                rows.append(
                    {
                        "pools": pools,
                        "planned": sum(value > 1e-6 for value in share.values()),
                        "threads": threads,
                        "options": " ".join(options),
                        "CPU-s": f"{seconds:.1f}",
                        "peak MB": f"{peak:.0f}",
                    }
                )
    with pl.Config(tbl_rows=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(pl.DataFrame(rows))


if __name__ == "__main__":
    main()
