"""Rows of scored data read side by side: inputs, scores and decisions of the same shard, batch by batch."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import Interrupted, SchemaError
from curate.pool.pool import Pool
from curate.storage import artifacts, files, manifest
from curate.tables import batches
from curate.tables.batches import Shard

SCORES = ".scores.parquet"
DECISIONS = ".keep.parquet"
LIGHT_ROWS = 1 << 15  # of a batch of single scores
Limits = tuple[float | None, float | None]  # half-open [low, high); None: no bound
SCORE_STEP = "score"  # the name of the job `score` in its records


def score_files(scores: Path) -> tuple[Shard, ...]:
    """Return the score files under a score folder, as shards named by the input they belong to."""
    found = [p for p in files.below(scores, SCORES) if manifest.FOLDER not in p.relative_to(scores).parts]
    if not found:
        raise SchemaError(f"no *{SCORES} under {scores}: run `curate score DATA --scorer NAME --out {scores}` first")
    shards = [Shard(p, p.relative_to(scores).as_posix().removesuffix(SCORES)) for p in found]
    return tuple(sorted(shards, key=lambda s: s.relative))


def job(scores: Path) -> dict[str, object]:
    """Return the arguments with which a score folder was made: data, text_column, batch_rows, scorers."""
    path = scores / manifest.FOLDER / "score.json"
    if not files.exists(path):
        raise Interrupted(f"{scores} has no {manifest.FOLDER}/score.json: it was not made by `curate score`")
    return artifacts.load(path, "score_job")


def kept_batches(shard: Shard, kept: Path | None, needs: Sequence[str]) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
    """Yield the batches of a score file, each with its (rows,) bool "kept" mask; no decisions: all kept."""
    if kept is None:
        yield from ((batch, pl.Series([True] * batch.height)) for batch in batches.batches(shard, needs))
        return
    decision = Shard(kept / (shard.relative + DECISIONS), shard.relative)
    if not files.exists(decision.path):
        raise SchemaError(f"no decisions for {shard.relative} in {kept}: run `curate prune` with --out {kept} first")
    for batch, verdict in zip(batches.batches(shard, needs), batches.batches(decision, ("keep",)), strict=True):
        if not batch["id"].equals(verdict["id"]):
            raise SchemaError(f"{decision.path} was made from other scores than {shard.path}: run `curate prune` again")
        yield batch, verdict["keep"]


def light_batches(shard: Shard, columns: Sequence[str], identity: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yield a few columns of a score file with the ``identity`` columns asked for, many rows at a time."""
    yield from batches.batches(shard, columns, rows=LIGHT_ROWS, identity=identity)


def check_finite(batch: pl.DataFrame, by: str, shard: Shard) -> None:
    """Refuse a score that is no number, by its row."""
    bad = ~batches.finite(batch[by])
    if bad.any():
        first = batch["id"][int(bad.argmax())]
        raise SchemaError(
            f"{shard.path}: {by} is NaN, infinite or null in {bad.sum()} rows, the first with id {first!r}: "
            "score again, or repair the column"
        )


def inside(values: np.ndarray, limits: Limits) -> np.ndarray:
    """Say which of (n,) values lie in [low, high)."""
    low, high = limits
    lowest, highest = -np.inf if low is None else low, np.inf if high is None else high
    return np.asarray((values >= lowest) & (values < highest))


def pool_batches(pool: Pool, needs: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yield the rows of a pool with ``id, source, tokens`` and ``needs``, in shard and row order."""
    filters = dict(pool.filter or {})
    if pool.scores is None:
        extra = [name for name in filters if name != "source" and name not in needs]
        for shard in batches.shards(pool.where):
            for batch in batches.batches(shard, (*needs, *extra)):
                yield batch.filter(*(pl.col(k) == v for k, v in filters.items())) if filters else batch
        return
    scores, ranges = Path(pool.scores), pool.score or {}
    text_column = str(job(scores)["text_column"])
    inputs = {shard.relative: shard for shard in batches.shards(pool.where)}
    for shard in score_files(scores):
        if shard.relative not in inputs:
            raise SchemaError(
                f"{shard.path} has no input {shard.relative} under {', '.join(pool.where)}: was it moved?"
            )
        data = batches.batches(inputs[shard.relative], needs, text_column=text_column)
        marks = kept_batches(shard, Path(pool.kept) if pool.kept else None, tuple(ranges))
        for batch, (mark, verdict) in zip(data, marks, strict=True):
            mine = verdict.to_numpy().copy()
            for column, value in filters.items():
                mine &= (mark[column] == value).to_numpy()
            for column, limits in ranges.items():
                mine &= inside(mark[column].to_numpy(), limits)
            yield batch.filter(mine)
