"""What the heads of the files say before a job starts: columns that differ, bad row groups, how much there is."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from curate.errors import SchemaError
from curate.storage import files
from curate.tables import batches, readers, vectors
from curate.tables.readers import Head
from curate.tables.shards import Shard

LARGE_GROUP = 512 << 20  # bytes unpacked: other tools load a row group at a time
SMALL_GROUP = 1000  # rows: reading is slow below
SHOWN = 3


@dataclass(frozen=True)
class Preflight:
    """Heads of the readable shards, reasons of the others, and what a user should know about them."""

    heads: Mapping[str, Head]
    bad: Mapping[str, str]
    bytes: int
    warnings: tuple[str, ...]

    @property
    def rows(self) -> int | None:
        """Rows in all; None where a file does not say."""
        counts = [head.rows for head in self.heads.values()]
        return None if None in counts else sum(count for count in counts if count is not None)


def inspect(found: Sequence[Shard], needs: Sequence[str], *, used: Sequence[str] = ()) -> Preflight:
    """Read every head; a shard that has not the columns ``needs`` is bad, and so is one that cannot be read.

    Columns in ``used`` whose types differ between shards are named in a warning. Vectors among them are all of the
    length that most shards have, or their shard is bad.
    """

    def look(shard: Shard) -> tuple[int, Head | str]:
        try:
            size, head = files.size(shard.path), readers.head(shard)
            batches.require(shard, needs, head)
            return size, head
        except SchemaError as error:
            return 0, str(error)
        except OSError as error:
            return 0, f"{shard.path} cannot be read: {error.strerror or error}. Put it back or mend it"

    seen = list(zip(found, files.each(look, found, found[0].path), strict=True)) if found else []
    heads = {shard.relative: head for shard, (_, head) in seen if isinstance(head, Head)}
    bad = {shard.relative: reason for shard, (_, reason) in seen if isinstance(reason, str)}
    total = sum(size for _, (size, _) in seen)
    warnings = (*_drift(heads, used), *_groups(heads))
    for column in used:
        for shard, reason in _odd_widths(found, heads, column):
            bad[shard] = reason
            del heads[shard]
    return Preflight(heads, bad, total, warnings)


def _odd_widths(found: Sequence[Shard], heads: Mapping[str, Head], column: str) -> list[tuple[str, str]]:
    """Return the shards whose vectors are not as long as in most, each with the reason."""
    widths = {
        shard: width
        for shard in found
        if shard.relative in heads and (width := vectors.width(heads[shard.relative].columns.get(column))) is not None
    }
    counts = Counter(widths.values())
    usual = max(counts, key=lambda width: (counts[width], width), default=None)
    return [
        (
            shard.relative,
            f"{shard.path}: {column} has vectors of {width} numbers, {counts[usual]} other files have {usual}; "
            "embed it again, or score it into another --out",
        )
        for shard, width in widths.items()
        if usual is not None and width != usual
    ]


def _drift(heads: Mapping[str, Head], used: Sequence[str]) -> list[str]:
    found = []
    known = [(name, head.columns) for name, head in heads.items() if head.columns]
    every = dict.fromkeys(column for _, columns in known for column in columns)
    for column in every:
        kinds: dict[str, list[str]] = {}
        for name, columns in known:
            kinds.setdefault(_kind(columns[column]) if column in columns else "missing", []).append(name)
        if len(kinds) > 1 and (column in used or column in batches.IDENTITY or column.startswith("emb.")):
            listed = "; ".join(f"{kind} in {_some(names)}" for kind, names in kinds.items())
            found.append(f"column {column} differs between shards: {listed}")
    return found


def _kind(kind: pa.DataType) -> str:
    """Name a type; kinds of strings and of whole numbers are alike to a reader."""
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "string"
    return "integer" if pa.types.is_integer(kind) else str(kind)


def _groups(heads: Mapping[str, Head]) -> list[str]:
    large, small = [], []
    for name, head in heads.items():
        groups = head.groups or ()
        if any(size > LARGE_GROUP for _, size in groups):
            large.append(name)
        if len(groups) > 1 and sum(rows for rows, _ in groups) / len(groups) < SMALL_GROUP:
            small.append(name)
    found = []
    if large:
        found.append(
            f"row groups over {LARGE_GROUP >> 20} MB in {_some(large)}: read here page by page; write smaller ones for "
            "tools that load a group at a time"
        )
    if small:
        found.append(f"row groups under {SMALL_GROUP} rows in {_some(small)}: slow to read; write larger ones")
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
