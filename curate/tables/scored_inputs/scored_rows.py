"""Check that an input still has the rows that were scored.

In: an input file, and the entry that the job `score` recorded for it. Out: nothing, or an error that names the file.
Size and times decide where they are as recorded. Where they differ, the rows are read and hashed: a file that was
touched, copied or written again with the same rows is the same file.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from curate.errors import SchemaError, amount
from curate.storage import files, manifest
from curate.storage.manifest import ManifestEntry
from curate.tables import batches, readers
from curate.tables.columns import column_types
from curate.tables.formats.bad_lines import BadLines
from curate.tables.reading import Reading
from curate.tables.scored_inputs import line_losses, row_hash
from curate.tables.scored_inputs.row_hash import PREFIX
from curate.tables.shards import Shard, has_lines

SCORE_STEP = "score"  # the name of the job `score` in its records


def row_blocks(shard: Shard, columns: Sequence[str], reading: Reading) -> list[str] | None:
    """Return the digests of the blocks of rows of a file, in these columns.

    ``reading`` says how the file was read when it was scored. The result is None if the file lacks one of the columns,
    or has an identity column that is not among them.
    """
    names: Sequence[str] = columns
    # Lines tell their columns only as they come. Those that they do not have are null.
    mapping = reading.whole_mapping
    shard_head = None if mapping.is_empty and has_lines(shard) else readers.head(shard, (), mapping)
    if shard_head is not None and shard_head.view is not None:
        names = [shard_head.view.name_of(name) for name in columns]
    if shard_head is not None and not has_lines(shard):
        present = shard_head.columns
        identity = batches.recorded_names([name for name in batches.IDENTITY if name in present], shard_head)
        if not set(names) <= set(present) or not set(identity) <= set(columns):
            return None
        names = [name for name in present if name in names]
    stream = readers.rows_of(batches.request(shard, names, reading, shard_head=shard_head))
    if shard_head is None:
        return row_hash.hashed(column_types.converted(stream, shard.path))
    # The types of batches are hashed, so that a file with the same rows in other types counts as the same.
    typed = column_types.converted(stream, shard.path, batches.labels_of(shard_head))
    return row_hash.hashed(batches.recorded(batch, shard_head) for batch in typed)


def row_digest(shard: Shard, columns: Sequence[str], reading: Reading) -> str:
    """Return the hash of the rows of a file in these columns; empty if it does not have them, as for `row_blocks`."""
    blocks = row_blocks(shard, columns, reading)
    return "" if blocks is None else row_hash.combined(blocks)


def same_rows(entry: ManifestEntry, source: Path, scores: Path, reading: Reading) -> bool:
    """Return whether the input ``source`` has the rows that the entry of a finished shard records. The file is read.

    ``scores`` is the folder of the entry, and ``reading`` says how its job read the inputs.
    """
    if not entry.input.startswith(PREFIX):
        return manifest.same_bytes(entry, source)
    shard = Shard(source, entry.shard)
    try:
        if has_lines(shard) and reading.judged:
            # The job that judges lines finds the bad ones anew: a line that was repaired since is a row to score.
            lost = BadLines()
            digest = row_digest(shard, entry.columns, replace(reading, bad_lines=lost))
            recorded = line_losses.table(scores, shard.relative)["row"].to_list()
            return digest == entry.input and sorted(lost.numbers) == recorded
        return row_digest(shard, entry.columns, line_losses.aligned(reading, scores, shard)) == entry.input
    except SchemaError:
        return False  # a file that cannot be read any more has not the same rows


def check(scores: Path, inputs: Sequence[Shard], reading: Reading) -> None:
    """Check that the inputs of a score folder have the rows that were scored.

    An input that is not recorded, or is gone, is not looked at.

    Raises:
        SchemaError: if one changed. The message says to score again.
    """

    def is_changed(shard: Shard) -> bool:
        if not files.exists(shard.path):
            return False
        path = manifest.entry_path(scores, SCORE_STEP, shard.relative)
        if not files.exists(path):
            return False
        return not _is_scored(path, files.stamp(path), shard, files.stamp(shard.path), scores, reading)

    verdicts = files.each(is_changed, inputs, scores)
    if changed := [shard for shard, verdict in zip(inputs, verdicts, strict=True) if verdict]:
        more = f"; so did {amount(len(changed) - 1, 'more file')}" if len(changed) > 1 else ""
        raise SchemaError(
            f"the rows of {changed[0].path} changed since they were scored into {scores}{more}. Put the old file back. "
            "Or score the new rows: run the same `curate score` with --restart, and after it `curate prune` and all "
            "later jobs again"
        )


# A job that reads pools asks for the same files once for each pool. The stamps are arguments, so that an answer is used
# again only as long as neither file changed.
@lru_cache(maxsize=1 << 16)
def _is_scored(path: Path, _entry_stamp: str, shard: Shard, _input_stamp: str, scores: Path, reading: Reading) -> bool:
    entry = manifest.read_entry(path)
    if entry is None or manifest.is_stamped(entry, shard.path, path=path):
        return True
    return same_rows(entry, shard.path, scores, reading)
