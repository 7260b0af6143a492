"""What a scoring job would take: heads of all files, and a few batches scored and timed."""

import resource
import tempfile
import time
from itertools import islice
from pathlib import Path

SAMPLED = 3  # files that batches are taken from
BATCHES = 3


def forecast(
    data: list[str], specs: list[str], out: Path, *, text_column: str, document_bytes: int
) -> tuple[dict[str, object], str]:
    """Return rows, bytes, seconds of one worker, peak memory and output bytes of a job, as a record and as text.

    Scorers that learn, and those after them, are not timed: they would have to learn first.
    """
    from curate import open_sets
    from curate.errors import SchemaError
    from curate.scoring import inferred_options, learned, preflight, worker
    from curate.storage import files
    from curate.tables import batches, writer

    found = batches.shards(data)
    specs = list(inferred_options.answered(specs, found))
    plain = [spec for spec in specs[: next((i for i, s in enumerate(specs) if learned.learns(s)), len(specs))]]
    scorers = tuple(open_sets.build("scorers", spec) for spec in plain)
    needs = worker.inputs(scorers)
    seen = preflight.inspect(found, [text_column if n == "text" else n for n in needs], used=(text_column, *needs))
    if not seen.heads:
        raise SchemaError(next(iter(seen.bad.values())))
    seconds = 0.0
    rows = written = known = sampled = 0  # rows scored and bytes of their scores; rows and bytes of the files sampled
    good = [shard for shard in found if shard.relative in seen.heads]
    with tempfile.TemporaryDirectory() as folder:
        for shard in good[:: max(1, len(good) // SAMPLED)][:SAMPLED]:
            task = worker.Task(
                shard, Path(folder) / "sample", scorers, text_column, batches.BATCH_ROWS, document_bytes
            )  # fmt: skip
            if not rows:  # the first batch of all also loads libraries
                writer.write_whole(task.output, islice(worker.scored(task, 0, None), 1), worker.schema(task.scorers))
            started = time.perf_counter()
            first = list(islice(worker.scored(task, 0, None), BATCHES))
            rows += writer.write_whole(task.output, first, worker.schema(task.scorers))
            seconds += time.perf_counter() - started
            if (count := seen.heads[shard.relative].rows) is None:
                count = sum(batch.height for batch in batches.batches(shard, identity=("id",)))
            known, sampled = known + count, sampled + files.size(shard.path)
            written += files.size(task.output)
    total = seen.rows if seen.rows is not None else int(known * seen.bytes / max(sampled, 1))
    each = seconds / max(rows, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    record: dict[str, object] = {
        "files": len(found), "bad": dict(seen.bad), "warnings": list(seen.warnings), "rows": total,
        "rows_counted": seen.rows is not None, "bytes": seen.bytes, "seconds_one_worker": total * each,
        "peak_bytes_each_worker": peak, "output_bytes": total * written / max(rows, 1),
        "not_timed": specs[len(plain) :],
    }  # fmt: skip
    about = "" if seen.rows is not None else "about "
    lines = [
        f"{len(found)} files, {seen.bytes / 1e6:.1f} MB, {about}{total} rows",
        f"about {total * each:.0f} s with one worker ({1 / each if each else 0:.0f} rows a second)",
        f"about {peak / 1e6:.0f} MB of memory each worker, {total * written / max(rows, 1) / 1e6:.1f} MB of output",
        *(f"not timed, for it learns first or follows one that does: {spec}" for spec in specs[len(plain) :]),
        *(f"bad: {reason}" for reason in seen.bad.values()),
        *(f"warning: {line}" for line in seen.warnings),
    ]
    return record, "\n".join(lines)
