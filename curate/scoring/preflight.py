"""Read the heads of all input files before a job starts, and warn of what they show."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pyarrow as pa

from curate.errors import SchemaError, first_few
from curate.storage import disk_errors, files
from curate.tables import batches, readers
from curate.tables.columns import arrow_types, column_types, vectors
from curate.tables.readers import Head
from curate.tables.reading import Reading
from curate.tables.shards import Shard, same_source

LARGE_GROUP = 512 << 20  # bytes of a row group, unpacked; many tools load a whole group into memory
SMALL_GROUP = 1000  # rows; with fewer in a group, reading is slow


@dataclass(frozen=True)
class Preflight:
    """The heads of readable shards, reasons why others are bad, the bytes of all, and warnings."""

    heads: Mapping[str, Head]
    bad: Mapping[str, str]
    bytes: int
    warnings: tuple[str, ...]
    # Bytes of each readable shard, unpacked where the file says how many that are.
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int | None:
        """The rows of all shards, or None if a file does not say how many it has."""
        counts = [head.rows for head in self.heads.values()]
        return None if None in counts else sum(count for count in counts if count is not None)


def inspect(
    shards: Sequence[Shard],
    needs: Sequence[str],
    *,
    used: Sequence[str] = (),
    carry: Sequence[str] = (),
    reading: Reading = batches.READING,
) -> Preflight:
    """Read the head of every shard.

    A shard is bad if it cannot be read, lacks a column of ``needs``, has one of a type that no job can read, or has
    vectors in ``used`` of another length than most shards. A shard may lack columns of ``carry``. A warning names
    columns in ``used`` whose types differ between shards. Columns have the names that jobs use, and ``reading`` says
    which columns of the files these are.
    """

    def look(shard: Shard) -> tuple[int, Head | str]:
        try:
            size, head = files.size(shard.path), readers.head(shard, (*needs, *carry), reading.whole_mapping)
            batches.require(shard, needs, head)
            # Texts are also read where tokens are counted from them.
            counted = () if "tokens" in head.columns else ("text",)
            read = dict.fromkeys((*needs, *counted, *batches.IDENTITY))
            column_types.check(shard.path, head.columns, read, batches.labels_of(head))
            return size, readers.with_decoded_sizes(shard, head, (*needs, *counted))
        except SchemaError as error:
            return 0, str(error)
        except OSError as error:
            if (refusal := disk_errors.of_the_machine(error, shard.path)) is not None:
                raise refusal from error  # every other shard would meet it too
            return 0, f"{shard.path} cannot be read: {error.strerror or error}. Put it back or repair it"

    looks = list(zip(shards, files.each(look, shards, shards[0].path), strict=True)) if shards else []
    heads = {shard.relative: head for shard, (_, head) in looks if isinstance(head, Head)}
    bad = {shard.relative: reason for shard, (_, reason) in looks if isinstance(reason, str)}
    total = sum(size for _, (size, _) in looks)
    # Rows of a file with a column `source` name their sources themselves.
    nameless = [s for s in shards if s.relative in heads and "source" not in heads[s.relative].columns]
    warnings = (*_drift(heads, used), *_groups(heads), *same_source(nameless))
    # Widths can be compared only after all heads are read.
    for column in used:
        for shard, reason in _odd_widths(shards, heads, column):
            bad[shard] = reason
            del heads[shard]
    sizes = {shard.relative: _unpacked(size, result) for shard, (size, result) in looks if isinstance(result, Head)}
    return Preflight(heads, bad, total, warnings, sizes)


def _unpacked(size: int, head: Head) -> int:
    """Return the bytes of a file's rows. The file itself is smaller where it is compressed."""
    return max(size, sum(group_bytes for _, group_bytes in head.groups or ()))


def _odd_widths(shards: Sequence[Shard], heads: Mapping[str, Head], column: str) -> list[tuple[str, str]]:
    """Return the shards whose vectors are not as long as in most shards, each with the reason why it is bad."""
    heads_of = {shard: heads[shard.relative] for shard in shards if shard.relative in heads}
    # Columns of one type of fixed size have vectors of one length. Of others the first row is read.
    kinds = {head.columns.get(column) for head in heads_of.values()}
    fixed = all(kind is None or vectors.is_fixed(arrow_types.plain(kind)) for kind in kinds)
    if not column.startswith(vectors.PREFIX) or not kinds or (len(kinds) == 1 and fixed):
        return []

    def width_of(shard: Shard) -> int | None:
        # A file whose type of numbers is unknown is set aside later, when it is read, with this reason.
        with suppress(SchemaError, OSError):
            return vectors.width(shard, heads_of[shard], column)
        return None

    measured = files.each(width_of, list(heads_of), shards[0].path)
    widths = {shard: width for shard, width in zip(heads_of, measured, strict=True) if width is not None}
    counts = Counter(widths.values())
    # Of equally common widths the larger counts as usual, so that the order of the files does not matter.
    usual = max(counts, key=lambda width: (counts[width], width), default=None)
    return [
        (
            shard.relative,
            f"{shard.path}: {column} has vectors of {width} numbers, {counts[usual]} other files have {usual}. "
            "Embed it again, or score it into another --out",
        )
        for shard, width in widths.items()
        if usual is not None and width != usual
    ]


def _drift(heads: Mapping[str, Head], used: Sequence[str]) -> list[str]:
    """Return a warning for each column whose type differs between files."""
    warnings = []
    columns_of = {name: head.columns for name, head in heads.items() if head.columns}
    for column in dict.fromkeys(column for columns in columns_of.values() for column in columns):
        kinds: dict[str, list[str]] = {}
        for name, columns in columns_of.items():
            kinds.setdefault(_kind(columns[column]) if column in columns else "missing", []).append(name)
        if len(kinds) > 1 and (column in used or column in batches.IDENTITY or column.startswith("emb.")):
            listed = "; ".join(f"{kind} in {first_few(names)}" for kind, names in kinds.items())
            warnings.append(f"column {column} differs between files: {listed}")
    return warnings


def _kind(kind: pa.DataType) -> str:
    """Return the name of a type. All strings have one name, and so have all whole numbers: we read them alike."""
    if arrow_types.is_text(kind):
        return "string"
    return "integer" if pa.types.is_integer(arrow_types.plain(kind)) else str(kind)


def _groups(heads: Mapping[str, Head]) -> list[str]:
    """Return a warning for row groups that are too large for other tools, and one for those that are too small."""
    large, small = [], []
    for name, head in heads.items():
        groups = head.groups or ()
        if any(size > LARGE_GROUP for _, size in groups):
            large.append(name)
        # A small file may well have one small group.
        if len(groups) > 1 and sum(rows for rows, _ in groups) / len(groups) < SMALL_GROUP:
            small.append(name)
    warnings = []
    if large:
        warnings.append(
            f"row groups over {LARGE_GROUP >> 20} MB in {first_few(large)}. curate reads them page by page; write "
            "smaller ones for tools that load a whole group"
        )
    if small:
        warnings.append(
            f"row groups under {SMALL_GROUP} rows in {first_few(small)}. They are slow to read; write larger ones"
        )
    return warnings
