"""Run commands of `curate` as users do, and measure what the command and its workers cost.

The command runs in a process of its own, which reports the CPU seconds and memory of itself and of its workers at its
end. So the share of the driver is known: all that a cluster cannot take over from it.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")
MARK = "CURATE_BENCHMARK"  # the variable by which the processes of a Ray cluster are recognised
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
WRAPPER = """
import json, resource, sys
report, sys.argv = sys.argv[1], ["curate", *sys.argv[2:]]
from pipelines.shared.cli import main
code = 0
try:
    main()
except SystemExit as end:
    code = end.code or 0
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
cpu = [usage.ru_utime + usage.ru_stime for usage in used]
# The largest memory that getrusage tells begins with that of the process that started this one.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
# Of this process and of the workers that have ended: all bytes read and written, in files and between processes.
io = dict(line.split(": ") for line in open("/proc/self/io"))
record = {"driver": cpu[0], "workers": cpu[1], "peak": int(peak.split()[1]) / 1024}
record |= {"read": int(io["rchar"]), "written": int(io["wchar"])}
with open(report, "w") as file:
    json.dump(record, file)
sys.exit(code)
"""


@dataclass(frozen=True)
class Cost:
    """What a job cost: CPU seconds of the driver and of its workers, wall seconds, peak memory of one process in MB.

    ``read`` and ``written`` are MB, of all processes, in files and between processes.
    """

    driver: float
    workers: float
    wall: float
    peak: float
    read: float = 0.0
    written: float = 0.0
    error: str = ""

    @property
    def cpu(self) -> float:
        """CPU seconds of all processes."""
        return self.driver + self.workers

    @property
    def driver_share(self) -> float:
        """The share of the CPU seconds that the driver used."""
        return self.driver / self.cpu if self.cpu else 1.0


def environment_of(root: Path) -> dict[str, str]:
    """Return the environment of a command of the source tree ``root``: one numerical thread a process.

    Folders that are on the caller's PYTHONPATH stay there, since optional packages may lie in them.
    """
    folders = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(folders)}
    # An installed package is compiled once. Without this, every process of the job would compile the source tree again.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def score(
    data: Path, specs: Sequence[str], out: Path, *, workers: int = 1, engine: str = "local", root: Path = ROOT
) -> Cost:
    """Run `curate score` of the source tree ``root``, and return its cost."""
    scorers = [part for spec in specs for part in ("--scorer", spec)]
    return command(["score", str(data), *scorers], out, workers=workers, engine=engine, root=root)


def command(arguments: Sequence[str], out: Path, *, workers: int = 1, engine: str = "local", root: Path = ROOT) -> Cost:
    """Run a command of `curate` of the source tree ``root`` that writes to ``out``, and return its cost."""
    options = ["--out", str(out), "--workers", str(workers), "--engine", engine]
    report = out.parent / f"{out.name}.cost.json"
    line = [sys.executable, "-c", WRAPPER, str(report), *arguments, *options]
    mark = str(time.monotonic_ns())
    environment = {**environment_of(root), MARK: mark}
    start = time.monotonic()
    with (out.parent / f"{out.name}.log").open("w+") as log:
        process = subprocess.Popen(line, stdout=log, stderr=log, cwd=root, env=environment)
        others = _sampled(process, mark)
        code = process.wait()
        wall = time.monotonic() - start
        log.seek(0)
        printed = log.read().strip().splitlines()
    if code:
        return Cost(0, 0, wall, 0, error=printed[-1] if printed else f"exit code {code}")
    record = json.loads(report.read_text())
    exchanged = record["read"] / MB, record["written"] / MB
    # Workers of Ray are children of its daemon, so only the samples tell what they cost.
    workers_cpu = record["workers"] + (others.ray if engine == "ray" else 0.0)
    return Cost(record["driver"], workers_cpu, wall, max(record["peak"], others.peak), *exchanged)


def required(cost: Cost) -> Cost:
    """Return a cost; stop where the command failed."""
    if cost.error:
        raise SystemExit(cost.error)
    return cost


@dataclass(frozen=True)
class Samples:
    """What the other processes of a job cost, by samples: CPU seconds of Ray workers, and the largest memory in MB."""

    ray: float
    peak: float


def _sampled(process: subprocess.Popen, mark: str) -> Samples:
    """Look at the processes of a job twice a second until it ends."""
    seconds, peaks = dict[str, float](), dict[str, float]()
    while process.poll() is None:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={mark}".encode() not in (folder / "environ").read_bytes():
                    continue
                name = (folder / "cmdline").read_bytes()
                status = (folder / "status").read_text()
                times = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            # Agents of Ray belong to its daemon: they cost the same for any job.
            is_ray = name.startswith(b"ray::") and b"Agent" not in name
            is_worker = is_ray or b"spawn_main" in name
            if is_worker and (peak := next((x for x in status.splitlines() if x.startswith("VmHWM")), "")):
                peaks[folder.name] = int(peak.split()[1]) / 1024
            if is_ray:
                seconds[folder.name] = (int(times[11]) + int(times[12])) / TICKS
        time.sleep(0.5)
    return Samples(sum(seconds.values()), max(peaks.values(), default=0.0))


def digest(out: Path) -> str:
    """Return a hash of the names and bytes of all score files of a folder."""
    total = hashlib.sha256()
    for path in sorted(out.rglob("*.scores.parquet")):
        total.update(path.relative_to(out).as_posix().encode())
        total.update(path.read_bytes())
    return total.hexdigest()
