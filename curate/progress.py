"""The function that a long job calls to report its progress. Nothing here prints."""

from collections.abc import Callable

# Called with what is counted ("rows scored"), how many are done, and how many there are in all.
Progress = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """Ignore the report: the default of every job."""
