"""How the input files of a job are read, and the sizes that bound its memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from curate.errors import SchemaError
from curate.tables.formats.bad_lines import BadLines
from curate.tables.mapping import column_mapping
from curate.tables.mapping.column_mapping import UNMAPPED, ColumnMapping, plain_name
from curate.tables.mapping.file_columns import FileColumns
from curate.tables.shards import Shard

BATCH_ROWS = 4096  # at most in a batch
BATCH_BYTES = 1 << 25  # of text in a batch, where the caller asks for a bound: 32 MB
PIECE_BYTES = 1 << 25  # decoded at a time: 32 MB
DOCUMENT_BYTES = 64 << 20  # the largest value of a text column: longer than any book
# A column that is larger than a document may grow so many times when it is unpacked. Prose grows 3 to 5 times; a file
# that was made to fill the memory (a compression bomb) grows thousands of times.
EXPANSION = 200
# A value of a dictionary that is longer than this may not stand in many rows: rows of shorter ones fit into memory by
# the batch, as a system prompt that every row repeats.
LONG_VALUE = 1 << 16
# Values that stand once in the file and in many rows may take so much together: rows are decoded piece by piece, and
# this still fits into memory where a caller wants them all at once.
DECODED_BYTES = 1 << 30
# A file may have so many rows, and a thousand for each of its bytes. Real rows take at least a few bits; a file that
# was made to keep a reader busy claims 2^60 rows of nulls in a few bytes.
FREE_ROWS = 1 << 24
ROWS_PER_BYTE = 1000


def check_rows(path: Path, rows: int, size: int) -> None:
    """Check the number of rows that a file of ``size`` bytes claims to have.

    Raises:
        SchemaError: if the file is too small for so many rows.
    """
    if not 0 <= rows <= max(FREE_ROWS, ROWS_PER_BYTE * size):
        raise SchemaError(
            f"{path} says that it has {rows:.4g} rows in {size} bytes, like a compression bomb (a file made to fill "
            "the memory). Remove the file"
        )


def is_bomb(unpacked: float, packed: float, document_bytes: int, *, decoded: bool = False) -> bool:
    """Return whether data that grows from ``packed`` to ``unpacked`` bytes was made to fill the memory.

    ``decoded`` says that the values are repeated by a dictionary, and so are not all in memory together.
    """
    return unpacked > max(document_bytes, EXPANSION * packed, DECODED_BYTES if decoded else 0)


def bomb(path: Path, what: str, packed: float, unpacked: float) -> SchemaError:
    """Return the error for data that grows beyond reason; ``what`` names it."""
    return SchemaError(
        f"{path}: {what} grows from {_size(packed)} to {unpacked / 2**20:.0f} MB, like a compression bomb (a file made "
        "to fill the memory). Remove the file, or raise --max-document-mb"
    )


def _size(count: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit, name in ((2**20, "MB"), (2**10, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} bytes"


# The name of a column of whole numbers that readers of lines add: the number of each row in its file, from 0. It is no
# position among the rows, since lines may be blank or bad. No column of a user has such a name.
ROW = "\0row"


@dataclass(frozen=True)
class Reading:
    """How a job reads rows: the column of texts, rows in a batch, and the largest text in bytes.

    ``mapping`` says which columns of the files stand for other columns that jobs read, such as ``id``.
    ``dtype`` is the type of vectors in fixed-size binary, float32 or float16; empty: what the file records. A line of
    JSON or CSV is bad if its value is wrong in a column that is read, or in one of ``judged``. ``bad_lines`` says what
    becomes of bad lines; None: the first one is an error.
    """

    text_column: str = "text"
    batch_rows: int = BATCH_ROWS
    document_bytes: int = DOCUMENT_BYTES
    dtype: str = ""
    judged: tuple[str, ...] = ()
    bad_lines: BadLines | None = field(default=None, compare=False)
    mapping: ColumnMapping = UNMAPPED

    @cached_property
    def whole_mapping(self) -> ColumnMapping:
        """The mapping with the column of texts."""
        return column_mapping.with_text(self.mapping, self.text_column)

    def of_other_files(self, text_column: str = "") -> "Reading":
        """Return how to read files beside the data, such as a target: like the data, as far as they have its columns.

        ``text_column`` is the column of texts by the name that it has in these files. Empty: as in the data.
        """
        mapping = column_mapping.of_other_files(self.whole_mapping, text_column)
        return replace(self, text_column="text", mapping=mapping, judged=(), bad_lines=None)

    def column(self, name: str) -> str:
        """Return the name in the files of a column that batches call ``name``.

        If no single column stands for it, the result is what the user wrote: the expression, or the joined columns.
        """
        written = self.whole_mapping.written.get(name)
        if written is None:
            return ",".join(self.mapping.join) if name == "text" and self.mapping.join else name
        return plain_name(written) or written


@dataclass(frozen=True)
class Request:
    """Rows of one file to read.

    ``columns`` None means all, as they are in the file. Rows are read from row ``start`` on, at most ``rows`` at a
    time. For ``judged`` and ``bad_lines`` see `Reading`. ``view`` gives the columns of the file the names that jobs
    use; None: they have these names.

    A module of `tables.formats` gets names of the file alone, and reads each column as the one that jobs call
    ``roles[name]``. ``nested`` are the fields that are read of columns of structs. If ``rendered``, the column of texts
    holds conversations.
    """

    shard: Shard
    columns: Sequence[str] | None
    rows: int
    start: int = 0
    document_bytes: int = DOCUMENT_BYTES
    judged: Sequence[str] = ()
    bad_lines: BadLines | None = None
    view: FileColumns | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    nested: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    rendered: bool = False

    def role(self, name: str) -> str:
        """Return the name by which jobs know a column of the file; empty if they read another one under its name."""
        return self.roles.get(name, name)

    @property
    def skipped(self) -> frozenset[int]:
        """The numbers of lines that are skipped unread."""
        return (None if self.bad_lines is None else self.bad_lines.skipped) or frozenset()

    @property
    def line_bytes(self) -> int:
        """The longest line in bytes."""
        # A line may be longer than its text: `\u00e9` takes six bytes for the two of é, and other columns come too.
        return 2 * self.document_bytes
