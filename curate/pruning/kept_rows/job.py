"""Write the rows that a pruning keeps to ``OUT/rows``: data files of one format and one schema, and a card.

In: the folders of scores and decisions. Out: ``OUT/rows/README.md`` and ``OUT/rows/data``.
Rows of JSON keep their very bytes. Rows of Parquet, Arrow, CSV and TSV become Parquet. Small inputs of one folder
share a file, so that many small inputs do not become many small files.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath

import polars as pl
import pyarrow as pa

from curate.engines import Engine
from curate.engines.local import Local
from curate.errors import SchemaError
from curate.progress import Progress, silent
from curate.pruning import removal_table
from curate.pruning.kept_rows.kept_input import KeptInput
from curate.pruning.kept_rows.writing import KeptGroup, write_group
from curate.storage import artifacts, files, manifest
from curate.storage.completion import ROWS
from curate.tables import scored
from curate.tables.data_set import card, json_kinds, one_schema
from curate.tables.data_set.card import Split
from curate.tables.data_set.json_kinds import Kinds
from curate.tables.data_set.one_schema import FileSchema
from curate.tables.scored_inputs import line_losses
from curate.tables.shards import JSON_ENDINGS, PACKINGS, Shard, ending
from curate.tables.token_counts import TOKENS
from curate.tables.writer import SHARD_ROWS

DATA = "data"  # the folder of data files inside of the folder of rows
PARQUET, JSONL = "parquet", "jsonl"
FORMATS = (PARQUET, JSONL)
RECORD = "rows.json"  # lists the data files, so that the next call removes them and no others
# Letters and digits of all scripts stay in the names of files. Other characters mean something to globs and addresses.
UNSAFE = re.compile(r"[^\w.=-]+")
STEM_BYTES = 100  # of the name of a file, so that all endings fit


@dataclass(frozen=True)
class _Counted:
    """The kept rows of an input, by its relative path, and their schema where they become Parquet."""

    relative: str
    rows: int
    schema: FileSchema | None


def data_format(inputs: Sequence[Shard], data_format: str = "") -> str:
    """Return the format of the kept rows, ``parquet`` or ``jsonl``: the one that is named, or that of the inputs.

    Raises:
        SchemaError: if no format is named and some inputs are JSON and others are not.
    """
    if data_format and data_format not in FORMATS:
        raise SchemaError(f"--format {data_format} is none of {', '.join(FORMATS)}")
    lines = [shard for shard in inputs if ending(shard.relative) in JSON_ENDINGS]
    tables = [shard for shard in inputs if ending(shard.relative) not in JSON_ENDINGS]
    if lines and tables and not data_format:
        raise SchemaError(
            f"kept rows have one format, and of the inputs {len(lines)} are JSON, such as {lines[0].relative}, and "
            f"{len(tables)} are not, such as {tables[0].relative}. Give --format parquet or --format jsonl"
        )
    return data_format or (JSONL if lines else PARQUET)


def output_names() -> tuple[str, ...]:
    """Return names below the output folder as data files may have them, to check the folder before anything is done."""
    return tuple(f"{ROWS}/{DATA}/{ROWS}-00000.{name}" for name in FORMATS)


def write_kept(
    scores: Path,
    kept: Path,
    *,
    format_name: str = "",
    command: str = "",
    shard_rows: int = SHARD_ROWS,
    engine: Engine | None = None,
    progress: Progress = silent,
    partial_scores: bool = False,
) -> int:
    """Write the rows that the decisions in ``kept`` keep to ``kept/rows``, and return how many.

    Data files have ``shard_rows`` rows each and are named after the folder of their inputs: those of
    ``web/a.parquet`` and ``web/b.parquet`` are ``data/web-00000.parquet`` and so on, and those of inputs at the top
    ``data/rows-00000.parquet``. Files with fewer rows end each folder and each input that fills a file alone. The
    names and bytes follow from the rows alone, not from the workers. Data files of an earlier call are removed first.

    Args:
        scores: the folder of scores.
        kept: the folder of decisions.
        format_name: ``parquet`` or ``jsonl``; empty: the format of the inputs.
        command: the command that made the decisions, for the card.
        shard_rows: rows in each data file.
        engine: where to write; None does it in this process.
        progress: called with what is counted, how many are done, and of how many.
        partial_scores: the job that made the scores may not have ended.

    Raises:
        SchemaError: if an input was moved, the inputs are of two formats and none is named, a column has types that do
            not go together, or there are other files in ``kept/rows/data``.
    """
    if shard_rows < 1:
        raise SchemaError(f"--shard-rows {shard_rows} must be at least 1")
    pairs = scored.with_inputs(scores, scored.inputs(scores), partial=partial_scores)
    to_parquet = data_format([data for _, data in pairs], format_name) == PARQUET
    folder, engine, reading = kept / ROWS, engine or Local(), scored.reading(scores)
    _check_foreign(kept)
    inputs = [KeptInput(s, data, kept, line_losses.aligned(reading, scores, data)) for s, data in pairs]
    # Tasks may end in any order.
    by_name = {item.relative: item for item in engine.run(partial(_count, to_parquet=to_parquet), inputs)}
    counted = [by_name[item.data.relative] for item in inputs]
    schemas = [item.schema for item in counted if item.schema is not None]
    schema = one_schema.unified(schemas) if to_parquet else None
    suffix = f".{PARQUET}" if to_parquet else f".{JSONL}{_packing([item.data for item in inputs])}"
    groups = _groups(inputs, [item.rows for item in counted], folder / DATA, suffix, shard_rows, schema)
    _replace_earlier(kept, [path for group, rows in groups for path in _paths(group, rows)])
    parts: dict[Path, Kinds] = {}
    for done, (path, part) in enumerate(engine.run(write_group, [group for group, _ in groups]), start=1):
        parts[path] = part
        progress("groups of kept rows written", done, len(groups))
    kinds = Kinds()
    for group, _ in groups:
        kinds.merge(parts[group.path(0)])
    noun = scored.tokens_noun([scores])
    _save_card(kept, suffix, command, sum(item.rows for item in counted), None if to_parquet else kinds, noun)
    return sum(item.rows for item in counted)


def _count(item: KeptInput, *, to_parquet: bool) -> _Counted:
    rows = item.count()
    # An input without kept rows has no part in the schema.
    return _Counted(item.data.relative, rows, item.schema() if rows and to_parquet else None)


def _packing(inputs: Sequence[Shard]) -> str:
    """Return how files of JSON lines are packed: as all inputs are, or not at all."""
    packings = {next(p for p in reversed(PACKINGS) if shard.relative.lower().endswith(p)) for shard in inputs}
    return packings.pop() if len(packings) == 1 else ""


def _groups(
    inputs: Sequence[KeptInput],
    rows: Sequence[int],
    folder: Path,
    suffix: str,
    shard_rows: int,
    schema: pa.Schema | None,
) -> list[tuple[KeptGroup, int]]:
    """Return the groups of inputs that share files, each with its kept rows.

    Inputs of one folder, in the order of their names, are taken together as long as their rows fill no file.
    """
    result: list[tuple[KeptGroup, int]] = []
    numbers: dict[str, int] = {}  # the next number of a file, by stem
    present = [(item, count) for item, count in zip(inputs, rows, strict=True) if count]
    for parent, members in groupby(present, lambda pair: PurePosixPath(pair[0].data.relative).parent.as_posix()):
        stem = _stem(parent)
        for group in _filled(list(members), shard_rows):
            total = sum(count for _, count in group)
            taken = tuple(item for item, _ in group)
            first = numbers.get(stem, 0)
            result.append((KeptGroup(taken, folder / stem, first, suffix, shard_rows, schema), total))
            numbers[stem] = first - (-total // shard_rows)
    return result


def _filled(members: list[tuple[KeptInput, int]], shard_rows: int) -> list[list[tuple[KeptInput, int]]]:
    """Return the inputs of a folder in groups with at most ``shard_rows`` rows, or of one input with more."""
    groups: list[list[tuple[KeptInput, int]]] = []
    total = 0
    for item, count in members:
        if not groups or total + count > shard_rows:
            groups.append([])
            total = 0
        groups[-1].append((item, count))
        total += count
    return groups


def _stem(parent: str) -> str:
    """Return the start of the names of files for inputs of a folder."""
    # `datasets` does not read files whose names begin with a dot or underscores.
    safe = UNSAFE.sub("_", parent.replace("/", "--")).strip("._-")
    return safe.encode()[:STEM_BYTES].decode(errors="ignore") or ROWS


def _paths(group: KeptGroup, rows: int) -> list[Path]:
    return [group.path(number) for number in range(-(-rows // group.shard_rows))]


def _record(kept: Path) -> Path:
    return kept / manifest.FOLDER / RECORD


def _earlier(kept: Path) -> list[str]:
    """Return the names of the data files of an earlier call."""
    path = _record(kept)
    names = artifacts.load(path, "kept_rows")["files"] if files.exists(path) else []
    return list(map(str, names)) if isinstance(names, list) else []


def _check_foreign(kept: Path) -> None:
    """Check that the folder of data files holds only what an earlier call wrote: loaders read all that is there."""
    folder = kept / ROWS / DATA
    files.sweep(kept / ROWS)
    earlier = set(_earlier(kept))
    names = (path.relative_to(folder).as_posix() for path in files.below(folder, ""))
    if foreign := next((name for name in sorted(names) if name not in earlier), None):
        raise SchemaError(
            f"{folder / foreign} was not written by `curate prune`, and loaders would read it with the kept rows. Move "
            "it away, or give another --out"
        )


def _replace_earlier(kept: Path, paths: Sequence[Path]) -> None:
    """Remove the data files of an earlier call, and record those of this one."""
    folder = kept / ROWS / DATA
    for name in _earlier(kept):
        files.remove(files.inside(folder, name))
    # The card goes too: without it nobody takes the files of a job that was stopped for the data set.
    files.remove(kept / ROWS / card.CARD)
    # Before the files are written, so that those of a job that is killed are known.
    artifacts.save(_record(kept), "kept_rows", {"files": sorted(path.relative_to(folder).as_posix() for path in paths)})


def _save_card(kept: Path, suffix: str, command: str, rows: int, kinds: Kinds | None, tokens_noun: str) -> None:
    path = kept / removal_table.TABLE
    with files.opened(path) as source:
        removal = pl.read_parquet(source)
    kept_part = removal.filter(pl.col("reason") == removal_table.KEPT_REASON)
    split = Split("train", f"{DATA}/*{suffix}", rows, int(kept_part["tokens"].sum()))
    body = [
        "## Sources",
        "",
        *card.table(("source", "rows", tokens_noun), kept_part.select("source", "rows", "tokens").rows()),
        "",
    ]
    body += ["## What was kept and removed", ""]
    header = [tokens_noun if name == TOKENS else name for name in removal.columns]
    body += [*card.table(header, removal.rows(), f"`{path.name}` of the pruning"), ""]
    body += card.made_with(command) if command else []
    if suffix.endswith(".zst"):
        body += ["", "`datasets` needs the package zstandard to read these files."]
    columns = None if kinds is None else json_kinds.columns(kinds)
    card.save(kept / ROWS, "Rows kept by pruning", [split], body, columns, tokens_noun=tokens_noun)
