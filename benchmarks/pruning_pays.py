"""Does pruning pay? Train the same small transformer on what several ways of pruning keep, at equal tokens.

Usage: python benchmarks/pruning_pays.py [--mb 60] [--tokens 1.5e6] [--seeds 3] [--workers 2]

The data are texts of the packages of this machine, with the junk that occurs in them: documentation and code, but also
change logs, copies of licences, headers, tables, minified scripts, translations and generated files. Two targets are
clean and not in the data: prose (documentation) and code (the standard library of Python). Rows are scored once with
`curate score`, and every way of pruning is one `curate prune`. Each way trains `tiny` on the same number of bytes, so
that a way that keeps few rows repeats them.

The table has the loss on both targets, in nats per byte, with the 95 % interval of the mean over seeds, and the
difference to training on all rows, paired by seed. Below 0 pruning pays.
"""

import argparse
import gzip
import json
import random
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import t as student

from curate.engines.local import Local
from curate.pool.pool import Budget, Pool
from curate.runs import trainer_data

LONGEST, SHORTEST = 5_000, 50  # characters of a row: long files are cut at a line, and shorter pieces are no texts
FILE_ROWS = 4_000
HELD_OUT = 10  # one in so many files of documentation is a target, not data
KEEP = 0.4  # share of the rows that a ranking keeps
PARAMS = 2e5
TARGET_BYTES = 300_000  # of each target: the error of the loss is then far below that of a seed
SHARE = {"documents": 0.2, "code": 0.25, "headers": 0.1, "changes": 0.15, "licences": 0.15, "web": 0.1, "tables": 0.05}
RULES = ("score.gopher >= 1", "score.fineweb >= 1", "score.c4 >= 1")
ORIGINAL = "score.duplicates >= 0.25"


@dataclass(frozen=True)
class Way:
    """A way of pruning: its name in the table, and the options of `curate prune` (None: all rows)."""

    name: str
    options: tuple[str, ...] | None


WAYS = (
    Way("all rows", None),
    Way("random rows", ("--by", "score.dsir", "--rule", "sample", "--temperature", "inf", "--keep", str(KEEP))),
    Way("quality rules", tuple(part for rule in RULES for part in ("--require", rule))),
    Way("duplicates removed", ("--require", ORIGINAL)),
    Way("dsir", ("--by", "score.dsir", "--rule", "top", "--keep", str(KEEP))),
    Way(
        "rules, duplicates, dsir",
        (
            *(part for rule in (*RULES, ORIGINAL) for part in ("--require", rule)),
            *("--by", "score.dsir", "--rule", "top", "--keep", str(KEEP)),
        ),
    ),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=60)
    parser.add_argument("--tokens", type=float, default=1.5e6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(measured(Path(folder), options.mb, options.tokens, options.seeds, options.workers))


def measured(folder: Path, mb: float, tokens: float, seeds: int, workers: int) -> str:
    """Return the table as text."""
    data, targets = folder / "data", folder / "targets"
    write(data, targets, mb * 1e6)
    scores = folder / "scores"
    both = "+".join(str(targets / f"{name}.jsonl") for name in ("prose", "code"))
    scorers = ("duplicates", "gopher", "fineweb", "c4", f"dsir:target={both}")
    curate("score", data, *(part for name in scorers for part in ("--scorer", name)), "--out", scores)
    pools = [pool(way, folder, scores) for way in WAYS]
    names = {way.name: place for way, place in zip(WAYS, pools, strict=True)}
    loaded = trainer_data.load("tiny", pools, {name: targets / f"{name}.jsonl" for name in ("prose", "code")})
    tasks = [Training(loaded.trainer, way.name, tokens, seed) for way in WAYS for seed in range(seeds)]
    losses = dict(Local(workers).run(train, tasks))
    rows = [row(way.name, names[way.name], losses, seeds) for way in WAYS]
    title = f"{mb:g} MB of rows, {tokens:.3g} bytes of training, {PARAMS:.2g} parameters, {seeds} seeds; nats per byte"
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200, tbl_hide_dataframe_shape=True, fmt_str_lengths=60):
        return f"{title}\n{pl.DataFrame(rows)}"


@dataclass(frozen=True)
class Training:
    """One run: what is trained, on which pool, for how many bytes, and the seed."""

    trainer: trainer_data.Trainer
    pool: str
    tokens: float
    seed: int


def train(run: Training) -> tuple[tuple[str, int], dict[str, float]]:
    """Train one model, and return its losses on the targets."""
    return (run.pool, run.seed), run.trainer.train({run.pool: 1.0}, Budget(run.tokens, PARAMS), seed=run.seed)


