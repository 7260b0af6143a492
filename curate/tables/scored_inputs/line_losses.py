"""The lines that a job lost, because they cannot be read: how many, where, and why.

In: the bad lines of each file. Out: a record in the folder of scores, and an error if they are too many.
A bad line is set aside alone and has no row in the score file. Later jobs skip the recorded lines, so that their rows
are those of the score file.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, log10
from pathlib import Path

import polars as pl

from curate.errors import Interrupted, SchemaError, amount
from curate.storage import files, manifest, s3
from curate.tables import writer
from curate.tables.formats.bad_lines import BadLines
from curate.tables.reading import Reading
from curate.tables.shards import Shard, has_lines

MAX_BAD = 0.001  # share of a job's lines: crawls lose a few lines in a million, and a wrong export loses many
FOLDER = "bad_lines"
SCHEMA = {"row": pl.Int64(), "reason": pl.String()}


@dataclass(frozen=True)
class Losses:
    """The bad lines of a job: how many ``lines`` there are in all, and how many are ``bad`` in each file.

    ``first`` is one message: the first bad line's file, number and reason. It is empty if there is none.
    """

    lines: int
    bad: Mapping[str, int]
    first: str

    @property
    def total(self) -> int:
        """The number of bad lines."""
        return sum(self.bad.values())

    def check(self, most: float, more: str = "") -> None:
        """Stop a job that loses more than the share ``most`` of its lines; ``more`` ends the message.

        Raises:
            SchemaError: with the counts, the first bad line and the remedy.
        """
        if self.total <= most * self.lines:
            return
        # Rounded up, so that the number in the message is enough.
        enough = _rounded_up(self.total / self.lines)
        raise SchemaError(
            f"{self.total} of {amount(self.lines, 'line')} cannot be read, more than --max-bad {most:g} allows. "
            f"{self._first}. Repair or remove what is bad, or give --max-bad {enough} to go on without it"
            + (f". {more}" if more else "")
        )

    @property
    def _first(self) -> str:
        return self.first if self.total == 1 else f"The first: {self.first}"

    def warnings(self) -> tuple[str, ...]:
        """Return one line on the lines that were set aside, if there are any."""
        if not self.bad:
            return ()
        verb = "was" if self.total == 1 else "were"
        places = f" in {len(self.bad)} files" if len(self.bad) > 1 else ""
        return (
            f"{self.total} of {amount(self.lines, 'line')}{places} cannot be read and {verb} set aside. {self._first}",
        )


def path(out: Path, relative: str) -> Path:
    """Return the file in a score folder that lists the bad lines of an input."""
    return out / f"{manifest.FOLDER}/{FOLDER}/{relative}.parquet"


def save(out: Path, shard: Shard, bad_lines: BadLines) -> None:
    """Record the bad lines of an input; without any there is no record."""
    target = path(out, shard.relative)
    if not len(bad_lines):
        if files.exists(target):
            files.remove(target)
        return
    numbers = sorted(bad_lines.numbers)
    columns = {"row": numbers, "reason": [bad_lines.reasons.get(number) for number in numbers]}
    writer.write(target, [pl.DataFrame(columns, schema=SCHEMA)], schema=SCHEMA)


def table(out: Path, relative: str) -> pl.DataFrame:
    """Return the recorded bad lines of an input.

    Columns: ``row``, the number that an automatic id of the line would have, from 0, and ``reason``, which begins with
    the line's place in the file, from 1. Beyond the first thousand the reason is null.

    Raises:
        Interrupted: if the record is damaged.
    """
    target = path(out, relative)
    if not files.exists(target):
        return pl.DataFrame(schema=SCHEMA)
    with files.opened(target) as source:
        content = source.read()
    try:
        return pl.read_parquet(content)
    except pl.exceptions.PolarsError as error:
        raise Interrupted(
            f"{s3.shown(target)} is damaged ({str(error).splitlines()[0]}). Put it back as it was, or give --restart "
            "to score all files again"
        ) from None


def summary(out: Path, shard: Shard) -> str:
    """Return a phrase on the bad lines of an input; empty if there are none."""
    if not has_lines(shard) or (lines := table(out, shard.relative)).is_empty():
        return ""
    first = "" if lines.height == 1 else ", the first"
    return f"{amount(lines.height, 'line')} set aside{first}: {lines['reason'][0]}"


def aligned(reading: Reading, out: Path, shard: Shard) -> Reading:
    """Return how to read an input so that its rows are those of its score file below ``out``."""
    if not has_lines(shard):
        return reading
    return replace(reading, bad_lines=BadLines(table(out, shard.relative)["row"]))


def losses(out: Path, shards: Sequence[Shard], rows_of: Callable[[Shard], int]) -> Losses:
    """Return the bad lines of all inputs; ``rows_of`` gives the rows in the score file of an input."""
    # One listing instead of a look for every input: most have no bad line.
    paths = set(files.below(out / manifest.FOLDER / FOLDER, ".parquet"))
    damaged = [shard for shard in shards if path(out, shard.relative) in paths]
    if not damaged:
        return Losses(0, {}, "")
    tables = files.each(lambda shard: table(out, shard.relative), damaged, out)
    bad = {shard.relative: lines.height for shard, lines in zip(damaged, tables, strict=True)}
    rows = sum(files.each(rows_of, [shard for shard in shards if has_lines(shard)], out))
    return Losses(rows + sum(bad.values()), bad, f"{damaged[0].path}, {tables[0]['reason'][0]}")


def counts(out: Path, names: Collection[str]) -> dict[str, int]:
    """Return how many lines are recorded as bad, for each of these inputs that has any."""
    folder = out / manifest.FOLDER / FOLDER
    recorded = {
        path.relative_to(folder).as_posix().removesuffix(".parquet") for path in files.below(folder, ".parquet")
    }
    return {name: table(out, name).height for name in sorted(recorded & set(names))}


def _rounded_up(share: float) -> str:
    """Return a share in two digits, rounded up."""
    unit = 10.0 ** (floor(log10(share)) - 1)
    return f"{min(1.0, ceil(share / unit) * unit):.2g}"
