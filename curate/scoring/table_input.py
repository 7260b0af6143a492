"""Write a table that the user has in memory as the input file of a scoring job."""

from pathlib import Path

import pyarrow.parquet as pq

from curate.errors import Interrupted
from curate.storage import files, manifest
from curate.tables import file_format, frames, scored, writer

CONTENT = "content_hash"  # the field of the file's metadata that tells which table it holds


def path(out: Path) -> Path:
    """Return the path of the input file in a score folder."""
    return out / manifest.FOLDER / "input" / "rows.parquet"


def store(table: frames.Table, out: Path, *, restart: bool) -> Path:
    """Write a table in memory into a score folder, and return the path of the file.

    Nothing is written if the file holds this table already.

    Raises:
        Interrupted: if the folder holds scores of another table, and ``restart`` is False.
    """
    # Compared by content: the same table may be another object, or of another library, in the next session.
    frame, target = frames.frame(table), path(out)
    content = frames.content_hash(frame)
    if files.exists(target):
        if _content(target) == content:
            return target
        if not restart and files.exists(scored.record_path(out)):
            raise Interrupted(f"{out} holds scores of another table. Use restart=True to start over, or another out")
    slices = frame.iter_slices(writer.GROUP_ROWS)
    writer.write(target, slices, schema=dict(frame.schema), fields={CONTENT: content})
    return target


def _content(target: Path) -> object:
    with files.opened(target) as source, pq.ParquetFile(source) as file:
        return file_format.fields(file.metadata.metadata).get(CONTENT)
