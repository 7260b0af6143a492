"""A planned training set drawn from its pools into shards: exact counts, the planned mixture at all times, resumable.

Every pool gives its share of the planned tokens in whole documents: full passes over its rows, then a part of one
(``order.take``); ``order`` says in which order. What is done is files: an index and a spill for each input, then the
shards; ``_curate/materialize.json`` records the job they belong to, and another job is refused with what differs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import polars as pl
import pyarrow.parquet as pq

from curate.engines import Engine
from curate.engines.local import Local
from curate.errors import Interrupted, SchemaError
from curate.pool.mixture import Mixture
from curate.pool.pool import Pool
from curate.progress import Progress, silent
from curate.storage import manifest, s3
from curate.storage.files import sweep
from curate.tables.scored import SCORE_STEP
from curate.tables.writer import SHARD_ROWS
from curate.training_set import job_record, row_index, stages
from curate.training_set.placement import Draw
from curate.training_set.stages import Job


@dataclass(frozen=True)
class Drawn:
    """The training set on disk: what was drawn of each pool, in name order, and the file, rows, tokens of each shard.

    ``inputs`` are the content hashes of the files that were read.
    """

    draws: tuple[Draw, ...]
    shards: tuple[tuple[str, int, int], ...]
    inputs: Mapping[str, str]

    def table(self) -> pl.DataFrame:
        """Return one row a pool: planned and drawn tokens, rows drawn, unique rows and tokens, passes."""
        return pl.DataFrame(
            {
                "pool": draw.pool,
                "planned": draw.target,
                "tokens": draw.tokens,
                "rows": draw.copies,
                "unique_tokens": draw.unique,
                "unique_rows": draw.rows,
                "passes": draw.tokens / draw.unique,
            }
            for draw in self.draws
        )


def draw(
    mixture: Mixture,
    out: Path,
    *,
    shard_rows: int = SHARD_ROWS,
    seed: int = 0,
    engine: Engine | None = None,
    restart: bool = False,
    progress: Progress = silent,
) -> Drawn:
    """Write ``out/part-00000.parquet`` ... of ``shard_rows`` rows each: ``id, source, text, tokens, pool, epoch``.

    ``epoch`` counts a pool's passes from 0. Pools may share rows; each draws its own. The bytes follow from rows,
    arguments and version, however many workers there are and however the files are called or cut (rows with equal ids
    go by file and row). Call again with the same arguments to continue.
    """
    if shard_rows < 1:
        raise SchemaError(f"--shard-rows {shard_rows} must be at least 1")
    parts = tuple(sorted(mixture.parts, key=lambda part: part.pool.name))
    pools = [part.pool for part in parts]
    _check_apart(out, pools)
    job = Job(out, parts, row_index.sources(pools), shard_rows, seed, engine or Local(), progress)
    sweep(out)
    _begin(job, restart=restart)
    draws = stages.planned(job)
    if draws is None or stages.missing(job, draws):
        draws, starts = stages.put_in_order(job)
        stages.write(job, draws, starts)
        if changed := job_record.changes(job.record, job.asked, job.files):
            raise Interrupted(f"while {out} was written, {job_record.listed(changed)}: give --restart to start over")
    rmtree(job.folder, ignore_errors=True)
    shards = []
    for name, _, _ in stages.spans(job, draws):
        footer = pq.read_metadata(out / name)
        shards.append((name, footer.num_rows, int(footer.metadata[b"tokens"])))
    return Drawn(draws, tuple(shards), job_record.hashes(job.record))


def _check_apart(out: Path, pools: Sequence[Pool]) -> None:
    """Check that the output would not be read as input, and that all of it is on disk."""
    here = out.resolve()
    if out.exists() and not out.is_dir():
        raise SchemaError(f"--out {out} is a file: a training set is a folder of shards")
    for pool in pools:
        for item in [*pool.where, *filter(None, (pool.scores, pool.kept))]:
            if remote := next((p for p in (out, Path(item)) if s3.remote(p)), None):
                raise SchemaError(f"{remote}: training sets are drawn from disk to disk: copy the pools first")
            top = Path(item.split("**")[0])
            if top.is_dir() and here.is_relative_to(top.resolve()):
                raise SchemaError(f"--out {out} lies in {item}, which pool {pool.name!r} is read from: write elsewhere")


def _begin(job: Job, *, restart: bool) -> None:
    """Make ``out`` ready for this job: as it left it, or empty. Shards exist only where ``order.json`` does."""
    parts = sorted(job.out.glob("part-*.parquet"))
    if not job.record.is_file() and parts:
        raise Interrupted(f"{parts[0]} was not made by `curate materialize`: give another --out")
    if job.record.is_file() and not restart:
        found = job_record.changes(job.record, job.asked, job.files)
        if found and job.order.is_file():
            raise Interrupted(
                f"{job.out} holds another training set: {job_record.listed(found)}. Give --restart to start over, or "
                "another --out"
            )
        if not found:
            return
    for path in (*parts, job.out / "index.json", job.order):
        path.unlink(missing_ok=True)
    rmtree(job.folder, ignore_errors=True)
    job_record.save(job.record, job.asked, job.files, job.engine)
    hashes = job_record.hashes(job.record)
    for source in job.sources:
        scores = source.pools[0][1].scores
        scored = manifest.read(Path(scores), SCORE_STEP, source.data.relative) if scores else None
        if scored and scored.input != hashes[str(source.data.path)]:
            job.record.unlink()
            raise SchemaError(f"{source.data.path} changed since it was scored: run `curate score` and `curate pools`")
