"""What links of duplicates cost: CPU seconds and peak memory of `agreement`, `--holdout` and regrouping by linked rows.

    python benchmarks/pruning/linked_rows.py --rows 1e6,4e6

Every row is linked. `pairs`: every two rows have equal texts. `group`: all rows have one text, so that one group holds
all of them. `chain`: the links of `pairs` are replaced by links of texts that are alike, each row to the next one, so
that one group holds all rows and no row leads to all others. Each job is a command of its own, with one worker and one
thread, beside the same command without links. `bytes a row` is the difference of their peaks by linked row.
"""

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from curate.streaming.near_duplicates.finished import LINKS_OF_PART
from curate.tables import batches
from curate.tables.corpus import array_files

SOURCES = 5
UNLINKED = 10  # rows: without any, --holdout refuses data that are one group
SHAPES = ("pairs", "group", "chain")
ROOT = Path(__file__).parents[2]
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
ENVIRONMENT = {**os.environ, **THREADS, "PYTHONPATH": str(ROOT)}
COMMAND = """
import resource
from pipelines.shared.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
"""


@dataclass(frozen=True)
class Usage:
    """CPU seconds and peak MB of a command."""

    seconds: float
    peak: float


def command(*words: str) -> Usage:
    """Run a command of `curate`, and return what it used."""
    done = subprocess.run([sys.executable, "-c", COMMAND, *words], env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return Usage(*map(float, done.stdout.split()[-2:]))


def write_rows(rows: int, shape: str, data: Path) -> None:
    """Write linked rows and a few others, in a folder for each source. Rows of one group are of several sources."""
    number = pl.int_range(rows + UNLINKED, eager=True)
    texts = number * (shape != "group") // 2
    texts = pl.select(pl.when(number < rows).then(texts).otherwise(-number)).to_series()
    frame = pl.DataFrame({"id": number.cast(pl.String), "text": texts.cast(pl.String)})
    for source in range(SOURCES):
        folder = data / f"source-{source}"
        folder.mkdir(parents=True)
        frame.gather_every(SOURCES, source).write_parquet(folder / "rows.parquet", row_group_size=20_000)


def link_in_a_chain(scores: Path, rows: int) -> None:
    """Replace the links of a score folder by those of each row to the next one."""
    keys = batches.keys(pl.int_range(rows, eager=True).cast(pl.String), 0)
    pairs = np.sort(np.stack([keys[:-1], keys[1:]]), axis=0)
    paths = sorted((scores / "_curate" / "duplicates" / LINKS_OF_PART).glob("*.npz"))
    for path, (first, second) in zip(paths, np.array_split(pairs, len(paths), axis=1), strict=True):
        similarity, equal = np.full(len(first), 0.8), np.zeros(len(first), bool)
        links = {"first": first, "second": second, "similarity": similarity, "equal": equal}
        array_files.write_arrays(path, links)


def usages(rows: int, shape: str, folder: Path) -> dict[str, tuple[Usage, Usage]]:
    """Return for each job what it used without the links, and with them."""
    data, one_worker = str(folder / "data"), ("--workers", "1", "--out")
    write_rows(rows, shape, folder / "data")
    scores, both = str(folder / "scores"), str(folder / "both")
    result = {}
    duplicates = command("score", data, "--scorer", "duplicates", *one_worker, scores)
    if shape == "chain":
        link_in_a_chain(folder / "scores", rows)
    else:
        names = ("--scorer", "duplicates", "--scorer", "agreement")
        result["agreement"] = (duplicates, command("score", data, *names, *one_worker, both))
    condition = ("--require", "tokens > 0")
    plain = command("prune", scores, *condition, *one_worker, str(folder / "plain"))
    bound = ("--require", "score.duplicates >= 0.25")
    result["regrouping"] = (plain, command("prune", scores, *condition, *bound, *one_worker, str(folder / "kept")))
    pools = str(folder / "pools.json")
    command("pools", scores, "--by", "source", "--out", pools)
    drawn = command("materialize", pools, *one_worker, str(folder / "drawn"))
    held = command("materialize", pools, "--holdout", "0.5", *one_worker, str(folder / "held"))
    result["holdout"] = (drawn, held)
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1e6,4e6")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=SHAPES)
    options = parser.parse_args()
    print("| job | links | linked rows | CPU-s without | with | peak MB without | with | bytes a row |")
    print("|---|---|---|---|---|---|---|---|")
    for shape in options.shapes:
        for rows in (int(float(item)) for item in options.rows.split(",")):
            with TemporaryDirectory() as folder:
                for job, (without, with_links) in usages(rows, shape, Path(folder)).items():
                    growth = (with_links.peak - without.peak) * 2**20 / rows
                    cells = f"{without.seconds:.1f} | {with_links.seconds:.1f} | {without.peak:.0f}"
                    print(
                        f"| {job} | {shape} | {rows:,} | {cells} | {with_links.peak:.0f} | {growth:.0f} |", flush=True
                    )


if __name__ == "__main__":
    main()
