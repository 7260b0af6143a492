"""Run numerical code on one thread.

The matrices of fits and plans are small. Two threads on them take more than three times the CPU time of one, because a
thread that waits for another keeps its core busy.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# The variables with which users choose the number of threads of a process.
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def single() -> Iterator[None]:
    """Run the block on one numerical thread. The order of sums is then fixed, whatever machine it runs on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def single_by_default() -> Iterator[None]:
    """Run the block on one numerical thread, unless the user has chosen a number of threads."""
    if chosen_by_user():
        yield
        return
    with single():
        yield


def chosen_by_user() -> bool:
    """Return whether a variable of the environment or ``torch.set_num_threads`` has set the number of threads.

    torch does not say who set the number. If it is that of the processors or half of it (two threads share a core),
    torch has chosen it.
    """
    if any(os.environ.get(name) for name in VARIABLES):
        return True
    processors = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else processors
    return torch.get_num_threads() not in {usable, processors, usable // 2, processors // 2}
