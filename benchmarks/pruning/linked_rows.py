"""What links of duplicates cost: CPU seconds and peak memory of `agreement`, `--holdout` and regrouping by linked rows.

    python benchmarks/pruning/linked_rows.py --rows 1e6,4e6

Every row is linked. `pairs`: every two rows have equal texts. `group`: all rows have one text, so that one group holds
all of them. `chain`: the links of `pairs` are replaced by links of texts that are alike, each row to the next one, so
that one group holds all rows and no row leads to all others. Each job is a command of its own, with one worker and one
thread, beside the same command without links. `bytes a row` is the difference of their peaks by linked row.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from curate import pools
from curate.streaming.near_duplicates.finished import LINKS_OF_PART
from curate.tables import batches
from curate.tables.corpus import array_files

sys.path.insert(0, str(Path(__file__).parents[1]))
from engine_rows import jobs
from engine_rows.jobs import Cost

SOURCES = 5
UNLINKED = 10  # rows: without any, --holdout refuses data that are one group
SHAPES = ("pairs", "group", "chain")


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


def costs(rows: int, shape: str, folder: Path) -> dict[str, tuple[Cost, Cost]]:
    """Return for each job what it cost without the links, and with them."""
    data, scores = folder / "data", folder / "scores"
    write_rows(rows, shape, data)
    result = {}
    duplicates = jobs.required(jobs.score(data, ("duplicates",), scores))
    if shape == "chain":
        link_in_a_chain(scores, rows)
    else:
        both = jobs.required(jobs.score(data, ("duplicates", "agreement"), folder / "both"))
        result["agreement"] = (duplicates, both)
    prune = ("prune", str(scores), "--require", "tokens > 0")
    bound = ("--require", "score.duplicates >= 0.25")
    plain = jobs.required(jobs.command(prune, folder / "plain"))
    result["regrouping"] = (plain, jobs.required(jobs.command((*prune, *bound), folder / "kept")))
    pools(scores, by="source").save(folder / "pools.json")
    draw = ("materialize", str(folder / "pools.json"))
    drawn = jobs.required(jobs.command(draw, folder / "drawn"))
    result["holdout"] = (drawn, jobs.required(jobs.command((*draw, "--holdout", "0.5"), folder / "held")))
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
                for job, (without, with_links) in costs(rows, shape, Path(folder)).items():
                    growth = (with_links.peak - without.peak) * 2**20 / rows
                    cells = f"{without.cpu:.1f} | {with_links.cpu:.1f} | {without.peak:.0f}"
                    print(
                        f"| {job} | {shape} | {rows:,} | {cells} | {with_links.peak:.0f} | {growth:.0f} |", flush=True
                    )


if __name__ == "__main__":
    main()
