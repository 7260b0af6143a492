"""How the input files of a job are read, and the sizes that bound its memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from curate.tables.shards import Shard

BATCH_ROWS = 4096  # at most in a batch
BATCH_BYTES = 1 << 25  # of text in a batch, where the caller asks for a bound: 32 MB
PIECE_BYTES = 1 << 25  # decoded at a time: 32 MB
DOCUMENT_BYTES = 64 << 20  # the largest value of a text column: longer than any book
# A column that is larger than a document may grow so many times when it is unpacked. Prose grows 3 to 5 times; a file
# that was made to fill the memory (a compression bomb) grows thousands of times.
EXPANSION = 200


@dataclass(frozen=True)
class Reading:
    """How a job reads rows: the column of texts, rows in a batch, and the largest text in bytes.

    ``dtype`` is the type of vectors in fixed-size binary, float32 or float16; empty: what the file records.
    """

    text_column: str = "text"
    batch_rows: int = BATCH_ROWS
    document_bytes: int = DOCUMENT_BYTES
    dtype: str = ""

    def column(self, name: str) -> str:
        """Return the name of a column in the file. In batches, the column of texts is called ``text``."""
        return self.text_column if name == "text" else name


@dataclass(frozen=True)
class Request:
    """Rows of one file to read.

    ``columns`` None means all. Rows are read from row ``start`` on, at most ``rows`` at a time.
    """

    shard: Shard
    columns: Sequence[str] | None
    rows: int
    start: int = 0
    document_bytes: int = DOCUMENT_BYTES
