"""Errors that a user can act on. Each message says what is wrong, where, and what to change."""

from collections.abc import Iterable
from difflib import get_close_matches


class CurateError(Exception):
    """A problem that the user can fix. The message is one line."""


class SchemaError(CurateError):
    """An input file or table lacks a column, type or value that it must have."""


class FitError(CurateError):
    """The runs are too few, or too alike, to determine the law."""


class Infeasible(CurateError):
    """No mixture satisfies all limits. The message names the limits that clash, and by how much."""


class Interrupted(CurateError):
    """A job cannot be continued. The message says what changed, and which flag starts over."""


def amount(count: int, noun: str) -> str:
    """Return a count with its noun: ``1 file``, ``3 files``."""
    return f"{count} {noun if count == 1 else noun + 's'}"


def files_set_aside(count: int, total: int) -> str:
    """Return how many input files were set aside, as a message begins: ``1 of 7 files was set aside``."""
    if count == total > 1:
        return f"all {total} files were set aside"
    return f"{count} of {amount(total, 'file')} {'was' if count == 1 else 'were'} set aside"


SHOWN = 8  # names that a message shows: more do not fit on its line


def first_few(names: Iterable[object], *, near: str = "", separator: str = ", ") -> str:
    """Return the first names of a list, and how many more there are: ``a, b, c and 1,997 more``.

    Every message that joins names uses this, since a job may have thousands of pools, files or columns. Of a long list
    the names most like ``near`` come first, so that a user who misspelled a name sees the right one.
    """
    texts = [str(name) for name in names]
    # One more name takes no more room than the words "and 1 more".
    if len(texts) <= SHOWN + 1:
        return separator.join(texts)
    alike = get_close_matches(near, texts, n=SHOWN, cutoff=0.6) if near else []
    shown = [*alike, *(text for text in texts[: 2 * SHOWN] if text not in alike)][:SHOWN]
    return f"{separator.join(shown)} and {len(texts) - SHOWN:,} more"
