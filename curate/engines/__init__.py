"""Run one function over many tasks: here, in processes, or on a Ray cluster.

In: a pure, idempotent function and its tasks. Out: the results, in the order in which they finish.
May use: the files at the root of `curate`, storage.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Engine(Protocol):
    """A place where tasks run.

    The function must be importable from the top level of a module, since workers may be other processes or machines.
    Give values that all tasks share with the function: ``functools.partial(function, shared)``.
    """

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Yield results in the order in which they finish.

        A task may run twice, if the worker that ran it died.
        """
        ...
