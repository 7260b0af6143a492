"""Ways of pruning, and what each keeps.

In: scores of all rows. Out: for each way the pools to train on, their shares, and the tokens that it keeps of each
source.

The bounds of the rules that suit the data, and the order of the steps, were written down before any loss of theirs was
looked at.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from curate.pool.pool import Pool

KEEP = 0.4  # share of the tokens that a ranking keeps
WORST = 0.05  # share of the rows below the bound on `repetition`, and below that on `compression`
NOISE = 0.85  # of `score.compression`: above it lie keys, hashes and encoded files, as its documentation says
ENGLISH = 0.65  # least probability of English: the threshold of FineWeb (Penedo et al. 2024, arXiv 2406.17557)
WEB_RULES = ("score.gopher >= 1", "score.fineweb >= 1", "score.c4 >= 1")
ORIGINAL = "score.duplicates >= 0.25"  # near copies score lower
ALL = "all rows"
SCORERS = ("duplicates", "gopher", "fineweb", "c4", "repetition", "compression", "language")


@dataclass(frozen=True)
class Scored:
    """The scores of all rows: their folder, the data, a table with all columns, and what earlier ways keep."""

    folder: Path
    data: tuple[str, ...]
    table: pl.DataFrame
    kept: Mapping[str, "Kept"]

    @property
    def tokens(self) -> int:
        """The tokens of all rows."""
        return int(self.table["tokens"].sum())


@dataclass(frozen=True)
class Kept:
    """What a way keeps: pools to train on, the share of the training that each gets, and tokens of each source."""

    pools: tuple[Pool, ...]
    weights: Mapping[str, float]
    tokens: Mapping[str, int]


@dataclass(frozen=True)
class Way:
    """A way of pruning: its name in the table, and the options of `curate prune`, made from the scores."""

    name: str
    options: Callable[[Scored], tuple[str, ...]]

    def keep(self, scored: Scored) -> Kept:
        """Prune in this way."""
        out = scored.folder.parent / self.name.replace(" ", "_").replace(",", "")
        # `prune` writes this file last.
        if not (out / "pools.json").exists():
            # Sources may vanish: the second table shows which.
            unguarded = ("--max-source-removal", "1", "--verify", "0", "--out", out)
            curate("prune", scored.folder, *self.options(scored), *unguarded)
        removal = pl.read_parquet(out / "removal.parquet").filter(pl.col("reason") == "kept")
        sources = removal.group_by("source").agg(pl.col("rows", "tokens").sum()).sort("source")
        tokens = dict(sources.select("source", "tokens").iter_rows())
        pool = Pool(
            self.name,
            sum(tokens.values()),
            int(sources["rows"].sum()),
            scored.data,
            scores=str(scored.folder),
            kept=str(out),
        )
        return Kept((pool,), {self.name: 1.0}, tokens)


@dataclass(frozen=True)
class Everything:
    """No pruning: all rows."""

    name: str = ALL

    def keep(self, scored: Scored) -> Kept:
        """Keep all rows."""
        pool = Pool(self.name, scored.tokens, scored.table.height, scored.data, scores=str(scored.folder))
        tokens = dict(scored.table.group_by("source").agg(pl.col("tokens").sum()).sort("source").iter_rows())
        return Kept((pool,), {self.name: 1.0}, tokens)


@dataclass(frozen=True)
class Ratio:
    """No pruning within sources: all rows, mixed in the ratio of sources that another way keeps."""

    of: str

    @property
    def name(self) -> str:
        """The name in the table."""
        return f"all rows, sources as in: {self.of}"

    def keep(self, scored: Scored) -> Kept:
        """Keep all rows, and weigh their sources."""
        mixture = scored.kept[self.of].tokens
        whole = scored.kept[ALL].tokens
        pools = tuple(
            Pool(f"all {source}", whole[source], 1, scored.data, {"source": source}, None, str(scored.folder))
            for source in mixture
        )
        total = sum(mixture.values())
        return Kept(pools, {f"all {source}": tokens / total for source, tokens in mixture.items()}, mixture)


def ranked(*options: str) -> tuple[str, ...]:
    """Return the options of a ranking by likeness to the examples."""
    return ("--by", "score.dsir", *options)


def budget(scored: Scored) -> tuple[str, ...]:
    """Return the option that keeps a share of all tokens. All ways with this budget keep as many."""
    return ("--keep-tokens", str(round(KEEP * scored.tokens)))


def required(*conditions: str) -> tuple[str, ...]:
    """Return conditions as options."""
    return tuple(part for condition in conditions for part in ("--require", condition))


def suited(scored: Scored) -> tuple[str, ...]:
    """Return rules for this data, which is no crawl of the web: code, documentation, change logs and licences.

    The rules of web pages compare a text with limits that are usual on web pages. Code breaks them because it is code.
    These rules ask for the worst texts of this data instead: the 5 % that repeat themselves most, the 5 % that compress
    best, and encoded files. The language is asked of sources that are written in one.
    """
    bounds = {name: scored.table[f"score.{name}"].quantile(WORST) for name in ("repetition", "compression")}
    return (
        *(f"score.{name} >= {bound:.4f}" for name, bound in bounds.items()),
        f"score.compression <= {NOISE}",
        f"score.language >= {ENGLISH} OR source IN ('code', 'headers', 'tables')",
    )


def as_many(name: str) -> Callable[[Scored], tuple[str, ...]]:
    """Return options that keep random rows, as many tokens as another way."""
    return lambda scored: ("--keep-tokens", str(sum(scored.kept[name].tokens.values())))


WEB, WEB_FULL = "web rules", "web rules, duplicates, dsir"
WAYS: tuple[Way | Everything | Ratio, ...] = (
    Everything(),
    Way("random rows", budget),
    Way("duplicates removed", lambda scored: required(ORIGINAL)),
    Way("dsir, drawn", lambda scored: (*ranked("--rule", "sample"), *budget(scored))),
    Ratio("dsir, drawn"),
    Way(
        "suited rules, duplicates, dsir drawn",
        lambda scored: (*required(*suited(scored), ORIGINAL), *ranked("--rule", "sample"), *budget(scored)),
    ),
    Way(WEB, lambda scored: required(*WEB_RULES)),
    Ratio(WEB),
    Way(WEB_FULL, lambda scored: (*required(*WEB_RULES, ORIGINAL), *ranked("--rule", "top"), "--keep", str(KEEP))),
    Way(f"random rows, as many as {WEB_FULL}", as_many(WEB_FULL)),
)


def score(data: Path, examples: Path, out: Path) -> Scored:
    """Score all rows once. ``examples`` is a folder of texts like those that are wanted."""
    scorers = (*SCORERS, f"dsir:target={examples}")
    curate("score", data, *(part for name in scorers for part in ("--scorer", name)), "--out", out)
    record = json.loads((out / "_curate" / "score.json").read_text())
    paths = tuple(str(path) for path in record["data"])
    return Scored(out, paths, pl.read_parquet(out / "**/*.scores.parquet"), {})


def curate(*arguments: object) -> None:
    """Run the command that users run."""
    command = [sys.executable, "-c", "from pipelines.shared.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
