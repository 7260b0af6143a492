"""Read inputs, scores and decisions of the same rows side by side."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from curate.errors import Interrupted, SchemaError
from curate.pool.pool import Pool
from curate.storage import artifacts, files, manifest
from curate.tables import batches, line_losses
from curate.tables.batches import Reading, Shard
from curate.tables.reading import DOCUMENT_BYTES

SCORES = ".scores.parquet"
DECISIONS = ".keep.parquet"
LIGHT_ROWS = 1 << 15  # of a batch with a few columns of numbers: larger batches cost less
ScoreRange = tuple[float | None, float | None]  # half-open [low, high); None means no bound
SCORE_STEP = "score"  # the name of the job `score` in its records


def score_files(scores: Path) -> tuple[Shard, ...]:
    """Return the score files under a score folder, as shards with the relative paths of their inputs.

    Raises:
        SchemaError: if there are none.
    """
    paths = [p for p in files.below(scores, SCORES) if manifest.FOLDER not in p.relative_to(scores).parts]
    if not paths:
        raise SchemaError(f"no *{SCORES} under {scores}: run `curate score DATA --scorer NAME --out {scores}` first")
    shards = [Shard(p, p.relative_to(scores).as_posix().removesuffix(SCORES)) for p in paths]
    return tuple(sorted(shards, key=lambda s: s.relative))


def record_path(scores: Path) -> Path:
    """Return the path of the record of the job that made a score folder."""
    return scores / manifest.FOLDER / "score.json"


def job(scores: Path) -> dict[str, object]:
    """Return the arguments that a score folder was made with: data, text_column, batch_rows, scorers, formats.

    Raises:
        Interrupted: if the folder was not made by `curate score`.
    """
    path = record_path(scores)
    if not files.exists(path):
        raise Interrupted(f"{scores} has no {manifest.FOLDER}/score.json: it was not made by `curate score`")
    return artifacts.load(path, "score_job")


def reading(scores: Path) -> Reading:
    """Return how the job that made a score folder read its inputs."""
    record = job(scores)
    # Records of older versions do not have the size.
    document_bytes = cast(int, record.get("document_bytes", DOCUMENT_BYTES))
    return Reading(text_column=str(record["text_column"]), document_bytes=document_bytes)


def inputs(scores: Path) -> tuple[Shard, ...]:
    """Return the input files that a score folder was made from, as they are now, scored or not."""
    return batches.shards(cast(list[str], job(scores)["data"]))


def with_inputs(
    scores: Path, data: Sequence[Shard], *, remedy: str = "score the data again"
) -> list[tuple[Shard, Shard]]:
    """Return each score file under a score folder with the file of ``data`` whose rows it scores.

    Raises:
        SchemaError: if an input was moved. The message says to move it back, or ends with the ``remedy``.
    """
    by_name = {shard.relative: shard for shard in data}
    shards = score_files(scores)
    if moved := next((shard for shard in shards if shard.relative not in by_name), None):
        raise SchemaError(f"{moved.path} has no input {moved.relative} any more. Move it back, or {remedy}")
    return [(shard, by_name[shard.relative]) for shard in shards]


def kept_batches(shard: Shard, kept: Path | None, needs: Sequence[str]) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
    """Yield the batches of a score file, each with a mask of the kept rows.

    The mask is (n,) booleans. Without decisions (``kept`` is None) all rows are kept.

    Raises:
        SchemaError: if the decisions are missing, or were made from other scores.
    """
    if kept is None:
        yield from ((batch, pl.Series([True] * batch.height)) for batch in batches.batches(shard, needs))
        return
    decision = Shard(kept / (shard.relative + DECISIONS), shard.relative)
    if not files.exists(decision.path):
        raise SchemaError(f"no decisions for {shard.relative} in {kept}: run `curate prune` with --out {kept} first")
    # Both files have the same rows in the same order, so that no join is needed; the ids prove it.
    for batch, verdict in zip(batches.batches(shard, needs), batches.batches(decision, ("keep",)), strict=True):
        if not batch["id"].equals(verdict["id"]):
            raise SchemaError(f"{decision.path} was made from other scores than {shard.path}: run `curate prune` again")
        yield batch, verdict["keep"]


def light_batches(shard: Shard, columns: Sequence[str], identity: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yield a few columns of a score file and the columns ``identity``, many rows at a time."""
    yield from batches.batches(shard, columns, reading=Reading(batch_rows=LIGHT_ROWS), identity=identity)


def check_finite(batch: pl.DataFrame, by: str, shard: Shard) -> None:
    """Raise SchemaError if a score is not finite. The message has the id of the first such row."""
    bad = ~batches.finite(batch[by])
    if bad.any():
        first = batch["id"][int(bad.argmax())]
        raise SchemaError(
            f"{shard.path}: {by} is NaN, infinite or null in {bad.sum()} rows, the first with id {first!r}. "
            "Score again, or repair the column"
        )


def inside(values: np.ndarray, limits: ScoreRange) -> np.ndarray:
    """Return an (n,) mask of the values in [low, high)."""
    low, high = limits
    lowest, highest = -np.inf if low is None else low, np.inf if high is None else high
    return np.asarray((values >= lowest) & (values < highest))


def pool_columns(pools: Iterable[Pool]) -> tuple[str, ...]:
    """Return the columns that decide which rows belong to pools, without the identity columns."""
    names = chain.from_iterable([*(pool.filter or {}), *(pool.score or {})] for pool in pools)
    # Identity columns are read in any case.
    return tuple(name for name in dict.fromkeys(names) if name not in batches.IDENTITY)


def members(pool: Pool, batch: pl.DataFrame) -> np.ndarray:
    """Return an (n,) mask of the rows that the filter and the score range of a pool select."""
    mask = np.ones(batch.height, dtype=bool)
    for column, value in (pool.filter or {}).items():
        # Filters hold text, whatever the type of the column. A missing value belongs to no pool.
        mask &= (batch[column].cast(pl.String) == value).fill_null(False).to_numpy()
    for column, limits in (pool.score or {}).items():
        mask &= inside(batch[column].to_numpy(), limits)
    return mask


def pool_batches(pool: Pool, needs: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yield the rows of a pool, with ``id, source, tokens`` and ``needs``, in file and row order."""
    if pool.scores is None:
        for shard in batches.shards(pool.where):
            # Columns to filter by must be read, though the caller did not ask for them.
            for batch in batches.batches(shard, (*needs, *pool_columns([pool]))):
                yield batch.filter(members(pool, batch)) if pool.filter or pool.score else batch
        return
    scores = Path(pool.scores)
    for shard, source in with_inputs(scores, batches.shards(pool.where)):
        data = batches.batches(source, needs, reading=line_losses.aligned(reading(scores), scores, source))
        marks = kept_batches(shard, Path(pool.kept) if pool.kept else None, pool_columns([pool]))
        for batch, (mark, verdict) in zip(data, marks, strict=True):
            yield batch.filter(verdict.to_numpy() & members(pool, mark))
