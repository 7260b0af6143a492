"""The job `pools`: turn scored rows into pools, one for each source or several for a large one.

In: score files, and decisions if rows were pruned. Out: `Pools`, which saves pools.json.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import polars as pl

from curate.engines import Engine
from curate.engines.local import Local
from curate.errors import SchemaError, amount, first_few
from curate.pool.pool import Pool, to_json
from curate.pruning import score_bins
from curate.pruning.score_bins import Bin, KeptRows, ScoreFiles
from curate.storage import artifacts
from curate.storage.completion import LeftOut
from curate.tables import scored
from curate.tables.row_ranges import row_ranges

if TYPE_CHECKING:
    from curate.charts.chart import Chart


class InFolder(Protocol):
    """A result that was written to a folder: what `score` and `prune` return."""

    @property
    def out(self) -> Path | None:
        """Return the folder; None if nothing was written."""
        ...


Folder = str | Path | InFolder
BINS = 5  # for each source, where a score splits it


@dataclass(frozen=True, repr=False)
class Pools:
    """Pools in the order of their names, how they were made, and what the scores lack of the data.

    ``notes`` say which sources and bins have no tokens and were left out.
    """

    pools: tuple[Pool, ...]
    made_by: Mapping[str, object] = field(compare=False)
    notes: tuple[str, ...] = ()
    left_out: LeftOut | None = field(default=None, compare=False)

    def __iter__(self) -> Iterator[Pool]:
        """Yield the pools."""
        return iter(self.pools)

    def __len__(self) -> int:
        """Return the number of pools."""
        return len(self.pools)

    def __getitem__(self, i: int) -> Pool:
        """Return the pool at a place, from 0."""
        return self.pools[i]

    def table(self) -> pl.DataFrame:
        """Return one row for each pool: pool, tokens (unique), examples (rows)."""
        schema = {"pool": pl.String, "tokens": pl.Int64, "examples": pl.Int64}
        return pl.DataFrame(((p.name, p.tokens, p.examples) for p in self.pools), schema=schema, orient="row")

    @property
    def tokens_noun(self) -> str:
        """What people read for the tokens of pools: ``tokens``, or ``tokens (bytes / 4)`` where they are guesses."""
        return scored.tokens_noun_of(self.pools)

    def record(self) -> dict[str, object]:
        """Return the rows of the table as plain values, ready for JSON, and what the pools lack of the data."""
        left_out = None if self.left_out is None else self.left_out.record()
        return {"pools": self.table().to_dicts(), "left_out": left_out, "warnings": list(self.warnings)}

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what a user should know before going on."""
        return () if self.left_out is None else self.left_out.warnings

    def chart(self) -> "Chart":
        """Return a bar chart of the unique tokens of each pool."""
        from curate.charts import row_charts

        return row_charts.pool_tokens(self.table())

    def save(self, path: str | Path) -> None:
        """Write pools.json, the file that `curate pools` writes."""
        artifacts.save(Path(path), "pools", {"pools": to_json(self.pools), "made_by": dict(self.made_by)})

    def __repr__(self) -> str:
        """Return the number of pools and their tokens."""
        return f"Pools of {sum(p.tokens for p in self.pools):.4g} tokens: {first_few(p.name for p in self.pools)}"

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def pools(
    scores: Folder,
    *,
    kept: Folder | None = None,
    by: str | None = None,
    bins: int | None = None,
    min_tokens: float = 0,
    partial: bool = False,
    engine: Engine | None = None,
) -> Pools:
    """Make one pool for each source, or several by a score.

    Args:
        scores: the result of `score`, or its folder.
        kept: the result of `prune` on these scores, or its folder. Rows that it dropped are not counted.
        by: a score column, such as ``score.prototypes``, at whose quantiles each source is split into bins of about
            equal numbers of rows. None or "source": sources are not split.
        bins: the most bins for each source; 5 if None.
        partial: take what is scored so far of a folder whose job has not ended. What is left out is a warning.
        min_tokens: split a source only into so many bins that each has about this many tokens.
        engine: where to read the score files; None reads them in this process. The result does not depend on it.

    The pools of a source that is split are called ``source.1`` (lowest scores), ``source.2`` and so on. Their
    ``tokens`` are the unique tokens of the kept rows.

    A source of which all texts are empty or null has no pool, and neither has such a bin; ``notes`` name them.

    Raises:
        Unfinished: if the job `score` has not ended in ``scores`` (and ``partial`` is not set), or the job `prune` has
            not in ``kept``.
        SchemaError: if there are no rows or no tokens, a score is not finite, or decisions belong to other scores.
    """
    scores, kept = folder(scores), folder(kept) if kept is not None else None
    shards = scored.score_files(scores, partial=partial)  # whether there are any is the first question
    # Pools point to the inputs: their tokens must be those of the rows that are there.
    scored.check_inputs(scores)
    if kept is not None:
        scored.check_decisions(scores, kept)
    by, bins = None if by == "source" else by, BINS if bins is None else bins
    # One set of workers for all readings: starting them takes seconds.
    with (engine or Local()).session() as session:
        score_files = ScoreFiles(tuple(rows for shard in shards for rows in row_ranges(shard)), session)
        rows, tokens = score_bins.totals(score_files, KeptRows(kept))
        if not rows:
            remedy = "Raise --keep of `curate prune`" if kept else "Score data that has rows"
            raise SchemaError(
                f"{scores} has no rows{' that were kept' if kept else ''}: a pool needs at least one. {remedy}"
            )
        if empty := [source for source in sorted(rows) if not tokens[source]]:
            rows = {source: count for source, count in rows.items() if source not in empty}
            if not rows:
                raise SchemaError(
                    f"{scores} has no tokens: all texts of {amount(len(empty), 'source')} are empty or null. Name the "
                    "column of texts with --text-column of `curate score`"
                )
        # A bin with too few tokens would be repeated too often to be a useful pool.
        parts = {source: _parts(bins, tokens[source], min_tokens) if by else 1 for source in rows}
        if by:
            split = score_bins.bins(score_files, KeptRows(kept, by, frozenset(empty)), parts, rows)
        else:  # every source is one bin, and its counts are known already
            split = {source: [Bin((None, None), rows[source], tokens[source])] for source in sorted(rows)}
    where, token_counts = _inputs(scores), scored.token_counts(scores) or None
    members = []
    notes = [f"source {source!r} is left out: all its texts are empty or null" for source in empty]
    for source, source_bins in split.items():
        for i, part in enumerate(source_bins):
            name = f"{source}.{i + 1}" if len(source_bins) > 1 else source
            if not part.tokens:
                notes.append(f"pool {name!r} is left out: all its {part.rows} texts are empty or null")
                continue
            pool = Pool(
                name=name,
                tokens=part.tokens,
                examples=part.rows,
                where=where,
                filter={"source": source},
                score={by: part.limits} if by and parts[source] > 1 else None,
                scores=str(scores),
                kept=str(kept) if kept else None,
                token_counts=token_counts,
            )
            members.append(pool)
    arguments = {"scores": scores, "kept": kept, "by": by or "source", "bins": bins, "min_tokens": float(min_tokens)}
    # Left out where it is not set, so that other files keep their bytes.
    arguments |= {"partial": True} if partial else {}
    record = artifacts.made_by(arguments, [scores] if kept is None else [scores, kept], 0)
    return Pools(tuple(members), record, tuple(notes), scored.left_out(scores))


