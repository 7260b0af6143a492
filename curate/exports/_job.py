"""The job `export`: a plan or a phase as a trainer's file, with tokens that add up exactly."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, cast

import polars as pl

from curate import open_sets
from curate.errors import SchemaError, first_few
from curate.exports._contract import Export
from curate.pool import mixture as mixtures
from curate.pool.mixture import Mixture
from curate.pool.plan_files import PlanSource
from curate.pool.pool import Pool, read_pools
from curate.storage.files import write_text
from curate.tables.shards import ending

if TYPE_CHECKING:
    from curate.charts.chart import Chart

PATTERN = "{pool}"  # where the pool's name goes in a path for all pools


@dataclass(frozen=True, repr=False)
class Exported:
    """A trainer's file: its ``text``, the mixture in it, and the ``path`` it was written to, if it was.

    ``to`` is the trainer with its options; ``suffix`` is the usual ending of such a file. ``unread`` are the endings of
    files of pools that the trainer does not read.
    """

    text: str
    to: str
    mixture: Mixture
    suffix: str
    path: Path | None = None
    unread: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return one line: the trainer, the pools and the tokens."""
        parts = f"{len(self.mixture.parts)} pools, {self.mixture.tokens} tokens"
        return f"Exported({self.to}: {parts}; {self.path or 'not written'})"

    def _repr_html_(self) -> str:
        """Return the table and the notes as HTML, for notebooks."""
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return f"<b>{escape(self.mixture.origin)}</b>{self.table()._repr_html_()}" + (f"<ul>{notes}</ul>" * bool(notes))

    @property
    def guessed(self) -> tuple[str, ...]:
        """Pools whose path is the trainer's usual place, because nobody said where they lie."""
        return tuple(part.pool.name for part in self.mixture.parts if part.guessed)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to check before training: pools left out, guessed paths, an unusual file name."""
        notes = []
        if self.mixture.left_out:
            notes.append(f"left out, no tokens: {first_few(self.mixture.left_out)}")
        if self.guessed:
            notes.append(f"paths guessed for {first_few(self.guessed)}: say where they lie with --path POOL=PATH")
        if self.unread:
            notes.append(f"{self.to} does not read {first_few(self.unread)}: convert the files of these pools")
        if self.path and self.path.suffix != self.suffix:
            notes.append(f"note: such a file is usually named {self.path.with_suffix(self.suffix).name}")
        return tuple(notes)

    def table(self) -> pl.DataFrame:
        """Return a row for every pool: pool, tokens, share, passes, paths, guessed."""
        parts = self.mixture.parts
        return pl.DataFrame(
            {
                "pool": [part.pool.name for part in parts],
                "tokens": [part.tokens for part in parts],
                "share": list(self.mixture.shares),
                "passes": [part.epochs for part in parts],
                "paths": [list(part.paths) for part in parts],
                "guessed": [part.guessed for part in parts],
            }
        )

    def chart(self) -> "Chart":
        """Return a chart of the tokens of every pool."""
        from curate.charts import plan_charts

        return plan_charts.tokens(self.table().drop("paths", "guessed"))

    def save(self, path: str | Path) -> None:
        """Write the file."""
        write_text(Path(path), self.text)


def export(
    plan: PlanSource,
    to: str,
    *,
    budget: int | None = None,
    phase: int | None = None,
    paths: str | Mapping[str, str | Sequence[str]] | None = None,
    pools: str | Path | Iterable[Pool] | None = None,
    min_share: float = 0.0,
    seed: int = 0,
    out: str | Path | None = None,
) -> Exported:
    """Return a plan, or one phase of a schedule, as the file that the trainer ``to`` reads.

    ``plan`` is plan.json or schedule.json, as a path, its content or a result in memory. ``to`` names the trainer, with
    options as in "mosaic:seq_len=2048". ``budget`` and ``phase`` choose a plan or a phase, from 0, if there are
    several. ``paths`` says where the data of each pool lies: a dictionary by pool, or one path with {pool} in it; the
    key "{pool}" of a dictionary is such a path for all other pools. ``pools`` are needed if the plan does not hold its
    own. Pools under ``min_share`` are left out. ``seed`` is for the trainer's own draws. The file is written to
    ``out``, if given.

    Raises:
        CurateError: an unknown trainer or option.
        SchemaError: no such plan or phase, paths for unknown pools or to files that the trainer does not read, or a
            mixture that the trainer cannot express.
    """
    exporter = cast(Export, open_sets.build("exports", to))
    own = None if pools is None else read_pools(pools)
    mixture = mixtures.load(plan, budget, phase=phase, pools=own, min_share=min_share, seed=seed)
    # Phases cannot be merged into one mixture: the order of the data is what a schedule is about.
    if (count := len(mixture.ends)) > 1:
        ends = ", ".join(f"{end:g}" for end in mixture.ends)
        raise SchemaError(
            f"{mixture.origin}, which end at {ends} of training, and a config holds one mixture: write a file for each "
            f"with --phase 0 ... {count - 1}"
        )
    mixture = mixtures.locate(mixture, _paths(paths, mixture), exporter.usual, exporter.reads)
    _check_endings(mixture, to, exporter.reads)
    unread = {
        ending(place)
        for part in mixture.parts
        if part.guessed and exporter.reads
        for place in part.pool.where
        if not place.endswith(exporter.reads)
    }
    path = None if out is None else Path(out)
    exported = Exported(exporter.render(mixture), to, mixture, exporter.suffix, path, tuple(sorted(unread - {""})))
    if path:
        exported.save(path)
    return exported


def _check_endings(mixture: Mixture, to: str, reads: Sequence[str]) -> None:
    """Check that a trainer reads the kinds of files that hold the pools; ``reads`` are the endings that it knows.

    Raises:
        SchemaError: for the first file that it does not read. A trainer would take its path for a folder or a data set.
    """
    for part in mixture.parts:
        for path in part.paths:
            if reads and ending(path) and not path.endswith(tuple(reads)):
                raise SchemaError(
                    f"pool {part.pool.name!r} lies at {path}, and {to} reads only {', '.join(reads)}. Convert its "
                    "files, and name them with --path POOL=PATH"
                )


def _paths(paths: str | Mapping[str, str | Sequence[str]] | None, mixture: Mixture) -> dict[str, tuple[str, ...]]:
    """Return the paths of every pool that has some."""
    if paths is None:
        return {}
    chosen = {PATTERN: paths} if isinstance(paths, str) else dict(paths)
    names = [*(part.pool.name for part in mixture.parts), *mixture.left_out]
    if unknown := [name for name in chosen if name not in (*names, PATTERN)]:
        raise SchemaError(
            f"a path for pool {unknown[0]!r}: the pools of the plan are {first_few(sorted(names), near=unknown[0])}"
        )
    shared = chosen.pop(PATTERN, ())
    patterns = (shared,) if isinstance(shared, str) else tuple(shared)
    if missing := [pattern for pattern in patterns if PATTERN not in pattern]:
        raise SchemaError(f"the path {missing[0]!r} for all pools has no {PATTERN} in it")
    own = {name: (path,) if isinstance(path, str) else tuple(path) for name, path in chosen.items()}
    others = [part.pool.name for part in mixture.parts if patterns and part.pool.name not in own]
    return own | {name: tuple(mixtures.filled(pattern, name) for pattern in patterns) for name in others}
