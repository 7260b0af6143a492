"""The contract of an engine: run one pure, idempotent function over many tasks, results as they finish."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Engine(Protocol):
    """``function`` must be importable (top level of a module), since workers may be other processes or machines.

    What all tasks need goes with it: ``functools.partial(function, shared)``.
    """

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Yield results in the order in which they finish; a task may be started again after a worker died."""
        ...
