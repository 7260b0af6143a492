"""How a long job reports its progress. Nothing here prints.

A job function takes a callback, ``progress``. Code deep inside a job calls `report`, or counts a loop with `counted`;
both reach the callback that is in force, so that no function in between has to pass it on. A caller whose function has
no such argument puts its callback in force with `reporting`.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

# Called with what is counted ("rows scored"), how many are done, and how many there are in all.
Progress = Callable[[str, int, int], None]
T = TypeVar("T")


def silent(what: str, done: int, total: int) -> None:
    """Ignore the report: the default of every job."""


_IN_FORCE: ContextVar[Progress] = ContextVar("progress", default=silent)


@contextmanager
def reporting(progress: Progress) -> Iterator[None]:
    """Put a callback in force for the block. `silent` leaves the callback in force that there is."""
    if progress is silent:
        yield
        return
    token = _IN_FORCE.set(progress)
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


def report(what: str, done: int, total: int) -> None:
    """Report to the callback in force that ``done`` of ``total`` are done.

    ``what`` names them in plain words, letters and spaces only, such as "files read".
    """
    _IN_FORCE.get()(what, done, total)


def counted(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield the items, and report how many the caller has finished with."""
    report(what, 0, total)
    for done, item in enumerate(items, start=1):
        yield item
        report(what, done, total)
