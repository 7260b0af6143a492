"""Open the standard streams that are closed, as under some schedulers and after ``>&-`` in a shell.

In: the process. Out: input, output and errors that can be used; what was closed leads nowhere.
"""

import os
import sys

MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}  # in the order of their numbers, 0 to 2


def open_closed() -> None:
    """Open each closed stream on the null device.

    This must come before any other file is opened: a pipe or a file of the job would take the free number, and lines
    for the terminal would go into it.
    """
    for number, (name, mode) in enumerate(MODES.items()):
        try:
            os.fstat(number)
        except OSError:
            # The system gives out the lowest free number, which is this one.
            os.open(os.devnull, os.O_RDWR)
            # Worker processes need their streams too.
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False))