def row(name: str, kept: Pool, losses: dict[tuple[str, int], dict[str, float]], seeds: int) -> dict[str, str]:
    """Return one line of the table."""
    line = {"trained on": name, "MB": f"{4 * kept.tokens / 1e6:.1f}"}
    for target in ("prose", "code"):
        values = np.array([losses[name, seed][target] for seed in range(seeds)])
        reference = np.array([losses[WAYS[0].name, seed][target] for seed in range(seeds)])
        line[target] = with_interval(values)
        line[f"{target}, to all rows"] = "-" if name == WAYS[0].name else with_interval(values - reference)
    return line


def with_interval(values: np.ndarray) -> str:
    """Return the mean of values (seeds,), with half the width of its 95 % interval."""
    n = len(values)
    half = student.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return f"{values.mean():.4f} +- {half:.4f}"


def pool(way: Way, folder: Path, scores: Path) -> Pool:
    """Prune in one way, and return what is kept as a pool."""
    record = json.loads((scores / "_curate" / "score.json").read_text())
    paths = tuple(str(path) for path in record["data"])
    table = pl.read_parquet(scores / "**/*.scores.parquet", columns=["id", "tokens"])
    if way.options is None:
        return Pool(way.name, table["tokens"].sum(), table.height, paths, scores=str(scores))
    kept = folder / way.name.replace(" ", "_").replace(",", "")
    curate("prune", scores, *way.options, "--max-source-removal", "1", "--verify", "0", "--out", kept)
    removal = pl.read_parquet(kept / "removal.parquet").filter(pl.col("reason") == "kept")
    total = removal.select(pl.col("rows", "tokens").sum()).row(0, named=True)
    return Pool(way.name, total["tokens"], total["rows"], paths, scores=str(scores), kept=str(kept))


def curate(*arguments: object) -> None:
    """Run the command that users run."""
    command = [sys.executable, "-c", "from pipelines.shared.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")


def write(data: Path, targets: Path, size: float) -> None:
    """Write the data as JSON lines, a folder for each kind of text, and the two targets."""
    data.mkdir()
    targets.mkdir()
    packages, library = Path(sysconfig.get_paths()["purelib"]), Path(sysconfig.get_paths()["stdlib"])
    share = Path("/usr/share")
    documents = sorted([*files(packages, "*.rst", "*.md", "METADATA"), *files(share, "*.rst", "*.md")])
    # By the name, so that near copies of a page in two packages mostly fall on one side.
    prose = [path for path in documents if sum(path.name.encode()) % HELD_OUT == 0]
    kinds = {
        "documents": [path for path in documents if path not in set(prose)],
        "code": files(packages, "*.py"),
        "headers": files(packages, "*.h", "*.hpp", "*.c", "*.f90", "*.pyx"),
        "changes": files(share / "doc", "changelog*.gz", "NEWS*.gz"),
        "licences": files(share / "doc", "copyright"),
        "web": [
            *files(packages, "*.js", "*.css", "*.html", "*.svg"),
            *files(share, "*.js", "*.html", "*.xml", "*.svg"),
        ],
        "tables": [*files(packages, "*.csv", "*.json"), *files(share, "*.csv", "*.json", "*.cmake")],
    }
    for kind, paths in kinds.items():
        rows = list(limited(pieces(shuffled(paths)), size * SHARE[kind]))
        for number, start in enumerate(range(0, len(rows), FILE_ROWS)):
            save(data / kind / f"{number:03d}.jsonl", rows[start : start + FILE_ROWS])
    save(targets / "prose.jsonl", list(limited(pieces(shuffled(prose)), TARGET_BYTES)))
    standard = [path for path in files(library, "*.py") if not {"site-packages", "test", "tests"} & set(path.parts)]
    save(targets / "code.jsonl", list(limited(pieces(shuffled(standard)), TARGET_BYTES)))


def files(folder: Path, *patterns: str) -> list[Path]:
    """Return the files below a folder that match a pattern, sorted."""
    return sorted({path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()})


def shuffled(paths: Sequence[Path]) -> list[Path]:
    """Return paths in a random order that is the same in every call."""
    return random.Random(0).sample(list(paths), len(paths))


def pieces(paths: Sequence[Path]) -> Iterator[str]:
    """Yield the texts of files, cut where they are long."""
    for path in paths:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = content.decode("utf-8", errors="replace")
        start = 0
        while start < len(text):
            # A line that is longer than a row is cut inside.
            line_end = text.rfind("\n", start, start + LONGEST) + 1
            end = line_end if start + LONGEST < len(text) and line_end > start else start + LONGEST
            if len(piece := text[start:end]) >= SHORTEST:
                yield piece
            start = end


def limited(texts: Iterator[str], size: float) -> Iterator[str]:
    """Yield texts until they have so many bytes."""
    total = 0
    for text in texts:
        if total >= size:
            return
        total += len(text.encode())
        yield text


def save(path: Path, texts: Sequence[str]) -> None:
    """Write texts as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


if __name__ == "__main__":
    main()
