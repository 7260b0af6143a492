"""What a whole pruning job costs: filters, near duplicates and a data set to train on, beside datatrove.

    python benchmarks/pruning_job.py --peers PYTHON                # 100 MB, about ten minutes for the peer
    python benchmarks/pruning_job.py --peers PYTHON --mb 10        # a part, within minutes
    python benchmarks/pruning_job.py --peers PYTHON --job filters  # with the three filters of web text
    python benchmarks/pruning_job.py --memory 60,1000              # peak memory at two sizes
    python benchmarks/pruning_job.py --rows 1000000                # what requirements and cuts add to a prune

``--peers`` is a Python that has datatrove. Both programs read the same JSON lines, apply the same filters, remove near
duplicates by MinHash with 14 bands of 8 rows of 5-grams, and write the rows that are kept. The job ``command`` removes
texts with too many repetitions, and near duplicates; curate then also ranks the rows by likeness to a target, to a
budget of tokens with a cap for each source, which the peer cannot do. The job ``filters`` applies the Gopher, C4 and
FineWeb filters. The peer runs its filters first, and MinHash on what they keep. curate scores every row with all
scorers, so that the rows can be pruned again in another way. CPU seconds are of all processes, with one worker and one
numerical thread.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars as pl
from engine_rows import corpus, jobs
from engine_rows.jobs import ONE_THREAD, Cost, environment_of, required

MB = 1_000_000
FILE_ROWS = 2_000
TARGET_ROWS = 200  # of the data, that stand for texts like which the job wants more
FEW_ROWS = 1000  # a prune of so many rows costs little more than the start of its process
REPEATS = 3  # of each prune of the table of cuts: the least of them is shown, since other programs slow some down
UNIQUE = "score.duplicates >= 0.25"


@dataclass(frozen=True)
class Job:
    """What a job does: the scorers and the options of `curate prune`, and the filters of datatrove."""

    scorers: tuple[str, ...]
    require: tuple[str, ...]
    peer_filters: str
    ranked: bool = False


JOBS = {
    "command": Job(
        ("repetition", "duplicates", "dsir:target={target}"),
        ("score.repetition >= 0", UNIQUE),
        "[GopherRepetitionFilter()]",
        ranked=True,
    ),
    # C4's filter also removes lines of the texts that pass, so it comes last: the others judge whole texts, as ours do.
    "filters": Job(
        ("gopher", "c4", "fineweb", "duplicates"),
        ("score.gopher >= 1", "score.c4 >= 1", "score.fineweb >= 1", UNIQUE),
        "[GopherRepetitionFilter(), GopherQualityFilter(), FineWebQualityFilter(), C4QualityFilter()]",
    ),
}
DATATROVE = """
import json, resource, sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.filters import (
    C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

def main():
    data, out = sys.argv[1:3]
    def run(pipeline, name, tasks=1):
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=f"{out}/logs/{name}").run()
    filters = FILTERS
    run([JsonlReader(data), *filters, JsonlWriter(f"{out}/filtered", compression=None)], "filter")
    run([JsonlReader(f"{out}/filtered"), MinhashDedupSignature(f"{out}/signatures")], "signatures")
    run([MinhashDedupBuckets(f"{out}/signatures", f"{out}/buckets")], "buckets", 14)
    run([MinhashDedupCluster(f"{out}/buckets", f"{out}/remove")], "cluster")
    run([JsonlReader(f"{out}/filtered"), MinhashDedupFilter(f"{out}/remove"),
         JsonlWriter(f"{out}/kept", compression=None)], "kept")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(json.dumps({"cpu": sum(u.ru_utime + u.ru_stime for u in used), "peak": int(peak.split()[1]) / 1024}))

if __name__ == "__main__":
    main()
