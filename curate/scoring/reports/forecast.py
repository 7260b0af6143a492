"""Forecast the time, memory and output of a scoring job from a few batches. Nothing is written to its folder."""

import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from curate.errors import SchemaError, amount
from curate.scorers import Scorer
from curate.scoring import carried, dependencies, preflight, specs, worker
from curate.scoring.carried import CarriedColumn
from curate.scoring.inferred_options import inferred
from curate.scoring.preflight import Preflight
from curate.scoring.tasks.scoring_task import ScoringTask
from curate.storage import files
from curate.storage.scratch import scratch_folder
from curate.tables import batches, out_folder, writer
from curate.tables.formats.bad_lines import BadLines
from curate.tables.reading import Reading
from curate.tables.scored import SCORES
from curate.tables.shards import Shard

SAMPLED_FILES = 3
SAMPLED_BATCHES = 3  # of each file


@dataclass(frozen=True)
class Forecast:
    """What a scoring job would take.

    ``rows`` is an estimate unless ``rows_counted``. ``seconds`` are those of one worker, ``peak_bytes`` is the memory
    of each worker, and ``not_timed`` are the scorers that learn or read the columns of one that does.
    """

    files: int
    bad: Mapping[str, str]
    warnings: tuple[str, ...]
    rows: int
    rows_counted: bool
    bytes: int
    seconds: float
    peak_bytes: int
    output_bytes: float
    not_timed: tuple[str, ...]

    def record(self) -> dict[str, object]:
        """Return the forecast as a JSON object."""
        return {
            "files": self.files,
            "bad": dict(self.bad),
            "warnings": list(self.warnings),
            "rows": self.rows,
            "rows_counted": self.rows_counted,
            "bytes": self.bytes,
            "seconds_one_worker": self.seconds,
            "peak_bytes_each_worker": self.peak_bytes,
            "output_bytes": self.output_bytes,
            "not_timed": list(self.not_timed),
        }

    def __str__(self) -> str:
        """Return the forecast as lines of text."""
        about, speed = "" if self.rows_counted else "about ", self.rows / self.seconds if self.seconds else 0
        seconds = f"about {self.seconds:.0f}" if self.seconds >= 1 else "under 1"
        lines = [
            f"{self.files} files, {self.bytes / 1e6:.1f} MB, {about}{self.rows} rows",
            f"{seconds} s with one worker ({speed:.0f} rows a second)",
            f"about {self.peak_bytes / 1e6:.0f} MB of memory each worker, {self.output_bytes / 1e6:.1f} MB of output",
            *(
                f"not timed, because it learns first or reads the columns of a scorer that does: {spec}"
                for spec in self.not_timed
            ),
            *(f"bad: {reason}" for reason in self.bad.values()),
            *(f"warning: {line}" for line in self.warnings),
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class _Sample:
    """What scoring a sample took: its rows, the seconds, and the bytes of scores.

    ``file_rows`` and ``file_bytes`` are those of the whole files that the sample comes from. ``bad_lines`` is the
    number of lines that cannot be read, and ``first_bad`` is the first of them with its reason.
    """

    rows: int = 0
    seconds: float = 0.0
    written: int = 0
    file_rows: int = 0
    file_bytes: int = 0
    bad_lines: int = 0
    first_bad: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning if lines of the sample cannot be read."""
        lines = self.rows + self.bad_lines
        if not self.bad_lines:
            return ()
        first = f"{'The first: ' * (self.bad_lines > 1)}{self.first_bad}"
        return (f"{self.bad_lines} of {amount(lines, 'line')} of the sample cannot be read. {first}",)


def forecast(
    data: Sequence[str],
    scorers: Sequence[str],
    reading: Reading,
    out: Path | None = None,
    *,
    carry: str | Sequence[str] = (),
) -> Forecast:
    """Score a few batches of a few files, and forecast what the whole job takes.

    Scorers that learn, and those that read their columns, are not timed, since they would have to learn first.

    Raises:
        SchemaError: if no file can be read, or the job could not write to ``out``.
    """
    listed = batches.inputs(data)
    shards = listed.shards
    if out is not None:
        out_folder.check(out, data, [shard.relative + SCORES for shard in shards])
    complete = inferred(dependencies.ordered(scorers), shards, reading)
    timed = dependencies.independent(complete)
    ready = tuple(map(specs.build, timed))
    needs = specs.inputs(ready)
    names = carried.names(carry, [column for spec in scorers for column in dependencies.makes(spec)])
    heads = preflight.inspect(shards, needs, used=("text", *needs), carry=names, reading=reading)
    if not heads.heads:
        raise SchemaError(next(iter(heads.bad.values())))
    copied = carried.resolve(names, shards, heads.heads, {})
    sample = _sample([shard for shard in shards if shard.relative in heads.heads], ready, reading, heads, copied)
    estimate = int(sample.file_rows * heads.bytes / max(sample.file_bytes, 1))
    rows = estimate if heads.rows is None else heads.rows
    sampled_rows = max(sample.rows, 1)
    return Forecast(
        files=len(shards) + len(listed.unusable),
        bad={**heads.bad, **listed.unusable},
        warnings=(*listed.warnings, *heads.warnings, *sample.warnings),
        rows=rows,
        rows_counted=heads.rows is not None,
        bytes=heads.bytes,
        seconds=rows * sample.seconds / sampled_rows,
        peak_bytes=_peak_bytes(),
        output_bytes=rows * sample.written / sampled_rows,
        not_timed=tuple(spec for spec in complete if spec not in timed),
    )


def _sample(
    shards: Sequence[Shard],
    scorers: tuple[Scorer, ...],
    reading: Reading,
    heads: Preflight,
    copied: Sequence[CarriedColumn],
) -> _Sample:
    """Score the first batches of a few files into a temporary folder."""
    sample = _Sample()
    with scratch_folder() as folder:
        for shard in shards[:: max(1, len(shards) // SAMPLED_FILES)][:SAMPLED_FILES]:
            columns = carried.of_file(copied, heads.heads[shard.relative])
            task = ScoringTask(shard, folder / "sample", folder, scorers, reading, carried=columns)
            bad_lines = BadLines()
            if not sample.rows:
                # The first batch of all also loads libraries, so it is not timed.
                writer.write_whole(task.output, islice(worker.scored(task, 0, None, BadLines()), 1), task.schema)
            started = time.perf_counter()
            first = list(islice(worker.scored(task, 0, None, bad_lines), SAMPLED_BATCHES))
            rows = writer.write_whole(task.output, first, task.schema)
            seconds = time.perf_counter() - started
            file_rows = heads.heads[shard.relative].rows
            if file_rows is None:
                counting = replace(reading, bad_lines=BadLines())
                file_rows = sum(b.height for b in batches.batches(shard, reading=counting, identity=("id",)))
            sample = replace(
                sample,
                rows=sample.rows + rows,
                seconds=sample.seconds + seconds,
                written=sample.written + files.size(task.output),
                file_rows=sample.file_rows + file_rows,
                file_bytes=sample.file_bytes + files.size(shard.path),
                bad_lines=sample.bad_lines + len(bad_lines),
                first_bad=sample.first_bad or bad_lines.first(shard),
            )
    return sample


def _peak_bytes() -> int:
    """Return the most memory that this process has used."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kilobytes