def folder(result: Folder) -> Path:
    """Return the folder of a result, or the folder itself.

    Raises:
        SchemaError: if the result was not written to a folder.
    """
    if isinstance(result, str | Path):
        return Path(result)
    if result.out is None:
        raise SchemaError("these rows were pruned without out, so that there is no folder. Prune them with out=FOLDER")
    return result.out


def pools_of_sources(scores: Path, kept: Path, counts: pl.DataFrame) -> tuple[Pool, ...]:
    """Return the pool of each source from counts that are known already: source, kept, tokens_kept.

    They equal those of `pools`. A source of which no token is kept has no pool.
    """
    where, counts_from = _inputs(scores), scored.token_counts(scores) or None
    return tuple(
        Pool(name, tokens, examples, where, {"source": name}, None, str(scores), str(kept), token_counts=counts_from)
        for name, examples, tokens in counts.select("source", "kept", "tokens_kept").iter_rows()
        if tokens > 0
    )


def _parts(bins: int, tokens: int, min_tokens: float) -> int:
    return max(1, min(bins, int(tokens // min_tokens) if min_tokens else bins))


def _inputs(scores: Path) -> tuple[str, ...]:
    """Return the paths of the data that a score folder was made from."""
    return tuple(str(item) for item in cast(list[str], scored.job(scores)["data"]))
