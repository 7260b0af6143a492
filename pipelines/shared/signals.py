"""End a command within two seconds of Ctrl-C, SIGTERM or SIGHUP, and leave nothing behind.

In: the words of the command line. Out: exit code 130, 143 or 129, and one line that says what is kept.

The command ends as if it were killed, after cleaning up: every file is written whole or not at all, so it may stop at
any moment. No exception is raised in the job, since a scorer or a library might take it for an error of its own, and
set a good file aside. A thread does the work. It is woken at once, also while the job computes in C or Rust, where a
handler in Python would have to wait.

Only the console script uses this. In a notebook, KeyboardInterrupt goes its usual way.
"""

import atexit
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from curate import processes

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
END_SECONDS = 1.7  # after this the command ends, whether all is clean or not: the next job removes what remains
PROGRAM_SECONDS = 0.5  # what the program of a trainer has to end by itself
# A second Ctrl-C ends the command at once. Some tools send every signal twice, to a process and to its group; these
# arrive together.
TWICE_SECONDS = 0.3
SHOW_CURSOR = b"\r\x1b[2K\x1b[?25h"  # removes the progress bar, which hides the cursor
# What is kept of a job that ended early, and how to go on. Every other job writes one file, at its end.
KEPT = {
    "demo": "The steps that are done are kept, and the same command continues.",
    "materialize": "The shards that are written are kept, and the same command continues.",
    "pilot": "The runs that are trained are kept, and the same command continues.",
    "prune": "Its decisions are incomplete: run the same command again, which starts over.",
    "run": "The steps that are done are kept, and the same command continues.",
    "score": "The files that are scored are kept, and the same command continues.",
}
NOTHING = "It has written nothing yet: run the same command again."


_stack = ExitStack()  # what `start` began: it lasts until the process ends


def start() -> None:
    """Handle signals from here on, if this is the console script; `handled` goes on with it."""
    if Path(sys.argv[0]).name == "curate":
        _stack.enter_context(handled(sys.argv[1:]))
        # Python gives signals back to the system before it takes its modules apart, which may take a second. The job is
        # done by then, so its exit code stays that of a job that is done. This is called last, after all threads ended.
        atexit.register(_ignore)


def _ignore() -> None:
    for number in NAMES:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def handled(words: Sequence[str]) -> Iterator[None]:
    """End the process, with all its workers, when a signal arrives while the block runs.

    ``words`` are the command line. Signals that are ignored stay so, as under nohup.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    numbers = [number for number in NAMES if signal.getsignal(number) is not signal.SIG_IGN]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, _park) for number in numbers}
    ending = threading.Event()
    threading.Thread(target=_watch, args=(reader, numbers, words, ending), daemon=True).start()
    try:
        yield
    finally:
        if ending.is_set():
            _park()
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(writer)  # ends the thread


def _park(*_: object) -> NoReturn:
    """Hold the job, so that it starts no worker and writes no file while the other thread cleans up."""
    while True:
        time.sleep(60)


def _watch(reader: int, numbers: Collection[int], words: Sequence[str], ending: threading.Event) -> None:
    while received := os.read(reader, 1):
        if received[0] in numbers:
            ending.set()
            _end(reader, received[0], words)
    os.close(reader)


def _end(reader: int, number: int, words: Sequence[str]) -> NoReturn:
    code = 128 + number
    threading.Thread(target=_end_early, args=(reader, code), daemon=True).start()
    try:
        _say(message(number, words))
        _clean()
    finally:
        os._exit(code)


def _end_early(reader: int, code: int) -> None:
    """End the process at a second signal, or when cleaning up takes too long."""
    began = time.monotonic()
    while (remaining := began + END_SECONDS - time.monotonic()) > 0:
        if select.select([reader], [], [], remaining)[0]:
            os.read(reader, 1)
            if time.monotonic() - began > TWICE_SECONDS:
                break
    os._exit(code)


def message(number: int, words: Sequence[str]) -> str:
    """Return the line for a command that a signal ended."""
    job = next((word for word in words if not word.startswith("-")), "")
    kept = "" if not job or "--help" in words else NOTHING if "--dry-run" in words else KEPT.get(job, NOTHING)
    who = f"{job} was interrupted" if job else "interrupted"
    return f"curate: {who} by {NAMES[signal.Signals(number)]}. {kept}".rstrip()


def _say(line: str) -> None:
    # Python's own stderr may be locked by the job, which is held. A pipe that nobody reads must not stop us either.
    with suppress(OSError):
        if select.select([], [2], [], 0.1)[1]:
            os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + line.encode(errors="replace") + b"\n")


def _clean() -> None:
    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    helper = getattr(tracker, "_pid", None)
    workers = [pid for pid in processes.descendants(os.getpid()) if pid != helper]
    ended = processes.end(workers, seconds=PROGRAM_SECONDS)
    # Only what the job has imported: an import may wait for ever for one that the job is in the middle of.
    names = ("atomic", "locks.lock", "scratch")
    atomic, lock, scratch = (sys.modules.get(f"curate.storage.{name}") for name in names)
    with suppress(Exception):
        scratch.remove_all(ended)  # type: ignore[union-attr]
    with suppress(Exception):
        for folder in lock.held_folders():  # type: ignore[union-attr]
            atomic.sweep(folder, ended={*ended, os.getpid()})  # type: ignore[union-attr]
    with suppress(Exception):
        lock.release_all()  # type: ignore[union-attr]
    with suppress(Exception):
        # Removes the semaphores of pools of workers. Their helper, which would complain about them, ends then too.
        sys.modules["multiprocessing.util"]._run_finalizers(0)
        os.close(tracker._fd)  # type: ignore[union-attr]
        limit = time.monotonic() + PROGRAM_SECONDS
        while processes.is_alive(helper) and time.monotonic() < limit:  # type: ignore[arg-type]
            time.sleep(processes.LOOK_SECONDS)
