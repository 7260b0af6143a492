"""What a user says about the columns of the input files. Nothing here depends on a file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

TEXT = "text"
CHAT = "chat"  # the one way to render a column of conversations: see `curate.tables.mapping.chat`
# Names that need no quotes: a word of letters, digits and underscores.
WORD = re.compile(r"[^\W\d]\w*")
NULL = "NULL"  # as in id=NULL: rows have no such value, and get the one that rows without the column have
QUOTED = re.compile(r'\s*"((?:[^"]|"")*)"\s*', re.DOTALL)


@dataclass(frozen=True)
class ColumnMapping:
    """Which columns of a file stand for the columns that jobs read.

    ``targets`` are pairs of a column that jobs read, such as ``id``, and what the user wrote for it: the name of a
    column in double quotes, a bare name, or an SQL expression. ``join`` are columns whose texts are joined to the text
    of a row. ``render`` is ``chat`` if the column of texts holds conversations.

    ``optional`` are columns that jobs read whose mapping a file may lack; it is then read under its own names. ``text``
    stands for ``join`` and ``render`` too.
    """

    targets: tuple[tuple[str, str], ...] = ()
    join: tuple[str, ...] = ()
    render: str = ""
    optional: tuple[str, ...] = ()

    @cached_property
    def written(self) -> Mapping[str, str]:
        """What the user wrote for each column that jobs read."""
        return dict(self.targets)

    @property
    def is_empty(self) -> bool:
        """Whether files are read as they are."""
        return not (self.targets or self.join or self.render)

    def record(self) -> dict[str, object]:
        """Return the fields that record the mapping; none for an empty one."""
        columns = {"columns": dict(self.targets)} if self.targets else {}
        join = {"join": list(self.join)} if self.join else {}
        return {**columns, **join, **({"render": self.render} if self.render else {})}


UNMAPPED = ColumnMapping()


def recorded(record: Mapping[str, object]) -> ColumnMapping:
    """Return the mapping that the fields of a record hold."""
    columns, join = record.get("columns", {}), record.get("join", [])
    assert isinstance(columns, Mapping)
    assert isinstance(join, Sequence)
    pairs = sorted((str(name), str(written)) for name, written in columns.items())
    return ColumnMapping(tuple(pairs), tuple(map(str, join)), str(record.get("render", "")))


def quoted_name(written: str) -> str | None:
    """Return the name that stands in double quotes, if that is all that the user wrote."""
    match = QUOTED.fullmatch(written)
    return None if match is None else match[1].replace('""', '"')


def plain_name(written: str) -> str | None:
    """Return the column that the user wrote, if it can be nothing but the name of a column: quoted, or a word."""
    quoted = quoted_name(written)
    return quoted if quoted is not None else written if _is_name(written) else None


def spelled(written: str) -> str:
    """Return one spelling for all ways to write the same: a word without quotes."""
    quoted = quoted_name(written)
    if quoted is None:
        return written.strip()
    return quoted if _is_name(quoted) else '"' + quoted.replace('"', '""') + '"'


def _is_name(word: str) -> bool:
    """Return whether a text without quotes can be nothing but the name of a column. NULL is the value that is none."""
    return WORD.fullmatch(word) is not None and word.upper() != NULL


def with_text(mapping: ColumnMapping, text_column: str) -> ColumnMapping:
    """Return a mapping in which ``text_column`` is the column of texts."""
    if text_column == TEXT:
        return mapping
    written = spelled('"' + text_column.replace('"', '""') + '"')
    return replace(mapping, targets=((TEXT, written), *mapping.targets))


def of_other_files(mapping: ColumnMapping, text_column: str = "") -> ColumnMapping:
    """Return the mapping for files beside the data: that of the data, as far as a file has its columns.

    ``text_column`` is the column of texts by the name that it has in these files. Empty: as in the data.
    """
    if not text_column:
        return replace(mapping, optional=(*mapping.written, TEXT))
    others = tuple(pair for pair in mapping.targets if pair[0] != TEXT)
    return with_text(ColumnMapping(others, optional=tuple(name for name, _ in others)), text_column)