"""


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=100)
    parser.add_argument("--peers", default="")
    parser.add_argument("--job", choices=JOBS, default="command")
    parser.add_argument("--memory", default="")
    parser.add_argument("--rows", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_hide_dataframe_shape=True):
        folder = Path(name)
        if options.memory:
            print(memory(folder, [float(size) for size in options.memory.split(",")], JOBS[options.job]))
        elif options.rows:
            print(cuts(folder, options.rows))
        else:
            print(beside_peer(folder, options.mb, options.peers, JOBS[options.job]))


def beside_peer(folder: Path, mb: float, peers: str, job: Job) -> pl.DataFrame:
    """Return what both programs cost on the same data, and how many rows they keep."""
    data = write(folder / "data", mb)
    score, prune = run(job, data, folder / "ours")
    cost = score.cpu + prune.cpu
    lines = [
        {"job": "curate score", "CPU s": round(score.cpu, 1), "peak MB": round(score.peak), "rows kept": None},
        {"job": "curate prune", "CPU s": round(prune.cpu, 1), "peak MB": round(prune.peak), "rows kept": None},
        {
            "job": "curate, both",
            "CPU s": round(cost, 1),
            "peak MB": round(max(score.peak, prune.peak)),
            "rows kept": rows_of(folder / "ours" / "kept" / "rows"),
        },
    ]
    if peers:
        record = peer(peers, job, data, folder / "theirs")
        lines.append(
            {
                "job": "datatrove",
                "CPU s": round(record["cpu"], 1),
                "peak MB": round(record["peak"]),
                "rows kept": rows_of(folder / "theirs" / "kept"),
            }
        )
        print(f"{mb:g} MB: curate takes {cost / record['cpu']:.3f} of the CPU seconds of datatrove (aim: 0.1)")
    return pl.DataFrame(lines)


def memory(folder: Path, sizes: Sequence[float], job: Job) -> pl.DataFrame:
    """Return the peak memory of one process of the job at several sizes, in MB."""
    lines = []
    for size in sizes:
        data = write(folder / f"data{size:g}", size)
        score, prune = run(job, data, folder / f"ours{size:g}")
        lines.append(
            {
                "MB": size,
                "score, peak MB": round(score.peak),
                "prune, peak MB": round(prune.peak),
                "CPU s": round(score.cpu + prune.cpu, 1),
            }
        )
    return pl.DataFrame(lines)


def cuts(folder: Path, rows: int) -> pl.DataFrame:
    """Return the CPU seconds of prunes of one score folder, with more and more to decide: the least of `REPEATS` runs.

    The last column leaves out the start of a process: a prune of few rows. To keep the best row costs as much as to
    read the scores and to write that all others go.
    """
    few, scores = scored_rows(folder / "few", FEW_ROWS), scored_rows(folder / "all", rows)
    by = ("--by", "score.compression", "--rule", "top")
    requirements = (
        "--require",
        "score.length > 8",
        "--require",
        "score.compression > 0",
        "--require",
        "source != 's9'",
    )
    budget, cap = ("--keep-tokens", str(rows)), ("--cap", f"source={rows // 4}tokens")
    ways: dict[str, tuple[Path, tuple[str, ...]]] = {
        "a share of the best": (scores, (*by, "--keep", "0.3")),
        f"a share of {FEW_ROWS} rows: the start": (few, (*by, "--keep", "0.3")),
        "the best row": (scores, (*by, "--keep-rows", "1")),
        "requirements alone": (scores, requirements),
        "requirements and a share": (scores, (*requirements, *by, "--keep", "0.3")),
        "requirements and a budget of tokens": (scores, (*requirements, *by, *budget)),
        "a budget and a cap": (scores, (*by, *budget, *cap)),
        "requirements, a budget and a cap": (scores, (*requirements, *by, *budget, *cap)),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for repeat in range(REPEATS):
        for place, (name, (read, options)) in enumerate(ways.items()):
            arguments = ["prune", str(read), *options, "--max-source-removal", "1"]
            costs[name].append(required(jobs.command(arguments, folder / f"kept{repeat}-{place}")))
    least = {name: min(cost.cpu for cost in each) for name, each in costs.items()}
    first, start, *_ = least.values()
    lines = []
    for name, each in costs.items():
        ratio, without_start = least[name] / first, (least[name] - start) / (first - start)
        line = {"prune": name, "CPU s": round(least[name], 2), "to the first": round(ratio, 2)}
        lines.append(
            {**line, "without the start": round(without_start, 2), "peak MB": round(max(cost.peak for cost in each))}
        )
    return pl.DataFrame(lines)


def scored_rows(folder: Path, rows: int) -> Path:
    """Score so many short texts of seven sources, and return the folder of the scores."""
    folder.mkdir()
    data, scores = folder / "data.parquet", folder / "scores"
    number = pl.int_range(rows, eager=True)
    names = pl.select(pl.format("s{}", number % 7).alias("source"), pl.format("text of {} x", number).alias("text"))
    pl.DataFrame({"id": number.cast(pl.String)}).hstack(names).write_parquet(data)
    required(jobs.score(data, ("length", "compression"), scores))
    return scores


def run(job: Job, data: Path, folder: Path) -> tuple[Cost, Cost]:
    """Score and prune, and write the rows that are kept; return what both commands cost."""
    folder.mkdir()
    target = folder / "target.jsonl"
    with min(data.iterdir()).open(encoding="utf-8") as lines:
        target.write_text("".join(islice(lines, TARGET_ROWS)), encoding="utf-8")
    score = required(jobs.score(data, [name.format(target=target) for name in job.scorers], folder / "scores"))
    arguments = ["prune", str(folder / "scores"), "--materialize", "--max-source-removal", "1"]
    arguments += [part for text in job.require for part in ("--require", text)]
    if job.ranked:
        # A sixteenth of the tokens of the data, a quarter of their bytes: the filters leave more than that.
        budget = sum(path.stat().st_size for path in data.iterdir()) // 64
        cap = f"source={budget // 3}tokens"
        arguments += ["--by", "score.dsir", "--rule", "top", "--keep-tokens", str(budget), "--cap", cap]
    return score, required(jobs.command(arguments, folder / "kept"))


def peer(python: str, job: Job, data: Path, out: Path) -> dict[str, float]:
    """Run datatrove in a process of its own, and return its CPU seconds and its peak memory."""
    done = subprocess.run(
        [python, "-c", DATATROVE.replace("FILTERS", job.peer_filters), str(data), str(out)],
        capture_output=True,
        text=True,
        env={**environment_of(out), **ONE_THREAD},
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    record: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return record


def rows_of(folder: Path) -> int:
    """Count the lines of the JSON lines below a folder."""
    return sum(path.read_bytes().count(b"\n") for path in folder.rglob("*.jsonl"))


def write(data: Path, mb: float) -> Path:
    """Write real paragraphs with planted duplicates as JSON lines, the same for the same size."""
    data.mkdir()
    rows: list[str] = []
    texts = corpus.texts(corpus.sources(()), round(mb * MB), 0)
    for number, (text, source, _, _) in enumerate(texts):
        rows.append(json.dumps({"id": f"d{number}", "source": source, "text": text}) + "\n")
        if len(rows) == FILE_ROWS:
            (data / f"{number // FILE_ROWS:05d}.jsonl").write_text("".join(rows), encoding="utf-8")
            rows = []
    if rows:
        (data / "last.jsonl").write_text("".join(rows), encoding="utf-8")
    return data


if __name__ == "__main__":
    sys.exit(main())
